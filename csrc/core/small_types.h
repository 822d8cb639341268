/* SPDX-License-Identifier: MIT */
/*
 * Of the kernel's types those that an object's relocations can be about, as a BTF of their own.
 *
 * libbpf looks through all types of the BTF that it is given for each type that an object reads, fifty times through
 * 126,000 (6.18): two thirds of the time that an attach took outside the kernel. In one of a thousand types it finds
 * the same: every type of such a name is there, whole, in the kernel's order, but for what its pointers point to.
 */
#ifndef AA_SMALL_TYPES_H
#define AA_SMALL_TYPES_H

#include <bpf/btf.h>
#include <stddef.h>

#include "kernel_types.h"

/*
 * 0 and a block for free(), or what errno would be. ENOENT: a type that may be a module's (AF_UNIX could be one until
 * 6.4, 97154bcf4d1b) is not the kernel's own here; libbpf looks into modules only where it has the whole BTF.
 */
int aa_small_types_create(const struct aa_kernel_types *types, const struct btf *object, void **ret_data,
			  size_t *ret_bytes);

#endif

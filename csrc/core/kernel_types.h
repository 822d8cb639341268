/* SPDX-License-Identifier: MIT */
/*
 * The kernel's own types, read once for an attach: for the questions that decide what is loaded, and for what libbpf is
 * told of them (probe_object.h). What is asked for an attach by tracepoint took 13 ms with libbpf's reader (8 to read,
 * 0.4 for each search by name) and takes 2.5 with this one (6.18).
 */
#ifndef AA_KERNEL_TYPES_H
#define AA_KERNEL_TYPES_H

#include <bpf/btf.h>
#include <stdint.h>

#define AA_KERNEL_TYPES_PATH "/sys/kernel/btf/vmlinux"

struct aa_kernel_types;

/* NULL with errno. */
struct aa_kernel_types *aa_kernel_types_create(const char *path);
void aa_kernel_types_destroy(struct aa_kernel_types *types); /* accepts NULL */

uint32_t aa_kernel_types_count(const struct aa_kernel_types *types); /* with number 0, which is void */
/* The type of that number; "void" for numbers that are not there. */
const struct btf_type *aa_kernel_type(const struct aa_kernel_types *types, uint32_t id);
/* A name by its offset; "" for none. */
const char *aa_kernel_type_name(const struct aa_kernel_types *types, uint32_t offset);
/* All of one kind, in the BTF's order. */
const uint32_t *aa_kernel_types_of_kind(const struct aa_kernel_types *types, unsigned kind, uint32_t *ret_count);
/* The first of that kind and name; 0: there is none. */
uint32_t aa_kernel_types_find(const struct aa_kernel_types *types, const char *name, unsigned kind);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * The kernel side, compiled and carried inside: two objects of one source (AA_DIRECT in bpf/kernel.bpf.h). Opened and
 * loaded by libbpf, which is spared the whole of the kernel's BTF: what it would look up there it is told.
 */
#ifndef AA_PROBE_OBJECT_H
#define AA_PROBE_OBJECT_H

#include <bpf/libbpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aa_kernel_types;
struct fileio_bpf;

/* This kernel can have the object that reads by bpf_rdonly_cast(). */
bool aa_probe_object_is_direct(const struct aa_kernel_types *types);

/*
 * Opened, not loaded; `direct`: the one for kernels that have bpf_rdonly_cast(). NULL with errno. *ret_types: a
 * descriptor that is to be open until it is loaded, or -1.
 */
struct fileio_bpf *aa_probe_object_open(bool direct, const struct aa_kernel_types *types, int *ret_types);

/* A program and the number of the function that it is for, where its section names none, or is not to be searched for.
 */
struct aa_program_place {
	const struct bpf_program *program;
	uint32_t function;
};

/* 0, or what errno would be, negative; `print` is told what libbpf would print of a program that is refused. */
typedef libbpf_print_fn_t aa_print;
int aa_probe_object_load(struct fileio_bpf *object, const struct aa_kernel_types *types,
			 const struct aa_program_place *places, size_t count, aa_print print);

#endif

/* SPDX-License-Identifier: MIT */
/* What this kernel has, by its BTF and its symbol table: one pass through each for all that is asked. */
#ifndef AA_KERNEL_FUNCTIONS_H
#define AA_KERNEL_FUNCTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aa_kernel_types;

/* One function; `name` is the asker's and outlives this. */
struct aa_kernel_function {
	const char *name;
	uint32_t btf_id;   /* 0: the kernel has no such function, or none that can be probed */
	uint32_t type_id;  /* of its prototype */
	bool takes_struct; /* by value */
	const char *first; /* name of its first parameter, in the BTF; NULL: none */
	bool is_listed;	   /* in /proc/kallsyms */
	uint64_t address;  /* 0: not told (kptr_restrict) */
};

/* Fills what the BTF tells, `first` as long as `types` lives; sorts by name. */
void aa_kernel_functions_find(const struct aa_kernel_types *types, struct aa_kernel_function *functions, size_t count);
/* Fills is_listed and address from /proc/kallsyms; sorts by name. An errno where that could not be read to its end. */
int aa_kernel_functions_locate(struct aa_kernel_function *functions, size_t count);
/* The one of that name in a sorted array, or NULL. */
struct aa_kernel_function *aa_kernel_function_of(struct aa_kernel_function *functions, size_t count, const char *name);
/* Whether there is such a function; one for BPF programs to call may be no symbol. */
bool aa_kernel_has_function(const struct aa_kernel_types *types, const char *name);
/* Whether a structure of that name exists, and whether it has that member. */
bool aa_kernel_has_struct(const struct aa_kernel_types *types, const char *name);
bool aa_kernel_has_member(const struct aa_kernel_types *types, const char *name, const char *member);

#endif

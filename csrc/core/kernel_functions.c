// SPDX-License-Identifier: MIT
#include "kernel_functions.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_types.h"

static int aa_by_name(const void *a, const void *b)
{
	const struct aa_kernel_function *one = a, *other = b;

	return strcmp(one->name, other->name);
}

struct aa_kernel_function *aa_kernel_function_of(struct aa_kernel_function *functions, size_t count, const char *name)
{
	const struct aa_kernel_function key = { .name = name };

	return bsearch(&key, functions, count, sizeof(*functions), aa_by_name);
}

#define AA_NAMES_DEEP 64 /* typedefs and qualifiers in a row */

static bool aa_takes_struct(const struct aa_kernel_types *types, uint32_t prototype)
{
	const struct btf_type *type = aa_kernel_type(types, prototype);
	const struct btf_param *parameters = btf_params(type);

	for (unsigned i = 0; i < btf_vlen(type); i++) {
		const struct btf_type *parameter = aa_kernel_type(types, parameters[i].type);

		/* In data that is broken names can go in a circle. */
		for (int step = 0; step < AA_NAMES_DEEP && (btf_is_typedef(parameter) || btf_is_mod(parameter)); step++)
			parameter = aa_kernel_type(types, parameter->type);
		if (btf_is_composite(parameter))
			return true;
	}
	return false;
}

static const char *aa_first_parameter(const struct aa_kernel_types *types, uint32_t prototype)
{
	const struct btf_type *type = aa_kernel_type(types, prototype);

	return btf_vlen(type) ? aa_kernel_type_name(types, btf_params(type)[0].name_off) : NULL;
}

void aa_kernel_functions_find(const struct aa_kernel_types *types, struct aa_kernel_function *functions, size_t count)
{
	uint32_t of_kind;
	const uint32_t *ids = aa_kernel_types_of_kind(types, BTF_KIND_FUNC, &of_kind);

	qsort(functions, count, sizeof(*functions), aa_by_name);
	for (uint32_t i = 0; i < of_kind; i++) {
		const struct btf_type *type = aa_kernel_type(types, ids[i]);
		struct aa_kernel_function *function;

		function = aa_kernel_function_of(functions, count, aa_kernel_type_name(types, type->name_off));
		/* Of two with the same name libbpf takes the first as well. */
		if (!function || function->btf_id || !btf_is_func_proto(aa_kernel_type(types, type->type)))
			continue;
		function->btf_id = ids[i];
		function->type_id = type->type;
		function->takes_struct = aa_takes_struct(types, type->type);
		function->first = aa_first_parameter(types, type->type);
	}
}

int aa_kernel_functions_locate(struct aa_kernel_function *functions, size_t count)
{
	FILE *file = fopen("/proc/kallsyms", "re");
	int code = file ? 0 : errno;
	char *line = NULL;
	size_t room = 0;

	qsort(functions, count, sizeof(*functions), aa_by_name);
	if (!file)
		return code;
	errno = 0;
	/* "address type name", and for a module's a tab and "[module]" */
	while (getline(&line, &room, file) > 0) {
		char *rest, *name;
		unsigned long long address = strtoull(line, &rest, 16);
		struct aa_kernel_function *function;

		if (strlen(rest) < 4)
			continue;
		name = rest + 3;
		name[strcspn(name, "\t\n")] = '\0';
		function = aa_kernel_function_of(functions, count, name);
		if (!function || function->is_listed)
			continue;
		function->is_listed = true;
		function->address = address;
	}
	code = feof(file) ? 0 : errno;
	free(line);
	fclose(file);
	return code;
}

bool aa_kernel_has_function(const struct aa_kernel_types *types, const char *name)
{
	return aa_kernel_types_find(types, name, BTF_KIND_FUNC) != 0;
}

bool aa_kernel_has_struct(const struct aa_kernel_types *types, const char *name)
{
	return aa_kernel_types_find(types, name, BTF_KIND_STRUCT) != 0;
}

static bool aa_type_has_own_member(const struct aa_kernel_types *types, const struct btf_type *type, const char *member)
{
	for (unsigned i = 0; i < btf_vlen(type); i++)
		if (!strcmp(aa_kernel_type_name(types, btf_members(type)[i].name_off), member))
			return true;
	return false;
}

/* Also in a structure without a name inside it, one deep: most of struct mm_struct is. */
bool aa_kernel_has_member(const struct aa_kernel_types *types, const char *name, const char *member)
{
	const struct btf_type *type = aa_kernel_type(types, aa_kernel_types_find(types, name, BTF_KIND_STRUCT));

	for (unsigned i = 0; i < btf_vlen(type); i++) {
		const struct btf_member *each = &btf_members(type)[i];
		const struct btf_type *part = aa_kernel_type(types, each->type);

		if (!each->name_off && btf_is_composite(part) && aa_type_has_own_member(types, part, member))
			return true;
	}
	return aa_type_has_own_member(types, type, member);
}

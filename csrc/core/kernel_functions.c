// SPDX-License-Identifier: MIT
#include "kernel_functions.h"

#include <bpf/btf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static bool aa_takes_struct(const struct btf *btf, uint32_t prototype)
{
	const struct btf_type *type = btf__type_by_id(btf, prototype);
	const struct btf_param *parameters = btf_params(type);

	for (unsigned i = 0; i < btf_vlen(type); i++) {
		const struct btf_type *parameter = btf__type_by_id(btf, parameters[i].type);

		while (btf_is_typedef(parameter) || btf_is_mod(parameter))
			parameter = btf__type_by_id(btf, parameter->type);
		if (btf_is_composite(parameter))
			return true;
	}
	return false;
}

static const char *aa_first_parameter(const struct btf *btf, uint32_t prototype)
{
	const struct btf_type *type = btf__type_by_id(btf, prototype);

	return btf_vlen(type) ? btf__name_by_offset(btf, btf_params(type)[0].name_off) : NULL;
}

void aa_kernel_functions_find(const struct btf *btf, struct aa_kernel_function *functions, size_t count)
{
	uint32_t end = btf__type_cnt(btf);

	qsort(functions, count, sizeof(*functions), aa_by_name);
	for (uint32_t id = 1; id < end; id++) {
		const struct btf_type *type = btf__type_by_id(btf, id);
		struct aa_kernel_function *function;

		if (!btf_is_func(type))
			continue;
		function = aa_kernel_function_of(functions, count, btf__name_by_offset(btf, type->name_off));
		/* Of two with the same name libbpf takes the first as well. */
		if (!function || function->btf_id)
			continue;
		function->btf_id = id;
		function->type_id = type->type;
		function->takes_struct = aa_takes_struct(btf, type->type);
		function->first = aa_first_parameter(btf, type->type);
	}
}

void aa_kernel_functions_locate(struct aa_kernel_function *functions, size_t count)
{
	FILE *file = fopen("/proc/kallsyms", "re");
	char *line = NULL;
	size_t room = 0;

	qsort(functions, count, sizeof(*functions), aa_by_name);
	if (!file)
		return;
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
	free(line);
	fclose(file);
}

bool aa_kernel_has_function(const struct btf *btf, const char *name)
{
	return btf__find_by_name_kind(btf, name, BTF_KIND_FUNC) > 0;
}

bool aa_kernel_has_struct(const struct btf *btf, const char *name)
{
	return btf__find_by_name_kind(btf, name, BTF_KIND_STRUCT) > 0;
}

static bool aa_type_has_member(const struct btf *btf, const struct btf_type *type, const char *member)
{
	const struct btf_member *members = btf_members(type);

	for (unsigned i = 0; i < btf_vlen(type); i++)
		if (!strcmp(btf__name_by_offset(btf, members[i].name_off), member))
			return true;
	return false;
}

/* Also in a structure without a name inside it, one deep: most of struct mm_struct is. */
bool aa_kernel_has_member(const struct btf *btf, const char *name, const char *member)
{
	int id = btf__find_by_name_kind(btf, name, BTF_KIND_STRUCT);
	const struct btf_type *type, *inside;
	const struct btf_member *members;

	if (id <= 0)
		return false;
	type = btf__type_by_id(btf, (uint32_t)id);
	members = btf_members(type);
	for (unsigned i = 0; i < btf_vlen(type); i++) {
		inside = btf__type_by_id(btf, members[i].type);
		if (!*btf__name_by_offset(btf, members[i].name_off) && inside && btf_is_composite(inside) &&
		    aa_type_has_member(btf, inside, member))
			return true;
	}
	return aa_type_has_member(btf, type, member);
}

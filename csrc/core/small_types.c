// SPDX-License-Identifier: MIT
#include "small_types.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* What a relocation can begin at; and what libbpf compares such a type's kind with is the kind itself. */
static const unsigned aa_root_kinds[] = { BTF_KIND_STRUCT, BTF_KIND_UNION, BTF_KIND_TYPEDEF, BTF_KIND_ENUM,
					  BTF_KIND_ENUM64 };
#define AA_ROOT_KINDS (sizeof(aa_root_kinds) / sizeof(aa_root_kinds[0]))

struct aa_bytes {
	char *data;
	size_t used, room;
	bool no_memory;
};

static void *aa_bytes_add(struct aa_bytes *bytes, const void *data, size_t count)
{
	size_t at = bytes->used;

	if (count > bytes->room - bytes->used) {
		size_t room = (bytes->used + count) * 2;
		char *grown = bytes->no_memory ? NULL : realloc(bytes->data, room);

		if (!grown) {
			bytes->no_memory = true;
			return NULL;
		}
		bytes->data = grown;
		bytes->room = room;
	}
	memcpy(bytes->data + at, data, count);
	bytes->used += count;
	return bytes->data + at;
}

struct aa_small {
	const struct aa_kernel_types *from;
	uint32_t *numbers;	 /* in the small one, of each of the kernel's; 0: not in it */
	struct aa_bytes origins; /* uint32_t: the kernel's numbers, in the order of the small one's */
	struct aa_bytes types, names;
	uint32_t count;
};

/* "file___socket" is a view of "file". libbpf: bpf_core_essential_name_len(). */
static size_t aa_name_length(const char *name)
{
	size_t length = strlen(name);

	for (size_t i = length; i >= 5; i--) {
		const char *at = name + i - 5;

		if (at[0] != '_' && at[1] == '_' && at[2] == '_' && at[3] == '_' && at[4] != '_')
			return i - 4;
	}
	return length;
}

/* A set of names: a table with open addresses, at most half full. */
struct aa_names {
	struct aa_name {
		const char *text;
		size_t length;
	} * slots;
	uint32_t mask;
};

static struct aa_name *aa_names_slot(const struct aa_names *names, const char *text, size_t length)
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ (unsigned char)text[i]) * 16777619u;
	for (;; hash++) {
		struct aa_name *slot = &names->slots[hash & names->mask];

		if (!slot->text || (slot->length == length && !memcmp(slot->text, text, length)))
			return slot;
	}
}

static bool aa_is_root_kind(unsigned kind)
{
	for (size_t i = 0; i < AA_ROOT_KINDS; i++)
		if (aa_root_kinds[i] == kind)
			return true;
	return false;
}

/* The names that the object has types of. */
static int aa_names_create(const struct btf *object, struct aa_names *ret_names)
{
	uint32_t count = btf__type_cnt(object), slots = 16;

	while (slots < count * 2)
		slots *= 2;
	ret_names->mask = slots - 1;
	ret_names->slots = calloc(slots, sizeof(*ret_names->slots));
	if (!ret_names->slots)
		return ENOMEM;
	for (uint32_t id = 1; id < count; id++) {
		const struct btf_type *type = btf__type_by_id(object, id);
		const char *name = btf__name_by_offset(object, type->name_off);

		if (name && *name && aa_is_root_kind(btf_kind(type))) {
			size_t length = aa_name_length(name);

			*aa_names_slot(ret_names, name, length) = (struct aa_name){ name, length };
		}
	}
	return 0;
}

/* What is neither read nor looked through by a relocation is nothing here: a prototype behind a typedef. */
static bool aa_is_copied(unsigned kind)
{
	switch (kind) {
	case BTF_KIND_UNKN:
	case BTF_KIND_FUNC:
	case BTF_KIND_FUNC_PROTO:
	case BTF_KIND_VAR:
	case BTF_KIND_DATASEC:
	case BTF_KIND_DECL_TAG:
		return false;
	default:
		return true;
	}
}

/* The number that a type has in the small one, where it comes to be. */
static uint32_t aa_small_number(struct aa_small *small, uint32_t id)
{
	if (!aa_is_copied(btf_kind(aa_kernel_type(small->from, id))))
		return 0;
	if (!small->numbers[id] && aa_bytes_add(&small->origins, &id, sizeof(id)))
		small->numbers[id] = ++small->count;
	return small->numbers[id];
}

static uint32_t aa_small_name(struct aa_small *small, uint32_t offset)
{
	const char *name = aa_kernel_type_name(small->from, offset);
	uint32_t at = (uint32_t)small->names.used;

	if (!*name)
		return 0;
	aa_bytes_add(&small->names, name, strlen(name) + 1);
	return at;
}

static void aa_small_copy(struct aa_small *small, uint32_t id)
{
	const struct btf_type *from = aa_kernel_type(small->from, id);
	struct btf_type type = *from;
	unsigned count = btf_vlen(from), kind = btf_kind(from);
	struct btf_array array;

	type.name_off = aa_small_name(small, from->name_off);
	if (kind == BTF_KIND_PTR)
		type.type = 0; /* each relocation ends at a pointer, and another begins at what it points to */
	else if (btf_is_mod(from) || btf_is_typedef(from))
		type.type = aa_small_number(small, from->type);
	aa_bytes_add(&small->types, &type, sizeof(type));
	if (kind == BTF_KIND_INT)
		aa_bytes_add(&small->types, from + 1, sizeof(__u32));
	if (kind == BTF_KIND_ARRAY) {
		array = *btf_array(from);
		array.type = aa_small_number(small, array.type);
		array.index_type = aa_small_number(small, array.index_type);
		aa_bytes_add(&small->types, &array, sizeof(array));
	}
	for (unsigned i = 0; btf_is_composite(from) && i < count; i++) {
		struct btf_member member = btf_members(from)[i];

		member.name_off = aa_small_name(small, member.name_off);
		member.type = aa_small_number(small, member.type);
		aa_bytes_add(&small->types, &member, sizeof(member));
	}
	for (unsigned i = 0; kind == BTF_KIND_ENUM && i < count; i++) {
		struct btf_enum value = btf_enum(from)[i];

		value.name_off = aa_small_name(small, value.name_off);
		aa_bytes_add(&small->types, &value, sizeof(value));
	}
	for (unsigned i = 0; kind == BTF_KIND_ENUM64 && i < count; i++) {
		struct btf_enum64 value = btf_enum64(from)[i];

		value.name_off = aa_small_name(small, value.name_off);
		aa_bytes_add(&small->types, &value, sizeof(value));
	}
}

int aa_small_types_create(const struct aa_kernel_types *types, const struct btf *object, void **ret_data,
			  size_t *ret_bytes)
{
	struct aa_small small = { .from = types };
	struct btf_header header = { .magic = BTF_MAGIC, .version = BTF_VERSION, .hdr_len = sizeof(header) };
	struct aa_bytes out = { 0 };
	struct aa_names names = { 0 };
	int code;

	if (!aa_kernel_types_find(types, "unix_sock", BTF_KIND_STRUCT))
		return ENOENT;
	code = aa_names_create(object, &names);
	if (code)
		return code;
	small.numbers = calloc(aa_kernel_types_count(types), sizeof(*small.numbers));
	code = small.numbers ? 0 : ENOMEM;
	aa_bytes_add(&small.names, "", 1);
	for (size_t i = 0; !code && i < AA_ROOT_KINDS; i++) {
		uint32_t count;
		const uint32_t *ids = aa_kernel_types_of_kind(types, aa_root_kinds[i], &count);

		for (uint32_t j = 0; j < count; j++) {
			const char *name = aa_kernel_type_name(types, aa_kernel_type(types, ids[j])->name_off);

			if (*name && aa_names_slot(&names, name, aa_name_length(name))->text)
				aa_small_number(&small, ids[j]);
		}
	}
	/* Those that come to be while others are copied are copied, too. */
	for (uint32_t number = 1; !code && number <= small.count; number++)
		aa_small_copy(&small, ((const uint32_t *)(void *)small.origins.data)[number - 1]);
	header.type_len = (uint32_t)small.types.used;
	header.str_off = header.type_len;
	header.str_len = (uint32_t)small.names.used;
	aa_bytes_add(&out, &header, sizeof(header));
	if (small.types.used)
		aa_bytes_add(&out, small.types.data, small.types.used);
	if (small.names.used)
		aa_bytes_add(&out, small.names.data, small.names.used);
	if (small.origins.no_memory || small.types.no_memory || small.names.no_memory || out.no_memory)
		code = ENOMEM;
	free(names.slots);
	free(small.numbers);
	free(small.origins.data);
	free(small.types.data);
	free(small.names.data);
	if (code) {
		free(out.data);
		return code;
	}
	*ret_data = out.data;
	*ret_bytes = out.used;
	return 0;
}

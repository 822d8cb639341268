// SPDX-License-Identifier: MIT
/* A small BTF says of the types that an object names what the kernel's says; whatever the kernel's is, nothing beside
 * it is read. */
#include "small_types.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "random.h"

static char path[] = "/tmp/aa-small-types-XXXXXX";

static struct aa_kernel_types *types_of(const void *data, size_t bytes)
{
	int fd = open(path, O_WRONLY | O_TRUNC);

	CHECK(fd >= 0 && write(fd, data, bytes) == (ssize_t)bytes);
	close(fd);
	return aa_kernel_types_create(path);
}

/* Structures in structures, two of one name, one that is a view of another, and what none of them holds. */
static struct btf *kernel_make(bool has_sockets)
{
	struct btf *btf = btf__new_empty();
	int number = btf__add_int(btf, "int", 4, BTF_INT_SIGNED), unasked, inner, list, once, few, many, nameless,
	    fixed;

	unasked = btf__add_struct(btf, "unasked", 4);
	btf__add_field(btf, "secret", number, 0, 0);
	inner = btf__add_struct(btf, "inner", 8);
	btf__add_field(btf, "whole", number, 0, 0);
	btf__add_field(btf, "bits", number, 32, 3);
	list = btf__add_array(btf, number, inner, 4);
	fixed = btf__add_typedef(btf, "fixed_t", btf__add_const(btf, btf__add_volatile(btf, list)));
	once = btf__add_ptr(btf, unasked);
	few = btf__add_enum(btf, "few", 4);
	btf__add_enum_value(btf, "FEW_ONE", 1);
	many = btf__add_enum64(btf, "many", 8, false);
	btf__add_enum64_value(btf, "MANY_ONE", 1ull << 40);
	nameless = btf__add_union(btf, NULL, 8);
	btf__add_field(btf, "here", number, 0, 0);
	btf__add_field(btf, "there", inner, 0, 0);
	for (int i = 0; i < 2; i++) {
		btf__add_struct(btf, i ? "file" : "file___2", 128);
		btf__add_field(btf, "list", fixed, 0, 0);
		btf__add_field(btf, "", nameless, 256, 0);
		btf__add_field(btf, "once", once, 320, 0);
		btf__add_field(btf, i ? "few" : "other", few, 384, 0);
		btf__add_field(btf, "many", many, 448, 0);
		btf__add_field(btf, "real", btf__add_float(btf, "double", 8), 512, 0);
	}
	btf__add_typedef(btf, "file", btf__add_func_proto(btf, number));
	btf__add_fwd(btf, "later", BTF_FWD_STRUCT);
	if (has_sockets)
		btf__add_struct(btf, "unix_sock", 8);
	return btf;
}

/* What the object names: a view of one there is, one there is not, and one that is a number there. */
static struct btf *object_make(void)
{
	struct btf *btf = btf__new_empty();

	btf__add_struct(btf, "file___socket", 8);
	btf__add_struct(btf, "none", 8);
	btf__add_struct(btf, "int", 4);
	btf__add_enum(btf, "few", 4);
	btf__add_enum_value(btf, "FEW_ONE", 1);
	return btf;
}

static const char *name_of(const struct btf *btf, const struct btf_type *type)
{
	return btf__name_by_offset(btf, type->name_off);
}

/* The same, as far as it goes without following a pointer: no deeper than kernel_make() made it. */
/* NOLINTNEXTLINE(misc-no-recursion) */
static bool is_same(const struct btf *one, uint32_t one_id, const struct btf *other, uint32_t other_id)
{
	const struct btf_type *a = btf__type_by_id(one, one_id), *b = btf__type_by_id(other, other_id);

	if (!a || !b || a->info != b->info || strcmp(name_of(one, a), name_of(other, b)) != 0)
		return false;
	if (btf_is_ptr(a))
		return b->type == 0;
	if (btf_is_mod(a) || btf_is_typedef(a))
		return btf_is_func_proto(btf__type_by_id(one, a->type)) ? b->type == 0 :
									  is_same(one, a->type, other, b->type);
	if (btf_is_array(a))
		return btf_array(a)->nelems == btf_array(b)->nelems &&
		       is_same(one, btf_array(a)->type, other, btf_array(b)->type) &&
		       is_same(one, btf_array(a)->index_type, other, btf_array(b)->index_type);
	if (a->size != b->size)
		return false;
	for (unsigned i = 0; btf_is_composite(a) && i < btf_vlen(a); i++) {
		const struct btf_member *c = &btf_members(a)[i], *d = &btf_members(b)[i];

		if (c->offset != d->offset || !is_same(one, c->type, other, d->type) ||
		    strcmp(btf__name_by_offset(one, c->name_off), btf__name_by_offset(other, d->name_off)) != 0)
			return false;
	}
	for (unsigned i = 0; btf_is_enum(a) && i < btf_vlen(a); i++)
		if (btf_enum(a)[i].val != btf_enum(b)[i].val ||
		    strcmp(btf__name_by_offset(one, btf_enum(a)[i].name_off),
			   btf__name_by_offset(other, btf_enum(b)[i].name_off)) != 0)
			return false;
	for (unsigned i = 0; btf_is_enum64(a) && i < btf_vlen(a); i++)
		if (btf_enum64_value(&btf_enum64(a)[i]) != btf_enum64_value(&btf_enum64(b)[i]))
			return false;
	return !btf_is_int(a) || *(const __u32 *)(a + 1) == *(const __u32 *)(b + 1);
}

static bool is_asked(const char *name)
{
	return !strncmp(name, "file", 4) || !strcmp(name, "few");
}

static void test_what_is_asked(const struct btf *kernel, const struct aa_kernel_types *types, const struct btf *object)
{
	uint32_t asked = 0, found = 0, number = 0;
	void *data = NULL;
	struct btf *small;
	size_t bytes;

	CHECK(!aa_small_types_create(types, object, &data, &bytes));
	small = btf__new(data, (__u32)bytes);
	CHECK(small);
	/* In the kernel's order, kind after kind: what libbpf takes of two it takes here, too. */
	for (uint32_t id = 1; small && id < btf__type_cnt(kernel); id++) {
		const struct btf_type *type = btf__type_by_id(kernel, id);

		if (!is_asked(name_of(kernel, type)))
			continue;
		asked++;
		for (number = 1; number < btf__type_cnt(small); number++)
			if (is_same(kernel, id, small, number)) {
				found++;
				break;
			}
	}
	CHECK(asked == 4 && found == asked);
	CHECK(small && btf__find_by_name_kind(small, "file___2", BTF_KIND_STRUCT) <
			       btf__find_by_name_kind(small, "file", BTF_KIND_STRUCT));
	CHECK(small && btf__find_by_name_kind(small, "unasked", BTF_KIND_STRUCT) < 0);
	CHECK(small && btf__find_by_name_kind(small, "inner", BTF_KIND_STRUCT) > 0);
	btf__free(small);
	free(data);
}

/* A kernel whose sockets may be a module's has to be searched by libbpf. */
static void test_without_sockets(const struct btf *object)
{
	struct btf *kernel = kernel_make(false);
	struct aa_kernel_types *types;
	void *data = NULL;
	size_t bytes;
	__u32 size;
	const void *raw = btf__raw_data(kernel, &size);

	types = types_of(raw, size);
	CHECK(aa_small_types_create(types, object, &data, &bytes) == ENOENT && !data);
	aa_kernel_types_destroy(types);
	btf__free(kernel);
}

/* Whatever stands in the kernel's: numbers of types that are not there, names that begin nowhere. */
static void test_what_is_broken(const void *raw, size_t size, const struct btf *object)
{
	char *copy = malloc(size);

	for (int i = 0; i < 4000; i++) {
		struct aa_kernel_types *types;
		void *data = NULL;
		size_t bytes;

		memcpy(copy, raw, size);
		for (int j = 0; j < 1 + i % 4; j++)
			copy[random_number() % size] = (char)random_number();
		types = types_of(copy, size);
		if (types && !aa_small_types_create(types, object, &data, &bytes))
			btf__free(btf__new(data, (__u32)bytes));
		free(data);
		aa_kernel_types_destroy(types);
	}
	free(copy);
}

int main(void)
{
	struct btf *kernel = kernel_make(true), *object = object_make();
	struct aa_kernel_types *types;
	const void *raw;
	__u32 size;

	libbpf_set_print(NULL);
	close(mkstemp(path));
	raw = btf__raw_data(kernel, &size);
	types = types_of(raw, size);
	CHECK(types);
	if (types)
		test_what_is_asked(kernel, types, object);
	aa_kernel_types_destroy(types);
	test_without_sockets(object);
	test_what_is_broken(raw, size, object);
	unlink(path);
	btf__free(kernel);
	btf__free(object);
	return CHECK_DONE();
}

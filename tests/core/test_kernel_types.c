// SPDX-License-Identifier: MIT
/* What libbpf writes is read as it was meant, and what is cut off or unknown is refused, without a byte read beside it.
 */
#include "kernel_types.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "kernel_functions.h"
#include "random.h"

static char path[] = "/tmp/aa-kernel-types-XXXXXX";

static struct aa_kernel_types *types_of(const void *data, size_t bytes)
{
	int fd = open(path, O_WRONLY | O_TRUNC);

	CHECK(fd >= 0 && write(fd, data, bytes) == (ssize_t)bytes);
	close(fd);
	return aa_kernel_types_create(path);
}

/* One type of each kind that libbpf can write, and a name that two kinds have. */
static struct btf *btf_make(void)
{
	struct btf *btf = btf__new_empty();
	int number = btf__add_int(btf, "int", 4, BTF_INT_SIGNED);
	int proto;

	btf__add_ptr(btf, number);
	btf__add_array(btf, number, number, 4);
	btf__add_struct(btf, "fprobe", 8);
	btf__add_field(btf, "ops", number, 0, 0);
	btf__add_field(btf, "rethook", number, 32, 0);
	btf__add_union(btf, "both", 4);
	btf__add_field(btf, "one", number, 0, 0);
	btf__add_enum(btf, "few", 4);
	btf__add_enum_value(btf, "FEW_ONE", 1);
	btf__add_enum64(btf, "many", 8, false);
	btf__add_enum64_value(btf, "MANY_ONE", 1ull << 40);
	btf__add_fwd(btf, "later", BTF_FWD_STRUCT);
	btf__add_typedef(btf, "fprobe", number);
	btf__add_volatile(btf, number);
	btf__add_const(btf, number);
	btf__add_restrict(btf, number);
	btf__add_type_tag(btf, "user", number);
	proto = btf__add_func_proto(btf, number);
	btf__add_func_param(btf, "regs", number);
	btf__add_func(btf, "__x64_sys_read", BTF_FUNC_STATIC, proto);
	btf__add_decl_tag(btf, "kfunc", proto + 1, -1);
	btf__add_var(btf, "jiffies", BTF_VAR_STATIC, number);
	btf__add_datasec(btf, ".data", 4);
	btf__add_datasec_var_info(btf, proto + 3, 0, 4);
	btf__add_float(btf, "double", 8);
	btf__add_func(btf, "last", BTF_FUNC_STATIC, proto);
	return btf;
}

static void test_what_was_written(const struct btf *btf, const struct aa_kernel_types *types)
{
	struct aa_kernel_function functions[] = { { .name = "last" }, { .name = "__x64_sys_read" }, { .name = "no" } };
	uint32_t total = 0, count;

	for (uint32_t id = 1; id < btf__type_cnt(btf); id++) {
		const struct btf_type *type = aa_kernel_type(types, id), *meant = btf__type_by_id(btf, id);

		CHECK(type->info == meant->info && type->type == meant->type);
		CHECK(!strcmp(aa_kernel_type_name(types, type->name_off), btf__name_by_offset(btf, meant->name_off)));
	}
	for (unsigned kind = 0; kind < 32; kind++) {
		aa_kernel_types_of_kind(types, kind, &count);
		total += count;
	}
	CHECK(total == btf__type_cnt(btf) - 1);
	CHECK(btf_kind(aa_kernel_type(types, 0)) == BTF_KIND_UNKN);
	CHECK(btf_kind(aa_kernel_type(types, btf__type_cnt(btf))) == BTF_KIND_UNKN);
	CHECK((int)aa_kernel_types_find(types, "fprobe", BTF_KIND_TYPEDEF) ==
	      btf__find_by_name_kind(btf, "fprobe", BTF_KIND_TYPEDEF));
	CHECK(!aa_kernel_types_find(types, "fprobe", BTF_KIND_FUNC));
	CHECK(aa_kernel_has_member(types, "fprobe", "rethook") && !aa_kernel_has_member(types, "fprobe", "one"));
	aa_kernel_functions_find(types, functions, 3);
	CHECK(!aa_kernel_function_of(functions, 3, "no")->btf_id);
	CHECK((int)aa_kernel_function_of(functions, 3, "last")->btf_id ==
	      btf__find_by_name_kind(btf, "last", BTF_KIND_FUNC));
	CHECK(!strcmp(aa_kernel_function_of(functions, 3, "__x64_sys_read")->first, "regs"));
}

/* Cut off anywhere; and with bytes that are others. */
static void test_what_is_broken(const void *data, size_t bytes)
{
	char *copy = malloc(bytes);

	for (size_t length = 0; length < bytes; length++) {
		CHECK(!types_of(data, length));
		CHECK(errno == EINVAL);
	}
	for (int i = 0; i < 2000; i++) {
		struct aa_kernel_types *types;

		memcpy(copy, data, bytes);
		copy[random_number() % bytes] = (char)random_number();
		types = types_of(copy, bytes);
		if (types)
			aa_kernel_types_find(types, "no", BTF_KIND_STRUCT);
		aa_kernel_types_destroy(types);
	}
	free(copy);
	unlink(path);
	CHECK(!aa_kernel_types_create(path) && errno == ENOENT);
}

/* A function whose type is none of a function, and a name that stands for itself: as libbpf would not write them. */
static void test_what_points_elsewhere(void)
{
	struct aa_kernel_function functions[] = { { .name = "astray" }, { .name = "circle" } };
	struct btf *btf = btf__new_empty();
	int number = btf__add_int(btf, "int", 4, BTF_INT_SIGNED), name, proto;
	struct aa_kernel_types *types;
	struct btf_type *type;
	const void *data;
	__u32 bytes;

	name = btf__add_typedef(btf, "itself", number);
	proto = btf__add_func_proto(btf, number);
	btf__add_func_param(btf, "who", name);
	btf__add_func(btf, "circle", BTF_FUNC_STATIC, proto);
	btf__add_func(btf, "astray", BTF_FUNC_STATIC, proto);
	/* The last in the data, so that what is read behind it is read beyond the data. */
	type = (struct btf_type *)btf__type_by_id(btf, proto + 2);
	type->type = (__u32)number;
	type = (struct btf_type *)btf__type_by_id(btf, name);
	type->type = (__u32)name;
	data = btf__raw_data(btf, &bytes);
	types = types_of(data, bytes);
	CHECK(types);
	aa_kernel_functions_find(types, functions, 2);
	CHECK(!aa_kernel_function_of(functions, 2, "astray")->btf_id);
	CHECK(aa_kernel_function_of(functions, 2, "circle")->btf_id);
	CHECK(!aa_kernel_function_of(functions, 2, "circle")->takes_struct);
	aa_kernel_types_destroy(types);
	btf__free(btf);
}

int main(void)
{
	struct btf *btf = btf_make();
	struct aa_kernel_types *types;
	const void *data;
	__u32 bytes;

	close(mkstemp(path));
	data = btf__raw_data(btf, &bytes);
	types = types_of(data, bytes);
	CHECK(types);
	if (types)
		test_what_was_written(btf, types);
	aa_kernel_types_destroy(types);
	test_what_points_elsewhere();
	test_what_is_broken(data, bytes);
	btf__free(btf);
	return CHECK_DONE();
}

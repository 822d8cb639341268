// SPDX-License-Identifier: MIT
/* Fuzzes the reader of BTF and the two that ask it: an input is the file that the kernel would show. */
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "input.h"
#include "kernel_functions.h"
#include "kernel_types.h"
#include "small_types.h"

static int say_nothing(enum libbpf_print_level level, const char *format, va_list arguments)
{
	return 0;
}

/* What an object of ours could ask for. */
static struct btf *make_object(void)
{
	struct btf *object = btf__new_empty();
	int number = btf__add_int(object, "int", 4, 0);

	btf__add_struct(object, "task_struct", 8);
	btf__add_field(object, "x", number, 0, 0);
	btf__add_struct(object, "unix_sock___v", 8);
	btf__add_enum(object, "e", 4);
	btf__add_typedef(object, "t", number);
	return object;
}

static void ask(const struct aa_kernel_types *types, const struct btf *object)
{
	struct aa_kernel_function functions[] = { { .name = "a" },
						  { .name = "last" },
						  { .name = "security_file_open" } };
	uint32_t count;
	size_t bytes;
	void *data;

	for (uint32_t id = 0; id < aa_kernel_types_count(types) + 2; id++)
		(void)strlen(aa_kernel_type_name(types, aa_kernel_type(types, id)->name_off));
	for (unsigned kind = 0; kind < 32; kind++)
		(void)aa_kernel_types_of_kind(types, kind, &count);
	(void)aa_kernel_types_find(types, "task_struct", BTF_KIND_STRUCT);
	(void)aa_kernel_has_function(types, "last");
	(void)aa_kernel_has_struct(types, "fprobe");
	(void)aa_kernel_has_member(types, "fprobe", "ops");
	aa_kernel_functions_find(types, functions, sizeof(functions) / sizeof(*functions));
	if (!aa_small_types_create(types, object, &data, &bytes))
		free(data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct btf *object;
	struct aa_kernel_types *types;
	char path[64];
	int fd = memfd_create("btf", MFD_CLOEXEC);

	if (!object) {
		libbpf_set_print(say_nothing);
		object = make_object();
	}
	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	types = aa_kernel_types_create(path);
	close(fd);
	if (types)
		ask(types, object);
	aa_kernel_types_destroy(types);
	return 0;
}

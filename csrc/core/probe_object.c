// SPDX-License-Identifier: MIT
#include "probe_object.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../bpf/fileio_abi.h"

#include "fileio.skel.h"
#include "fileio_direct.skel.h"
#include "kernel_types.h"
#include "small_types.h"

/* A load that is under way in this thread, for the programs' turns in it. */
struct aa_load {
	const struct aa_kernel_types *types;
	const struct aa_program_place *places;
	size_t count;
	uint32_t cast, numbers[AA_MARK_END - AA_MARK_FIRST]; /* what the marks stand for */
};
static _Thread_local const struct aa_load *aa_current_load;

/* The sections of bpf/, named unlike libbpf's own, and what their programs are. */
static const struct aa_section {
	const char *name;
	enum bpf_prog_type type;
	enum bpf_attach_type attach_type;
	const char *prefix; /* of what is looked up in the kernel's BTF; NULL: nothing is */
	unsigned kind;	    /* of that */
} aa_sections[] = {
	{ "aa_kprobe+", BPF_PROG_TYPE_KPROBE, 0, NULL, 0 },
	{ "aa_kprobe.multi+", BPF_PROG_TYPE_KPROBE, BPF_TRACE_KPROBE_MULTI, NULL, 0 },
	{ "aa_tracepoint+", BPF_PROG_TYPE_TRACEPOINT, 0, NULL, 0 },
	{ "aa_raw_tp+", BPF_PROG_TYPE_RAW_TRACEPOINT, 0, NULL, 0 },
	{ "aa_tp_btf+", BPF_PROG_TYPE_TRACING, BPF_TRACE_RAW_TP, "btf_trace_", BTF_KIND_TYPEDEF },
	{ "aa_iter+", BPF_PROG_TYPE_TRACING, BPF_TRACE_ITER, "bpf_iter_", BTF_KIND_FUNC },
	{ "aa_fentry+", BPF_PROG_TYPE_TRACING, BPF_TRACE_FENTRY, "", BTF_KIND_FUNC },
	{ "aa_fexit+", BPF_PROG_TYPE_TRACING, BPF_TRACE_FEXIT, "", BTF_KIND_FUNC },
};
#define AA_SECTIONS (sizeof(aa_sections) / sizeof(aa_sections[0]))

/* Where a program of that section attaches, by its number in the kernel's BTF; 0: nowhere. */
static uint32_t aa_place_of(const struct aa_load *load, const struct bpf_program *program,
			    const struct aa_section *section)
{
	const char *target = strchr(bpf_program__section_name(program), '/');
	char name[128];

	for (size_t i = 0; i < load->count; i++)
		if (load->places[i].program == program)
			return load->places[i].function;
	if (!target)
		return 0;
	snprintf(name, sizeof(name), "%s%s", section->prefix, target + 1);
	return aa_kernel_types_find(load->types, name, section->kind);
}

static bool aa_is_mark(const struct bpf_insn *instruction)
{
	return instruction->imm >= AA_MARK_FIRST && instruction->imm < AA_MARK_END &&
	       (instruction->code == (BPF_ALU64 | BPF_MOV | BPF_K) ||
		instruction->code == (BPF_ALU | BPF_MOV | BPF_K) || instruction->code == (BPF_LD | BPF_IMM | BPF_DW));
}

static int aa_marks_replace(struct bpf_program *program, const struct aa_load *load)
{
	size_t count = bpf_program__insn_cnt(program);
	struct bpf_insn *code = malloc(count * sizeof(*code));
	int result;

	if (!code)
		return -ENOMEM;
	memcpy(code, bpf_program__insns(program), count * sizeof(*code));
	for (size_t i = 0; i < count; i++) {
		if (code[i].code == (BPF_JMP | BPF_CALL) && code[i].imm == AA_MARK_CAST && !code[i].src_reg) {
			code[i].src_reg = BPF_PSEUDO_KFUNC_CALL;
			code[i].imm = (int)load->cast;
		} else if (aa_is_mark(&code[i])) {
			code[i].imm = (int)load->numbers[code[i].imm - AA_MARK_FIRST];
		}
		/* The second half of a wide one is a number and nothing else. */
		if (code[i].code == (BPF_LD | BPF_IMM | BPF_DW))
			i++;
	}
	result = bpf_program__set_insns(program, code, count);
	free(code);
	return result;
}

/*
 * A program's turn: all is relocated, and it is about to be loaded. For one of this type libbpf would have read the
 * kernel's BTF, if it had known: it looks at the types before.
 */
static int aa_program_prepare(struct bpf_program *program, struct bpf_prog_load_opts *options, long cookie)
{
	const struct aa_section *section = &aa_sections[cookie];
	const struct aa_load *load = aa_current_load;
	int result = 0;

	if (!load)
		return -EINVAL;
	if (section->prefix) {
		options->attach_btf_id = aa_place_of(load, program, section);
		if (!options->attach_btf_id)
			return -ESRCH;
		result = bpf_program__set_type(program, section->type);
	}
	return !result && load->cast ? aa_marks_replace(program, load) : result;
}

/* libbpf's list of sections is the process's, and cannot be changed while others read it. */
static void aa_sections_register(void)
{
	LIBBPF_OPTS(libbpf_prog_handler_opts, options, .prog_prepare_load_fn = aa_program_prepare);

	for (size_t i = 0; i < AA_SECTIONS; i++) {
		const struct aa_section *section = &aa_sections[i];

		options.cookie = (long)i;
		/* One that fails is found when a program of that section has no type. */
		libbpf_register_prog_handler(section->name, section->prefix ? BPF_PROG_TYPE_TRACEPOINT : section->type,
					     section->attach_type, &options);
	}
}

static void aa_load_begin(struct aa_load *load, const struct aa_kernel_types *types)
{
	load->types = types;
#define AA_X(name) load->numbers[AA_MARK_##name - AA_MARK_FIRST] = aa_kernel_types_find(types, #name, BTF_KIND_STRUCT);
	AA_MARKED_TYPES(AA_X)
#undef AA_X
	load->cast = aa_kernel_types_find(types, "bpf_rdonly_cast", BTF_KIND_FUNC);
}

bool aa_probe_object_is_direct(const struct aa_kernel_types *types)
{
	struct aa_load load = { 0 };

	aa_load_begin(&load, types);
	for (size_t i = 0; i < sizeof(load.numbers) / sizeof(load.numbers[0]); i++)
		if (!load.numbers[i])
			return false;
	return load.cast;
}

/* Writes them where libbpf reads them. */
static int aa_small_types_write(const struct aa_kernel_types *types, const struct btf *object, int fd)
{
	void *data = NULL;
	size_t bytes;
	int code = aa_small_types_create(types, object, &data, &bytes);

	if (!code && write(fd, data, bytes) != (ssize_t)bytes)
		code = ENOSPC;
	free(data);
	return code;
}

static struct fileio_bpf *aa_skeleton_open(bool direct, const char *types_path)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .btf_custom_path = types_path);
	struct fileio_bpf *object = calloc(1, sizeof(*object));
	int result;

	if (!object)
		return NULL;
	result = fileio_bpf__create_skeleton(object);
	/* The same programs and maps, so that one skeleton fits both. */
	if (!result && direct)
		object->skeleton->data = fileio_direct_bpf__elf_bytes(&object->skeleton->data_sz);
	if (!result)
		result = bpf_object__open_skeleton(object->skeleton, &options);
	if (!result)
		return object;
	fileio_bpf__destroy(object);
	errno = -result;
	return NULL;
}

struct fileio_bpf *aa_probe_object_open(bool direct, const struct aa_kernel_types *types, int *ret_types)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct fileio_bpf *object;
	char path[64];

	pthread_once(&once, aa_sections_register);
	*ret_types = memfd_create("aa_types", MFD_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", *ret_types);
	if (*ret_types < 0 || access(path, R_OK))
		goto whole;
	object = aa_skeleton_open(direct, path);
	if (!object || !aa_small_types_write(types, bpf_object__btf(object->obj), *ret_types))
		return object;
	fileio_bpf__destroy(object);
whole:
	if (*ret_types >= 0)
		close(*ret_types);
	*ret_types = -1;
	return aa_skeleton_open(direct, NULL);
}

int aa_probe_object_load(struct fileio_bpf *object, const struct aa_kernel_types *types,
			 const struct aa_program_place *places, size_t count)
{
	struct aa_load load = { .places = places, .count = count };
	int result;

	aa_load_begin(&load, types);
	aa_current_load = &load;
	result = fileio_bpf__load(object);
	aa_current_load = NULL;
	return result;
}

// SPDX-License-Identifier: MIT
#include "probe_object.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../bpf/syscalls.h" /* of what the skeletons have in .rodata */

#include "fileio.skel.h"
#include "fileio_direct.skel.h"
#include "kernel_types.h"
#include "own_thread.h"
#include "small_types.h"

/*
 * Long programs are loaded beside libbpf, which loads one after the other: the kernel's verifier is most of what an
 * attach takes (75 of 110 ms of a processor, 6.18), and works on several at once.
 */
#define AA_LONG_PROGRAM 1000 /* instructions */
#define AA_LONG_PROGRAMS 32
#define AA_LOADERS 3
#define AA_LOG_BYTES (16u << 20)

struct aa_long_program {
	struct bpf_program *program;
	enum bpf_prog_type type;
	struct bpf_prog_load_opts options;
	struct bpf_insn *code;
	size_t count;
	void *function_info, *line_info;
	bool is_taken;
	int fd, error;
};

/* A load that is under way in this thread, for the programs' turns in it. */
struct aa_load {
	const struct aa_kernel_types *types;
	const struct aa_program_place *places;
	size_t count;
	uint32_t cast, numbers[AA_MARK_END - AA_MARK_FIRST]; /* what the marks stand for */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct aa_long_program longs[AA_LONG_PROGRAMS];
	size_t long_count;
	bool is_over; /* no more will come */
	pthread_t loaders[AA_LOADERS];
	size_t loader_count, loaders_wanted;
};
static _Thread_local struct aa_load *aa_current_load;

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

static void aa_marks_replace(struct bpf_insn *code, size_t count, const struct aa_load *load)
{
	for (size_t i = 0; load->cast && i < count; i++) {
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
}

static void aa_long_load(struct aa_long_program *each)
{
	each->fd = bpf_prog_load(each->type, bpf_program__name(each->program), AA_LICENSE, each->code, each->count,
				 &each->options);
	each->error = each->fd < 0 ? errno : 0;
}

/* The longest that nobody has taken yet: what comes last is short then, and the threads end together. */
static struct aa_long_program *aa_long_next(struct aa_load *load)
{
	struct aa_long_program *longest = NULL;

	for (size_t i = 0; i < load->long_count; i++)
		if (!load->longs[i].is_taken && (!longest || load->longs[i].count > longest->count))
			longest = &load->longs[i];
	if (longest)
		longest->is_taken = true;
	return longest;
}

/* Until there is none and none will come; in the loading thread, and in those that help it. */
static void *aa_longs_load(void *context)
{
	struct aa_load *load = context;

	pthread_mutex_lock(&load->lock);
	for (;;) {
		struct aa_long_program *each = aa_long_next(load);

		if (!each && load->is_over)
			break;
		if (!each) {
			pthread_cond_wait(&load->changed, &load->lock);
			continue;
		}
		pthread_mutex_unlock(&load->lock);
		aa_long_load(each);
		pthread_mutex_lock(&load->lock);
	}
	pthread_mutex_unlock(&load->lock);
	return NULL;
}

static void *aa_copy(const void *data, size_t bytes)
{
	void *copy = data && bytes ? malloc(bytes) : NULL;

	return copy ? memcpy(copy, data, bytes) : NULL;
}

/*
 * Takes the program over and leaves a short one in its place, of the same type, whose descriptor will be the long
 * one's. False: it is libbpf's to load as it is.
 */
static bool aa_long_take(struct aa_load *load, struct bpf_program *program, enum bpf_prog_type type,
			 struct bpf_insn *code, size_t count, struct bpf_prog_load_opts *options)
{
	static const struct bpf_insn nothing[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	struct aa_long_program *each = &load->longs[load->long_count];

	if (!load->loaders_wanted || count < AA_LONG_PROGRAM || load->long_count == AA_LONG_PROGRAMS)
		return false;
	*each = (struct aa_long_program){ program, type, .fd = -1, .error = ECANCELED };
	/* libbpf's own may be larger. */
	memcpy(&each->options, options, sizeof(each->options));
	each->options.sz = sizeof(each->options);
	each->options.fd_array = NULL;
	each->function_info = aa_copy(options->func_info, (size_t)options->func_info_cnt * options->func_info_rec_size);
	each->line_info = aa_copy(options->line_info, (size_t)options->line_info_cnt * options->line_info_rec_size);
	if ((options->func_info_cnt && !each->function_info) || (options->line_info_cnt && !each->line_info) ||
	    bpf_program__set_insns(program, (struct bpf_insn *)nothing, sizeof(nothing) / sizeof(nothing[0]))) {
		free(each->function_info);
		free(each->line_info);
		return false;
	}
	each->options.func_info = each->function_info;
	each->options.line_info = each->line_info;
	each->code = code;
	each->count = count;
	options->func_info_cnt = 0;
	options->line_info_cnt = 0;
	pthread_mutex_lock(&load->lock);
	load->long_count++;
	pthread_cond_signal(&load->changed);
	pthread_mutex_unlock(&load->lock);
	if (load->loader_count < load->loaders_wanted) {
		if (aa_own_thread_create(&load->loaders[load->loader_count], aa_longs_load, load))
			load->loaders_wanted = load->loader_count; /* what there is, or this thread, does it all */
		else
			load->loader_count++;
	}
	return true;
}

/*
 * A program's turn: all is relocated, and it is about to be loaded. For one of this type libbpf would have read the
 * kernel's BTF, if it had known: it looks at the types before.
 */
static int aa_program_prepare(struct bpf_program *program, struct bpf_prog_load_opts *options, long cookie)
{
	const struct aa_section *section = &aa_sections[cookie];
	size_t count = bpf_program__insn_cnt(program);
	struct aa_load *load = aa_current_load;
	struct bpf_insn *code;
	int result = 0;

	if (!load)
		return -EINVAL;
	if (section->prefix) {
		options->attach_btf_id = aa_place_of(load, program, section);
		if (!options->attach_btf_id)
			return -ESRCH;
		result = bpf_program__set_type(program, section->type);
	}
	code = aa_copy(bpf_program__insns(program), count * sizeof(*code));
	if (!code)
		return -ENOMEM;
	aa_marks_replace(code, count, load);
	if (!result && aa_long_take(load, program, section->type, code, count, options))
		return 0;
	if (!result && load->cast)
		result = bpf_program__set_insns(program, code, count);
	free(code);
	return result;
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

/*
 * Where the skeleton has each of its programs. libbpf would compare each name with all names, in 2 ms; bpftool has
 * written them down in the order that they are in here.
 */
static int aa_programs_find(struct bpf_object_skeleton *skeleton, int count)
{
	struct bpf_program *program = NULL;

	for (int i = 0; i < count; i++) {
		program = bpf_object__next_program(*skeleton->obj, program);
		if (!program || strcmp(bpf_program__name(program), skeleton->progs[i].name) != 0)
			return -ESRCH;
		*skeleton->progs[i].prog = program;
	}
	return 0;
}

static struct fileio_bpf *aa_skeleton_open(bool direct, const char *types_path)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .btf_custom_path = types_path);
	struct fileio_bpf *object = calloc(1, sizeof(*object));
	int result, count = 0;

	if (!object)
		return NULL;
	result = fileio_bpf__create_skeleton(object);
	/* The same programs and maps, so that one skeleton fits both. */
	if (!result && direct)
		object->skeleton->data = fileio_direct_bpf__elf_bytes(&object->skeleton->data_sz);
	if (!result) {
		count = object->skeleton->prog_cnt;
		object->skeleton->prog_cnt = 0;
		result = bpf_object__open_skeleton(object->skeleton, &options);
	}
	if (!result)
		result = aa_programs_find(object->skeleton, count);
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

/* As libbpf says it. */
static void aa_say(aa_print print, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	print(LIBBPF_WARN, format, arguments);
	va_end(arguments);
}

/* Once more, for the verifier's words. */
static void aa_long_explain(struct aa_long_program *each, aa_print print)
{
	const char *name = bpf_program__name(each->program);
	char *log = malloc(AA_LOG_BYTES);
	int code = each->error;

	if (log) {
		log[0] = '\0';
		each->options.log_buf = log;
		each->options.log_size = AA_LOG_BYTES;
		each->options.log_level = 1;
		aa_long_load(each);
	}
	aa_say(print, "prog '%s': BPF program load failed: %s\n", name, strerror(code));
	if (log && log[0])
		aa_say(print, "prog '%s': -- BEGIN PROG LOAD LOG --\n%s-- END PROG LOAD LOG --\n", name, log);
	free(log);
	each->error = code;
}

/* All are loaded and in their places, or none where `result` is an error already, or becomes one. */
static int aa_longs_end(struct aa_load *load, int result, aa_print print)
{
	pthread_mutex_lock(&load->lock);
	for (size_t i = 0; result && i < load->long_count; i++)
		load->longs[i].is_taken = true;
	load->is_over = true;
	pthread_cond_broadcast(&load->changed);
	pthread_mutex_unlock(&load->lock);
	aa_longs_load(load);
	while (load->loader_count)
		pthread_join(load->loaders[--load->loader_count], NULL);
	for (size_t i = 0; i < load->long_count; i++) {
		struct aa_long_program *each = &load->longs[i];

		if (!result && each->error) {
			result = -each->error;
			aa_long_explain(each, print);
		}
		if (!result && dup3(each->fd, bpf_program__fd(each->program), O_CLOEXEC) < 0)
			result = -errno;
		if (each->fd >= 0)
			close(each->fd);
		free(each->code);
		free(each->function_info);
		free(each->line_info);
	}
	return result;
}

/* libbpf leaves out the object's data, and succeeds, where it believes that the kernel cannot map it. */
static bool aa_data_is_mapped(const struct fileio_bpf *object)
{
	return object->bss && object->rodata && bpf_map__autocreate(object->maps.bss) &&
	       bpf_map__autocreate(object->maps.rodata);
}

int aa_probe_object_load(struct fileio_bpf *object, const struct aa_kernel_types *types,
			 const struct aa_program_place *places, size_t count, aa_print print)
{
	struct aa_load load = { .places = places, .count = count };
	cpu_set_t processors;
	int result;

	aa_load_begin(&load, types);
	pthread_mutex_init(&load.lock, NULL);
	pthread_cond_init(&load.changed, NULL);
	if (!sched_getaffinity(0, sizeof(processors), &processors))
		load.loaders_wanted = (size_t)CPU_COUNT(&processors) - 1;
	if (load.loaders_wanted > AA_LOADERS)
		load.loaders_wanted = AA_LOADERS;
	aa_current_load = &load;
	result = fileio_bpf__load(object);
	aa_current_load = NULL;
	result = aa_longs_end(&load, result, print);
	if (!result && !aa_data_is_mapped(object)) {
		aa_say(print,
		       "libbpf took a passing refusal of one of its trials for a lack of the kernel's: attach again\n");
		result = -EAGAIN;
	}
	pthread_mutex_destroy(&load.lock);
	pthread_cond_destroy(&load.changed);
	return result;
}

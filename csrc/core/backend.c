// SPDX-License-Identifier: MIT
#include "backend.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "fileio.skel.h"
#include "kprobe_line.h"
#include "syscall_table.h"
#include "tracefs.h"

#define AA_PROBES_MAX 512
#define AA_GONE_MS 10000 /* far more than any grace period seen (0.6 s in an emulated guest) */

/* libbpf's words during one call. Its print hook is the process's own, so the text goes to the calling thread's log. */
struct aa_log {
	char text[8192];
	size_t used;
};
static _Thread_local struct aa_log *aa_current_log;

static int aa_log_print(enum libbpf_print_level level, const char *format, va_list arguments)
{
	struct aa_log *log = aa_current_log;
	int length;

	if (!log || level == LIBBPF_DEBUG)
		return 0;
	length = vsnprintf(log->text + log->used, sizeof(log->text) - log->used, format, arguments);
	if (length > 0)
		log->used += (size_t)length < sizeof(log->text) - log->used ? (size_t)length :
									      sizeof(log->text) - log->used - 1;
	return 0;
}

static libbpf_print_fn_t aa_log_begin(struct aa_log *log)
{
	log->used = 0;
	log->text[0] = '\0';
	aa_current_log = log;
	return libbpf_set_print(aa_log_print);
}

static void aa_log_end(libbpf_print_fn_t previous)
{
	libbpf_set_print(previous);
	aa_current_log = NULL;
}

/* One program and where it hangs. */
struct aa_probe {
	struct bpf_program *program;
	struct bpf_link *link;
	const char *function; /* kernel function or tracepoint */
	bool is_return;
	int perf_fd; /* number of the perf event, owned by the link */
};

struct aa_probes {
	const char *backend;
	bool is_kprobe;
	struct fileio_bpf *skeleton;
	struct aa_kprobe_lines *lines;
	int tracefs; /* while attaching */
	struct aa_probe probes[AA_PROBES_MAX];
	struct aa_target targets[AA_PROBES_MAX];
	uint32_t program_ids[AA_PROBES_MAX];
	size_t row[AA_PROBES_MAX]; /* index of the program that this one is a spare of, or its own */
	size_t count;
	bool loops;
	bool detached;
	struct aa_cpu_counters *counts; /* the map, one for each possible CPU */
	size_t counts_bytes;
	bool has_last_missed;
	uint64_t last_missed;
	bool last_exact;
	char last_reason[160];
};

/*
 * Below the calls, where the kernel tells which file it works on (aa_note_used()) and when a descriptor or a directory
 * changes hands (aa_changed). Without one that is needed a name could be wrong unseen, so the backend is refused.
 */
#define AA_OPERATION_BIT(name) (1ULL << AA_OPERATION_##name)
static const struct aa_below {
	const char *program, *function;
	uint64_t operations;
	bool needed;
} aa_below[] = {
	{ "aa_used_open", "fd_install", AA_OPERATION_BIT(OPEN) | AA_OPERATION_BIT(MEMFD), true },
	{ "aa_used_read", "vfs_read", AA_OPERATION_BIT(READ), true },
	{ "aa_used_write", "vfs_write", AA_OPERATION_BIT(WRITE), true },
	{ "aa_used_other", "security_file_permission",
	  AA_OPERATION_BIT(READ) | AA_OPERATION_BIT(WRITE) | AA_OPERATION_BIT(COPY) | AA_OPERATION_BIT(LIST), true },
	{ "aa_changed_close", "filp_close", ~0ULL, true },
	{ "aa_changed_flush", "filp_flush", ~0ULL, false }, /* 6.8 split it off */
	{ "aa_changed_pwd", "set_fs_pwd", ~0ULL, true },
	/* Without these (CONFIG_SECURITY_PATH) names are as passed, and say so. */
	{ "aa_acted_unlink", "security_path_unlink", AA_OPERATION_BIT(UNLINK), false },
	{ "aa_acted_rmdir", "security_path_rmdir", AA_OPERATION_BIT(RMDIR), false },
	{ "aa_acted_mkdir", "security_path_mkdir", AA_OPERATION_BIT(MKDIR), false },
	{ "aa_acted_mknod", "security_path_mknod", AA_OPERATION_BIT(MKNOD), false },
	{ "aa_acted_symlink", "security_path_symlink", AA_OPERATION_BIT(SYMLINK), false },
	{ "aa_acted_link", "security_path_link", AA_OPERATION_BIT(LINK), false },
	{ "aa_acted_rename", "security_path_rename", AA_OPERATION_BIT(RENAME), false },
	{ "aa_acted_truncate", "security_path_truncate", AA_OPERATION_BIT(TRUNCATE), false },
	{ "aa_acted_chmod", "security_path_chmod", AA_OPERATION_BIT(CHMOD), false },
	{ "aa_acted_chown", "security_path_chown", AA_OPERATION_BIT(CHOWN), false },
};

static const char aa_remedy_privileges[] =
	"run as root, or with CAP_BPF and CAP_PERFMON (Debian's perf_event_paranoid=3 keeps these two from kprobes, "
	"and from Linux 7.0 on from tracepoints)";

static bool aa_is_refusal(int errno_value)
{
	return errno_value == EPERM || errno_value == EACCES;
}

static struct aa_error *aa_probe_error(int errno_value, const struct aa_log *log, const char *program,
				       const char *function, const char *what)
{
	struct aa_error *error;

	error = aa_error_create(aa_is_refusal(errno_value) ? AA_ERROR_PERMISSION : AA_ERROR_ATTACH, errno_value,
				"%s: %s", what, strerror(errno_value));
	aa_error_with_probe(error, program, function);
	aa_error_with_log(error, log ? log->text : NULL);
	if (aa_is_refusal(errno_value))
		aa_error_with_remedy(error, aa_remedy_privileges);
	return error;
}

static bool aa_is_row_asked(const struct aa_call_spec *spec, uint64_t operations)
{
	return (operations >> spec->operation & 1) || (spec->if_flag && operations >> spec->then_operation & 1);
}

static void aa_probes_add(struct aa_probes *probes, const char *program, const char *function, bool is_return)
{
	struct aa_probe *probe = &probes->probes[probes->count];
	struct aa_target *target = &probes->targets[probes->count++];

	probe->program = bpf_object__find_program_by_name(probes->skeleton->obj, program);
	probe->function = function;
	probe->is_return = is_return;
	probe->perf_fd = -1;
	probes->row[probes->count - 1] = probes->count - 1;
	bpf_program__set_autoload(probe->program, true);
	snprintf(target->program, sizeof(target->program), "%s", program);
	snprintf(target->function, sizeof(target->function), "%s", function);
	snprintf(target->backend, sizeof(target->backend), "%s", probes->backend);
}

/*
 * A tracepoint's programs can be preempted from 7.0 on. It is the one thing asked of the version: that change left no
 * trace in the kernel's BTF.
 */
static bool aa_tracepoints_are_preemptible(void)
{
	struct utsname name;

	return !uname(&name) && strtol(name.release, NULL, 10) >= 7;
}

/* A raw tracepoint's program and, where it can be preempted, its spares: see aa_event_sys_enter(). */
static void aa_probes_add_row(struct aa_probes *probes, const char *program, const char *tracepoint)
{
	size_t first = probes->count;

	aa_probes_add(probes, program, tracepoint, false);
	for (int place = 1; aa_tracepoints_are_preemptible() && place <= AA_SPARES; place++) {
		char name[64];

		snprintf(name, sizeof(name), "%s_%d", program, place);
		aa_probes_add(probes, name, tracepoint, false);
		probes->row[probes->count - 1] = first;
	}
}

static void aa_probes_choose(struct aa_probes *probes, const struct aa_probe_options *options)
{
	struct fileio_bpf *skeleton = probes->skeleton;
	struct bpf_program *program;
	bool needs_entry = !options->no_latency;

	bpf_object__for_each_program (program, skeleton->obj)
		bpf_program__set_autoload(program, false);
	bpf_program__set_autoload(skeleton->progs.aa_list_tasks, true);
	aa_probes_add_row(probes, "aa_process_fork", "sched_process_fork");
	aa_probes_add_row(probes, "aa_process_exit", "sched_process_exit");
	aa_probes_add_row(probes, "aa_process_exec", "sched_process_exec");
	for (unsigned row = 0; row < AA_CALL_COUNT; row++) {
		const struct aa_call_info *info = aa_call_info(row);
		char name[64];

		if (!aa_is_row_asked(&aa_call_specs[row], options->operations))
			continue;
		if (!aa_call_specs[row].fd || aa_call_specs[row].closes)
			needs_entry = true;
		if (!probes->is_kprobe)
			continue;
		aa_probes_add(probes, info->program, info->function, false);
		snprintf(name, sizeof(name), "%s_ret", info->program);
		aa_probes_add(probes, name, info->function, true);
	}
	if (probes->is_kprobe) {
		for (size_t i = 0; i < sizeof(aa_below) / sizeof(aa_below[0]); i++)
			if (options->operations & aa_below[i].operations)
				aa_probes_add(probes, aa_below[i].program, aa_below[i].function, false);
		bpf_program__set_autoload(skeleton->progs.aa_kprobe_begin, true);
		bpf_program__set_autoload(
			probes->loops ? skeleton->progs.aa_kprobe_loop : skeleton->progs.aa_kprobe_finish, true);
	} else {
		bool events = aa_tracepoints_are_preemptible();

		if (needs_entry)
			aa_probes_add(probes, events ? "aa_event_sys_enter" : "aa_sys_enter", "sys_enter", false);
		aa_probes_add(probes,
			      events	    ? "aa_event_sys_exit" :
			      probes->loops ? "aa_sys_exit_loop" :
					      "aa_sys_exit",
			      "sys_exit", true);
		bpf_map__set_autocreate(skeleton->maps.aa_kprobe_tail, false);
	}
}

struct aa_error *aa_probes_create(const char *backend, const struct aa_probe_options *options,
				  struct aa_probes **ret_probes)
{
	struct aa_probes *probes = calloc(1, sizeof(*probes));
	libbpf_print_fn_t previous;
	struct aa_error *error = NULL;
	struct aa_log log;
	struct fileio_bpf *skeleton;
	struct stat status;
	int result, cpus;

	if (!probes)
		return aa_error_create(AA_ERROR_MEMORY, ENOMEM, "out of memory");
	probes->counts = MAP_FAILED;
	probes->tracefs = -1;
	probes->backend = backend;
	probes->is_kprobe = !strcmp(backend, "kprobe");
	if (access("/sys/kernel/btf/vmlinux", F_OK)) {
		free(probes);
		return aa_error_with_remedy(aa_error_create(AA_ERROR_UNAVAILABLE, errno,
							    "this kernel has no BTF (/sys/kernel/btf/vmlinux)"),
					    "a kernel built with CONFIG_DEBUG_INFO_BTF, and /sys mounted");
	}
	if (probes->is_kprobe && access("/sys/bus/event_source/devices/kprobe/type", F_OK)) {
		free(probes);
		return aa_error_with_remedy(aa_error_create(AA_ERROR_UNAVAILABLE, errno,
							    "this kernel has no kprobes (CONFIG_KPROBE_EVENTS; no "
							    "/sys/bus/event_source/devices/kprobe)"),
					    "use backend=\"tracepoint\"");
	}
	previous = aa_log_begin(&log);
	/* 5.17; a trial load decides, not a version. */
	probes->loops = libbpf_probe_bpf_helper(BPF_PROG_TYPE_KPROBE, BPF_FUNC_loop, NULL) == 1;
	log.used = 0;
	log.text[0] = '\0';
	skeleton = probes->skeleton = fileio_bpf__open();
	if (!probes->skeleton) {
		error = aa_probe_error(errno, &log, NULL, NULL, "libbpf cannot open the probes' object");
		goto out;
	}
	probes->skeleton->rodata->aa_config.operations = options->operations;
	probes->skeleton->rodata->aa_config.kinds = options->kinds;
	probes->skeleton->rodata->aa_config.scope = options->scope;
	probes->skeleton->rodata->aa_config.no_latency = options->no_latency;
	/* At a kretprobe the caller's arguments are gone: that backend keeps its entry probes. */
	probes->skeleton->rodata->aa_config.exit_only = options->no_latency && !probes->is_kprobe;
	probes->skeleton->rodata->aa_config.wake_bytes = options->ring_bytes / 2;
	if (!stat("/proc/self/ns/pid", &status))
		probes->skeleton->rodata->aa_config.reader_pid_namespace = (uint32_t)status.st_ino;
	probes->skeleton->bss->aa_control.own_fd = -1;
	aa_probes_choose(probes, options);
	bpf_map__set_max_entries(probes->skeleton->maps.aa_ring, (uint32_t)options->ring_bytes);
	if (options->scope == AA_SCOPE_SYSTEM)
		bpf_map__set_max_entries(probes->skeleton->maps.aa_states, 65536);
	cpus = libbpf_num_possible_cpus();
	if (cpus > 0)
		bpf_map__set_max_entries(probes->skeleton->maps.aa_counts, (uint32_t)cpus);
	result = fileio_bpf__load(probes->skeleton);
	if (result) {
		error = aa_probe_error(-result, &log, NULL, NULL, "the kernel refused to load the probes");
		goto out;
	}
	if (probes->is_kprobe) {
		struct bpf_program *const jumps[] = { skeleton->progs.aa_kprobe_begin,
						      probes->loops ? skeleton->progs.aa_kprobe_loop :
								      skeleton->progs.aa_kprobe_finish };

		/* The order of enum aa_jump. */
		for (uint32_t jump = 0; jump < sizeof(jumps) / sizeof(jumps[0]); jump++) {
			int fd = bpf_program__fd(jumps[jump]);

			if (!bpf_map_update_elem(bpf_map__fd(skeleton->maps.aa_kprobe_tail), &jump, &fd, BPF_ANY))
				continue;
			error = aa_probe_error(errno, &log, bpf_program__name(jumps[jump]), NULL,
					       "cannot set the jump to it");
			goto out;
		}
	}
	/* A mapping inherited by a fork would keep the map alive. */
	madvise(probes->skeleton->bss, sizeof(*probes->skeleton->bss), MADV_DONTFORK);
	madvise(probes->skeleton->rodata, sizeof(*probes->skeleton->rodata), MADV_DONTFORK);
	probes->counts_bytes = bpf_map__max_entries(probes->skeleton->maps.aa_counts) * sizeof(*probes->counts);
	probes->counts = mmap(NULL, probes->counts_bytes, PROT_READ, MAP_SHARED,
			      bpf_map__fd(probes->skeleton->maps.aa_counts), 0);
	if (probes->counts == MAP_FAILED) {
		error = aa_probe_error(errno, &log, NULL, NULL, "cannot map the counters");
		goto out;
	}
	madvise(probes->counts, probes->counts_bytes, MADV_DONTFORK);
out:
	aa_log_end(previous);
	if (error) {
		aa_probes_destroy(probes);
		return error;
	}
	*ret_probes = probes;
	return NULL;
}

/* The program's full name: the kernel cuts names to 15 characters, the program's BTF does not. */
static bool aa_program_name(int fd, char *ret_name, size_t bytes, uint32_t *ret_id)
{
	struct bpf_prog_info info = { 0 };
	struct bpf_func_info function = { 0 };
	const struct btf_type *type;
	uint32_t length = sizeof(info), btf_id;
	const char *name;
	struct btf *btf;

	if (bpf_obj_get_info_by_fd(fd, &info, &length))
		return false;
	*ret_id = info.id;
	btf_id = info.btf_id;
	if (!btf_id || !info.nr_func_info)
		return false;
	memset(&info, 0, sizeof(info));
	length = sizeof(info);
	info.nr_func_info = 1;
	info.func_info_rec_size = sizeof(function);
	info.func_info = (uintptr_t)&function;
	if (bpf_obj_get_info_by_fd(fd, &info, &length) || !function.type_id)
		return false;
	btf = btf__load_from_kernel_by_id(btf_id);
	if (!btf)
		return false;
	type = btf__type_by_id(btf, function.type_id);
	name = type ? btf__name_by_offset(btf, type->name_off) : NULL;
	if (name)
		snprintf(ret_name, bytes, "%s", name);
	btf__free(btf);
	return name != NULL;
}

/* What the kernel says hangs where. */
static void aa_target_read(const struct aa_probe *probe, struct aa_target *target)
{
	struct bpf_link_info info = { 0 };
	char program[64] = "", function[64] = "";
	uint32_t length = sizeof(info), program_id = 0, type;
	__u64 offset, address;
	bool has_program, has_function = false;

	has_program = aa_program_name(bpf_program__fd(probe->program), program, sizeof(program), &program_id);
	target->prog_id = program_id;
	target->present = true;
	if (!bpf_obj_get_info_by_fd(bpf_link__fd(probe->link), &info, &length))
		target->link_id = info.id;
	if (probe->perf_fd >= 0) {
		uint32_t bytes = sizeof(function), id = 0;

		has_function = !bpf_task_fd_query(getpid(), probe->perf_fd, 0, function, &bytes, &id, &type, &offset,
						  &address) &&
			       id == program_id;
	} else {
		memset(&info, 0, sizeof(info));
		length = sizeof(info);
		info.raw_tracepoint.tp_name = (uintptr_t)function;
		info.raw_tracepoint.tp_name_len = sizeof(function);
		has_function = !bpf_obj_get_info_by_fd(bpf_link__fd(probe->link), &info, &length) &&
			       info.prog_id == program_id;
		/* A tp_btf link of newer kernels is of the tracing type and tells no name: the program's own does. */
		if (has_function && info.type != BPF_LINK_TYPE_RAW_TRACEPOINT)
			has_function = false;
	}
	target->verified =
		has_program && has_function && !strcmp(program, target->program) && !strcmp(function, target->function);
	if (has_program)
		snprintf(target->program, sizeof(target->program), "%s", program);
	if (has_function)
		snprintf(target->function, sizeof(target->function), "%s", function);
}

static struct aa_error *aa_probe_attach(struct aa_probes *probes, struct aa_probe *probe, struct aa_target *target,
					struct aa_log *log)
{
	enum bpf_prog_type type = bpf_program__type(probe->program);
	const char *program = bpf_program__name(probe->program);
	struct aa_error *error;
	int fd, code = 0;

	if (type == BPF_PROG_TYPE_TRACING) {
		probe->link = bpf_program__attach(probe->program);
		if (!probe->link)
			return aa_probe_error(errno, log, program, probe->function, "cannot attach to the tracepoint");
		aa_target_read(probe, target);
		return NULL;
	}
	if (type == BPF_PROG_TYPE_TRACEPOINT) {
		char name[64];

		snprintf(name, sizeof(name), "raw_syscalls/%s", probe->function);
		fd = aa_tracefs_event_open(probes->tracefs, name);
		code = fd < 0 ? errno : 0;
	} else if (probe->is_return) {
		error = aa_kprobe_lines_add(probes->lines, program, probe->function, &fd, &code);
		if (error)
			return aa_error_with_probe(error, program, probe->function);
	} else {
		fd = aa_kprobe_entry_open(probe->function);
		code = fd < 0 ? errno : 0;
	}
	if (fd < 0 && code == ENOENT && type == BPF_PROG_TYPE_KPROBE) {
		for (size_t i = 0; i < sizeof(aa_below) / sizeof(aa_below[0]); i++)
			if (aa_below[i].needed && !strcmp(program, aa_below[i].program))
				return aa_probe_error(code, log, program, probe->function,
						      "this kernel has no such function, and without it a "
						      "descriptor's name cannot be certain");
		return NULL; /* no such call in this kernel: nothing to lose */
	}
	if (fd < 0)
		return aa_probe_error(code, log, program, probe->function, "cannot open the probe's perf event");
	probe->link = bpf_program__attach_perf_event_opts(probe->program, fd, NULL);
	if (!probe->link) {
		code = errno;
		close(fd);
		return aa_probe_error(code, log, program, probe->function, "cannot attach the program to its probe");
	}
	probe->perf_fd = fd;
	aa_target_read(probe, target);
	return NULL;
}

struct aa_error *aa_probes_attach(struct aa_probes *probes)
{
	libbpf_print_fn_t previous;
	struct aa_error *error = NULL;
	struct aa_log log;

	if (probes->is_kprobe) {
		const char *names[AA_LINES_MAX];
		unsigned count = 0;

		error = aa_kprobe_lines_create(&probes->lines);
		if (error)
			return error;
		for (size_t i = 0; i < probes->count; i++)
			if (probes->probes[i].is_return)
				names[count++] = bpf_program__name(probes->probes[i].program);
		error = aa_kprobe_lines_reap(probes->lines, names, count);
		if (error)
			return error;
	}
	previous = aa_log_begin(&log);
	if (aa_tracepoints_are_preemptible())
		probes->tracefs = aa_tracefs_open();
	for (size_t i = 0; i < probes->count && !error; i++)
		error = aa_probe_attach(probes, &probes->probes[i], &probes->targets[i], &log);
	if (probes->tracefs >= 0)
		close(probes->tracefs);
	probes->tracefs = -1;
	aa_log_end(previous);
	if (error)
		aa_probes_detach(probes, true);
	return error;
}

/* Grace periods end in their own time; only asking shows when the kernel has let go. */
static void aa_programs_wait(const struct aa_probes *probes)
{
	struct timespec nap = { 0, 500000 };

	for (int waited = 0; waited < AA_GONE_MS * 2; waited++) {
		bool gone = true;

		for (size_t i = 0; i < probes->count && gone; i++) {
			int fd;

			if (!probes->program_ids[i])
				continue;
			fd = bpf_prog_get_fd_by_id(probes->program_ids[i]);
			if (fd >= 0) {
				close(fd);
				gone = false;
			} else if (errno != ENOENT) {
				/* Not allowed to ask: wait out every program that could be running. */
				syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
				return;
			}
		}
		if (gone)
			return;
		nanosleep(&nap, NULL);
	}
}

void aa_probes_detach(struct aa_probes *probes, bool wait)
{
	char reason[sizeof(probes->last_reason)];
	struct bpf_program *program;
	uint64_t missed;

	if (probes->detached)
		return;
	probes->last_exact = aa_probes_missed(probes, &missed, reason, sizeof(reason));
	probes->last_missed = missed;
	memcpy(probes->last_reason, reason, sizeof(reason));
	probes->has_last_missed = true;
	for (size_t i = 0; i < probes->count; i++)
		probes->program_ids[i] = probes->targets[i].prog_id;
	/* Entries first, so that what has begun can still return. */
	for (int returns = 0; returns < 2; returns++)
		for (size_t i = 0; i < probes->count; i++)
			if (probes->probes[i].is_return == returns) {
				bpf_link__destroy(probes->probes[i].link);
				probes->probes[i].link = NULL;
				probes->probes[i].perf_fd = -1;
			}
	aa_kprobe_lines_destroy(probes->lines);
	probes->lines = NULL;
	if (probes->is_kprobe) {
		/* The jumps hold programs, which hold the map. */
		for (uint32_t jump = 0; jump < bpf_map__max_entries(probes->skeleton->maps.aa_kprobe_tail); jump++)
			bpf_map_delete_elem(bpf_map__fd(probes->skeleton->maps.aa_kprobe_tail), &jump);
	}
	bpf_object__for_each_program (program, probes->skeleton->obj)
		if (bpf_program__fd(program) >= 0)
			bpf_program__unload(program);
	probes->detached = true;
	if (wait)
		aa_programs_wait(probes);
}

void aa_probes_destroy(struct aa_probes *probes)
{
	if (!probes)
		return;
	if (probes->counts != MAP_FAILED) {
		aa_probes_detach(probes, true);
		munmap(probes->counts, probes->counts_bytes);
	}
	fileio_bpf__destroy(probes->skeleton);
	free(probes);
}

void aa_probes_abandon(struct aa_probes *probes)
{
	if (!probes)
		return;
	/*
	 * Close, nothing more: bpf_link__destroy() of a perf event's link would disable the event, and that event is
	 * the parent's too.
	 */
	for (size_t i = 0; i < probes->count; i++) {
		struct bpf_link *link = probes->probes[i].link;

		if (!link)
			continue;
		if (bpf_link__fd(link) >= 0)
			close(bpf_link__fd(link));
		if (probes->probes[i].perf_fd >= 0 && probes->probes[i].perf_fd != bpf_link__fd(link))
			close(probes->probes[i].perf_fd);
		bpf_link__disconnect(link);
		bpf_link__destroy(link);
	}
	aa_kprobe_lines_abandon(probes->lines);
	/* .bss and .rodata did not come along (MADV_DONTFORK): to unmap them again does no harm. */
	fileio_bpf__destroy(probes->skeleton);
	free(probes);
}

volatile struct aa_control *aa_probes_control(struct aa_probes *probes)
{
	return &probes->skeleton->bss->aa_control;
}

int aa_probes_ring(const struct aa_probes *probes)
{
	return bpf_map__fd(probes->skeleton->maps.aa_ring);
}

int aa_probes_watched(const struct aa_probes *probes)
{
	return bpf_map__fd(probes->skeleton->maps.aa_watched);
}

int aa_probes_lineage(const struct aa_probes *probes)
{
	return bpf_map__fd(probes->skeleton->maps.aa_lineage);
}

pid_t aa_probes_reaper(const struct aa_probes *probes)
{
	return aa_kprobe_lines_reaper(probes->lines);
}

struct aa_error *aa_probes_list_tasks(struct aa_probes *probes, int *ret_fd)
{
	libbpf_print_fn_t previous;
	struct bpf_link *link;
	struct aa_log log;
	int code;

	previous = aa_log_begin(&log);
	link = bpf_program__attach_iter(probes->skeleton->progs.aa_list_tasks, NULL);
	code = errno;
	*ret_fd = link ? bpf_iter_create(bpf_link__fd(link)) : -1;
	if (link && *ret_fd < 0)
		code = errno;
	bpf_link__destroy(link);
	aa_log_end(previous);
	return *ret_fd < 0 ? aa_probe_error(code, &log, "aa_list_tasks", "bpf_iter/task", "cannot list the tasks") :
			     NULL;
}

void aa_probes_counters(struct aa_probes *probes, struct aa_counters *ret_counters)
{
	memset(ret_counters, 0, sizeof(*ret_counters));
	for (size_t cpu = 0; cpu < probes->counts_bytes / sizeof(*probes->counts); cpu++) {
#define AA_X(name) ret_counters->name += __atomic_load_n(&probes->counts[cpu].counters.name, __ATOMIC_RELAXED);
		AA_COUNTERS(AA_X)
#undef AA_X
	}
}

/*
 * struct bpf_link_info of a kprobe's link as 6.7 has it (3acf8ace6823, e2b2cd592adb); Debian 12's headers are older.
 * A kernel that knows the last member says so by the length it returns.
 */
struct aa_kprobe_link_info {
	uint32_t type, id, program_id, reserved;
	uint32_t event_type, reserved2;
	uint64_t name;
	uint32_t name_length, offset;
	uint64_t address;
	uint64_t missed;
};

bool aa_probes_missed(struct aa_probes *probes, uint64_t *ret_missed, char *ret_reason, size_t reason_bytes)
{
	uint64_t of_row[AA_PROBES_MAX] = { 0 };
	bool exact = true;

	*ret_missed = 0;
	ret_reason[0] = '\0';
	if (probes->has_last_missed) {
		*ret_missed = probes->last_missed;
		snprintf(ret_reason, reason_bytes, "%s", probes->last_reason);
		return probes->last_exact;
	}
	for (size_t i = 0; i < probes->count; i++) {
		struct bpf_prog_info info = { 0 };
		uint32_t length = sizeof(info);
		const struct aa_probe *probe = &probes->probes[i];

		if (!probe->link)
			continue;
		/*
		 * 5.12 counts a program skipped because it was running on that CPU. Before, a tracepoint's program had
		 * no such guard and could not be skipped (__bpf_trace_run() of 5.10), so nothing is missing there.
		 */
		if (!bpf_obj_get_info_by_fd(bpf_program__fd(probe->program), &info, &length) &&
		    length >= offsetof(struct bpf_prog_info, recursion_misses) + sizeof(info.recursion_misses)) {
			size_t row = probes->row[i];

			/* What is missed is skipped by all of a row: by no more than by the least. */
			if (row == i || info.recursion_misses < of_row[row])
				of_row[row] = info.recursion_misses;
		}
		if (bpf_program__type(probe->program) == BPF_PROG_TYPE_KPROBE) {
			struct aa_kprobe_link_info link = { 0 };

			length = sizeof(link);
			if (bpf_obj_get_info_by_fd(bpf_link__fd(probe->link), &link, &length) ||
			    length < sizeof(link)) {
				exact = false;
				continue;
			}
			*ret_missed += link.missed;
		}
	}
	for (size_t row = 0; row < probes->count; row++)
		*ret_missed += of_row[row];
	if (probes->lines) {
		uint64_t missed;

		if (!probes->skeleton->bss->aa_control.faults_are_misses &&
		    aa_kprobe_lines_missed(probes->lines, &missed))
			*ret_missed += missed;
		else
			exact = false;
	}
	if (!exact)
		snprintf(ret_reason, reason_bytes, "this kernel does not count every kprobe it skips (6.7 does)");
	if (*ret_missed)
		snprintf(ret_reason, reason_bytes,
			 "the kernel skipped our probes %llu times, for watched or other processes",
			 (unsigned long long)*ret_missed);
	return exact && !*ret_missed;
}

const struct aa_target *aa_probes_targets(const struct aa_probes *probes, size_t *ret_count)
{
	*ret_count = probes->count;
	return probes->targets;
}

// SPDX-License-Identifier: MIT
#include "backend.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "../../bpf/below.h"
#include "../../bpf/syscalls.h" /* of what the skeleton has in .rodata */
#include "fileio.skel.h"
#include "blind_spots.h"
#include "path_rules.h"
#include "rule_files.h"
#include "probe_object.h"
#include "refusal.h"
#include "kernel_functions.h"
#include "kept_probes.h"
#include "kernel_ring.h"
#include "kernel_types.h"
#include "libbpf_log.h"
#include "libbpf_memory.h"
#include "health.h"
#include "kprobe_line.h"
#include "own_thread.h"
#include "preemption.h"
#include "ring_tracepoints.h"
#include "syscall_table.h"
#include "tracefs.h"

#define AA_PROBES_MAX 1024
#define AA_FEW_PROBES 8
#define AA_HELPERS 15
#define AA_GONE_MS 120000 /* a hundred trampolines take 15 s to go in an emulated guest */

/* How a program hangs on its function. */
enum aa_way {
	AA_WAY_TRACING, /* raw tracepoints, fentry and fexit: the program itself says where */
	AA_WAY_EVENT,	/* a tracepoint, by perf */
	AA_WAY_ENTRY,	/* a kprobe */
	AA_WAY_RETURN,	/* a kretprobe with a pool of our size */
	AA_WAY_MULTI,	/* kprobe.multi: one program and one link for many functions */
	AA_WAY_MULTI_RETURN,
};

/* One program and where it hangs. */
struct aa_probe {
	struct bpf_program *program;
	struct bpf_link *link; /* of a multi link, at its first probe */
	const char *function;  /* kernel function or tracepoint */
	const char *line;      /* of AA_WAY_RETURN: its name in tracefs; no two have the same */
	enum aa_way way;
	int perf_fd;	 /* number of the perf event, owned by the link */
	uint64_t cookie; /* of AA_WAY_MULTI: row of the table, or enum aa_below */
	size_t first;	 /* index of the program that this one is a spare of, or whose link it shares; or its own */
	bool needed;	 /* a kernel without that function is refused */
};

enum aa_kind_of_backend { AA_BACKEND_KPROBE, AA_BACKEND_FENTRY, AA_BACKEND_TRACEPOINT };

struct aa_probes {
	const char *backend;
	enum aa_kind_of_backend kind;
	struct fileio_bpf *skeleton;
	struct aa_kprobe_lines *lines;
	int tracefs; /* while attaching */
	struct aa_probe probes[AA_PROBES_MAX];
	struct aa_target targets[AA_PROBES_MAX];
	uint32_t program_ids[AA_PROBES_MAX];
	size_t count;
	/* What the kernel's BTF says of the functions, where it was asked. */
	struct aa_kernel_function functions[AA_PROBES_MAX];
	size_t function_count;
	struct aa_program_place places[AA_PROBES_MAX + 4]; /* of fentry; four are attached nowhere */
	size_t place_count;
	bool multi_entries, multi_returns;
	bool compat_at_once;	  /* see AA_COMPAT_CALL */
	bool compat_unseen;	  /* see struct aa_config */
	bool xattr_has_mapping;	  /* see struct aa_config */
	uint32_t fentry_types[2]; /* prototypes of the calls' functions, as this kernel's BTF has them */
	const char *fentry_likes[2];
	bool loops;
	bool exit_only; /* no entry probe where AA_IS_BY_DESCRIPTOR() */
	bool direct;	/* see AA_DIRECT */
	struct aa_ring_tracepoints rings;
	enum aa_aio aio;
	char rings_refused[512]; /* '': they were not */
	bool detached;
	bool is_quiet; /* detached and loaded, and no program of it is running any more */
	struct aa_probe_options options;
	uint64_t skipped_before[AA_PROBES_MAX]; /* recursion_misses of traces before */
	struct aa_cpu_counters *counts;		/* the map, one for each possible CPU */
	size_t counts_bytes;
	struct aa_seat *seats; /* the map */
	size_t seats_bytes;
	bool has_last_missed;
	uint64_t last_missed;
	bool last_exact;
	char last_reason[160];
};

/* See bpf/below.h. */
static const struct aa_below_info {
	const char *probe, *fentry, *function;
	uint64_t operations;
	bool needed;
} aa_belows[AA_BELOW_COUNT] = {
#define AA_X(what, function_, arguments, operations_, needed_)                                                         \
	[AA_BELOW_##what] = { .probe = "aa_below_" #what "_probe",                                                     \
			      .fentry = "aa_below_" #what "_fentry",                                                   \
			      .function = #function_,                                                                  \
			      .operations = (operations_),                                                             \
			      .needed = (needed_) },
	AA_BELOWS(AA_X)
#undef AA_X
};

/* All 32-bit calls go through it, where the kernel has it. */
#define AA_COMPAT_CALL "ia32_sys_call"

static const char aa_remedy_privileges[] =
	"run as root, or with CAP_BPF and CAP_PERFMON (Debian's perf_event_paranoid=3 keeps these two from kprobes, "
	"and from Linux 7.0 on from tracepoints)";

/* A refusal that says nothing of the kernel: the same may be taken a moment later. */
static bool aa_is_passing(int errno_value)
{
	return errno_value == EMFILE || errno_value == ENFILE || errno_value == ENOMEM || errno_value == EAGAIN ||
	       errno_value == EINTR;
}

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

/* The function of a fentry program, by its number: the section of most of them names none. */
static void aa_probes_place(struct aa_probes *probes, const struct bpf_program *program, const char *function)
{
	const struct aa_kernel_function *found =
		aa_kernel_function_of(probes->functions, probes->function_count, function);

	if (found && found->btf_id)
		probes->places[probes->place_count++] = (struct aa_program_place){ program, found->btf_id };
}

static struct aa_probe *aa_probes_add(struct aa_probes *probes, const char *program, const char *function,
				      enum aa_way way)
{
	struct aa_probe *probe = &probes->probes[probes->count];
	struct aa_target *target = &probes->targets[probes->count];

	probe->program = bpf_object__find_program_by_name(probes->skeleton->obj, program);
	probe->function = function;
	probe->way = way;
	probe->line = target->program;
	probe->perf_fd = -1;
	probe->first = probes->count++;
	bpf_program__set_autoload(probe->program, true);
	snprintf(target->program, sizeof(target->program), "%s", program);
	snprintf(target->function, sizeof(target->function), "%s", function);
	snprintf(target->backend, sizeof(target->backend), "%s", probes->backend);
	return probe;
}

/* A function more for a program that hangs on many. */
static struct aa_probe *aa_probes_add_multi(struct aa_probes *probes, const char *program, const char *function,
					    enum aa_way way, uint64_t cookie)
{
	struct aa_probe *probe = aa_probes_add(probes, program, function, way);

	probe->cookie = cookie;
	for (size_t i = 0; i < probes->count; i++)
		if (probes->probes[i].program == probe->program) {
			probe->first = i;
			break;
		}
	return probe;
}

static bool aa_probe_is_return(const struct aa_probe *probe)
{
	return probe->way == AA_WAY_RETURN || probe->way == AA_WAY_MULTI_RETURN;
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

	aa_probes_add(probes, program, tracepoint, AA_WAY_TRACING);
	for (int place = 1; aa_tracepoints_are_preemptible() && place <= AA_SPARES; place++) {
		char name[64];

		snprintf(name, sizeof(name), "%s_%d", program, place);
		aa_probes_add(probes, name, tracepoint, AA_WAY_TRACING)->first = first;
	}
}

/* The requests of io_uring, where the kernel shows them and one of their operations was asked for. */
static void aa_probes_add_rings(struct aa_probes *probes)
{
	bool events = aa_tracepoints_are_preemptible();

	aa_probes_add(probes, events ? "aa_event_ring_submit" : probes->rings.submit_program, probes->rings.submit,
		      events ? AA_WAY_EVENT : AA_WAY_TRACING);
	aa_probes_add_row(probes, "aa_ring_refused", "io_uring_req_failed");
	aa_probes_add(probes, events ? "aa_event_ring_complete" : probes->rings.complete_program, "io_uring_complete",
		      events ? AA_WAY_EVENT : AA_WAY_TRACING);
	/* Without a spare: one that is skipped is counted by the kernel, and so the trace is not complete either way.
	 */
	if (probes->rings.overflow)
		aa_probes_add(probes, "aa_ring_overflow", "io_uring_cqe_overflow", AA_WAY_TRACING);
}

static bool aa_function_exists(struct aa_probes *probes, const char *name)
{
	const struct aa_kernel_function *function =
		aa_kernel_function_of(probes->functions, probes->function_count, name);

	return function->btf_id || (function->is_listed && probes->kind == AA_BACKEND_KPROBE);
}

/* The call is in the table, the kernel has none: nothing to lose, and `targets` says so. */
static void aa_probes_add_absent(struct aa_probes *probes, const char *program, const char *function)
{
	struct aa_probe *probe = aa_probes_add(probes, program, function, AA_WAY_TRACING);

	bpf_program__set_autoload(probe->program, false);
	probe->program = NULL;
}

/* Which of the two prototypes a call's function has; -1: neither. */
static int aa_fentry_type_of(struct aa_probes *probes, const char *name)
{
	const struct aa_kernel_function *function =
		aa_kernel_function_of(probes->functions, probes->function_count, name);

	if (!function || !function->btf_id)
		return -1;
	return function->type_id == probes->fentry_types[0] ? 0 : function->type_id == probes->fentry_types[1] ? 1 : -1;
}

/* The two prototypes, each with a function that has it; false when this kernel has a third. */
static bool aa_fentry_types_find(struct aa_probes *probes)
{
	for (unsigned row = 0; row < AA_CALL_COUNT; row++) {
		const char *name = aa_call_info(row)->function;
		const struct aa_kernel_function *function =
			aa_kernel_function_of(probes->functions, probes->function_count, name);
		int i = !probes->fentry_likes[0] ? 0 : 1;

		if (!function->btf_id || aa_fentry_type_of(probes, name) >= 0)
			continue;
		if (probes->fentry_likes[i])
			return false;
		probes->fentry_types[i] = function->type_id;
		probes->fentry_likes[i] = name;
	}
	return true;
}

/* The programs that others jump to, attached nowhere, of one prototype. */
static void aa_fentry_load(struct aa_probes *probes, int i, struct bpf_program *begin, struct bpf_program *finish)
{
	if (!probes->fentry_likes[i])
		return;
	bpf_program__set_autoload(begin, true);
	bpf_program__set_autoload(finish, true);
	aa_probes_place(probes, begin, probes->fentry_likes[i]);
	aa_probes_place(probes, finish, probes->fentry_likes[i]);
}

static bool aa_call_needs_entry(const struct aa_probes *probes, unsigned row)
{
	return !probes->exit_only || !AA_IS_BY_DESCRIPTOR(&aa_call_specs[row]);
}

static void aa_probes_add_call(struct aa_probes *probes, unsigned row)
{
	const struct aa_call_info *info = aa_call_info(row);
	bool is_fentry = probes->kind == AA_BACKEND_FENTRY, needs_entry = aa_call_needs_entry(probes, row);
	const char *suffix = is_fentry && aa_fentry_type_of(probes, info->function) == 1 ? "_other" : "";
	char entry[64], exit[64];

	snprintf(entry, sizeof(entry), "%s%s%s", info->program, is_fentry ? "_fentry" : "", suffix);
	snprintf(exit, sizeof(exit), "%s%s%s", info->program, is_fentry ? "_fexit" : "_ret", suffix);
	if (!aa_function_exists(probes, info->function)) {
		aa_probes_add_absent(probes, entry, info->function);
		aa_probes_add_absent(probes, exit, info->function);
		return;
	}
	if (needs_entry && is_fentry)
		aa_probes_add(probes, entry, info->function, AA_WAY_TRACING);
	else if (needs_entry && probes->multi_entries)
		aa_probes_add_multi(probes, "aa_multi_enter", info->function, AA_WAY_MULTI, row);
	else if (needs_entry)
		aa_probes_add(probes, entry, info->function, AA_WAY_ENTRY);
	if (is_fentry)
		aa_probes_add(probes, exit, info->function, AA_WAY_TRACING);
	else if (probes->multi_returns)
		aa_probes_add_multi(probes, "aa_multi_return", info->function, AA_WAY_MULTI_RETURN, row);
	else
		aa_probes_add(probes, exit, info->function, AA_WAY_RETURN);
}

/* Without a function that all 32-bit calls go through, a row's programs hang on its 32-bit functions, too. */
static void aa_probes_add_compat_function(struct aa_probes *probes, const struct aa_compat_function *function)
{
	const char *stem = aa_call_info(function->row)->program;
	char exit[64];

	if (probes->multi_entries)
		aa_probes_add_multi(probes, "aa_multi_enter", function->name, AA_WAY_MULTI, function->row);
	else if (!probes->compat_at_once)
		aa_probes_add(probes, stem, function->name, AA_WAY_ENTRY);
	if (probes->multi_returns) {
		aa_probes_add_multi(probes, "aa_multi_return", function->name, AA_WAY_MULTI_RETURN, function->row);
	} else if (!probes->compat_at_once) {
		snprintf(exit, sizeof(exit), "%s_ret", stem);
		aa_probes_add(probes, exit, function->name, AA_WAY_RETURN)->line = function->name;
	}
}

/* The calls of 32-bit programs. */
static void aa_probes_add_compat(struct aa_probes *probes, uint64_t operations)
{
	const struct aa_compat_function *function;
	bool is_fentry = probes->kind == AA_BACKEND_FENTRY, has_any = false;
	bool is_found[AA_CALL_COUNT] = { false };

	for (size_t i = 0; (function = aa_compat_function(i)); i++) {
		if (!function->name ||
		    !aa_kernel_function_of(probes->functions, probes->function_count, function->name)->is_listed)
			continue;
		has_any = true;
		is_found[function->row] = true;
		if (!is_fentry && aa_call_is_asked(function->row, operations))
			aa_probes_add_compat_function(probes, function);
	}
	if (probes->compat_at_once && is_fentry) {
		aa_probes_add(probes, "aa_compat_fentry", AA_COMPAT_CALL, AA_WAY_TRACING);
		aa_probes_add(probes, "aa_compat_fexit", AA_COMPAT_CALL, AA_WAY_TRACING);
	} else if (probes->compat_at_once) {
		if (!probes->multi_entries)
			aa_probes_add(probes, "aa_compat_enter", AA_COMPAT_CALL, AA_WAY_ENTRY);
		if (!probes->multi_returns)
			aa_probes_add(probes, "aa_compat_return", AA_COMPAT_CALL, AA_WAY_RETURN);
	}
	/* All at once or each by its function: what is not among them is not seen. */
	if (probes->compat_at_once && (is_fentry || !probes->multi_entries))
		return;
	probes->compat_unseen = is_fentry && has_any;
	for (unsigned row = 0; has_any && row < AA_CALL_COUNT; row++)
		if (!is_found[row] && aa_call_is_asked(row, operations) &&
		    aa_function_exists(probes, aa_call_info(row)->function))
			probes->compat_unseen = true;
}

static void aa_probes_add_below(struct aa_probes *probes, unsigned what, bool witness_io)
{
	const struct aa_below_info *below = &aa_belows[what];
	bool is_fentry = probes->kind == AA_BACKEND_FENTRY;
	const char *program = is_fentry ? below->fentry : below->probe;

	/* Those that render a name themselves have another program where bpf_loop() can be used. */
	if (what == AA_BELOW_witnessed && probes->loops)
		program = is_fentry ? "aa_below_witnessed_fentry_loop" : "aa_below_witnessed_probe_loop";
	if (what == AA_BELOW_moved && witness_io && probes->loops)
		program = is_fentry ? "aa_below_checked_fentry_loop" : "aa_below_checked_probe_loop";
	else if (what == AA_BELOW_moved && witness_io)
		program = is_fentry ? "aa_below_checked_fentry" : "aa_below_checked_probe";
	if (!aa_function_exists(probes, below->function))
		aa_probes_add_absent(probes, program, below->function);
	else if (is_fentry)
		aa_probes_add(probes, program, below->function, AA_WAY_TRACING);
	else if (probes->multi_entries)
		aa_probes_add_multi(probes, "aa_multi_below", below->function, AA_WAY_MULTI, what);
	else
		aa_probes_add(probes, program, below->function, AA_WAY_ENTRY);
	probes->probes[probes->count - 1].needed = below->needed;
}

/* What the tracepoints need not look at: see aa_is_of_no_interest(). */
static void aa_interest_fill(struct fileio_bpf *skeleton, uint64_t operations)
{
	unsigned char *interests = (unsigned char *)skeleton->rodata->aa_interest_by_number;

	for (unsigned number = 0; number < AA_NUMBER_LIMIT; number++) {
		unsigned changes = skeleton->rodata->aa_changes_by_number[number];

		interests[number] = aa_call_interest(number, operations);
		if (changes & 15 && !(interests[number] & AA_INTEREST_NATIVE))
			interests[number] |= AA_INTEREST_NATIVE | AA_INTEREST_IF_SHARED;
		if (changes >> 4)
			interests[number] |= AA_INTEREST_COMPAT;
	}
}

static void aa_plain_fill(struct fileio_bpf *skeleton)
{
	struct aa_call_spec *specs = (struct aa_call_spec *)skeleton->rodata->aa_specs;

	for (unsigned row = 0; row < AA_CALL_COUNT; row++)
		specs[row].is_plain = AA_IS_PLAIN(&specs[row]);
}

static void aa_probes_choose(struct aa_probes *probes, const struct aa_probe_options *options)
{
	struct fileio_bpf *skeleton = probes->skeleton;
	bool is_kprobe = probes->kind == AA_BACKEND_KPROBE, is_fentry = probes->kind == AA_BACKEND_FENTRY;
	bool needs_entry = !probes->exit_only, events = aa_tracepoints_are_preemptible();
	struct bpf_program *program;

	bpf_object__for_each_program (program, skeleton->obj)
		bpf_program__set_autoload(program, false);
	bpf_program__set_autoload(skeleton->progs.aa_list_tasks, true);
	bpf_program__set_autoload(skeleton->progs.aa_list_connections, true);
	bpf_program__set_autoload(skeleton->progs.aa_watch_me, true);
	aa_probes_add_row(probes, "aa_process_fork", "sched_process_fork");
	aa_probes_add_row(probes, "aa_process_exit", "sched_process_exit");
	aa_probes_add_row(probes, "aa_process_exec", "sched_process_exec");
	for (unsigned row = 0; row < AA_CALL_COUNT; row++) {
		if (!aa_call_is_asked(row, options->operations))
			continue;
		if (aa_call_specs[row].when == AA_WHEN_RINGS_HIDE && probes->rings.submit)
			continue;
		needs_entry |= aa_call_needs_entry(probes, row);
		if (is_kprobe || is_fentry)
			aa_probes_add_call(probes, row);
	}
	if (is_kprobe || is_fentry)
		aa_probes_add_compat(probes, options->operations);
	if (probes->rings.submit)
		aa_probes_add_rings(probes);
	bpf_map__set_autocreate(skeleton->maps.aa_requests, probes->rings.submit);
	bpf_map__set_autocreate(skeleton->maps.aa_request_names, probes->rings.submit);
	bpf_map__set_autocreate(skeleton->maps.aa_silent_requests, probes->rings.submit);
	bpf_map__set_autocreate(skeleton->maps.aa_multishots, probes->rings.submit);
	bpf_map__set_autocreate(skeleton->maps.aa_rings_used, probes->rings.submit);
	if (probes->aio != AA_AIO_SEEN)
		bpf_map__set_max_entries(skeleton->maps.aa_aio_requests, 1);
	for (unsigned what = 0; (is_kprobe || is_fentry) && what < AA_BELOW_COUNT; what++)
		if (options->operations & aa_belows[what].operations)
			aa_probes_add_below(probes, what, options->witness_io);
	if (is_kprobe) {
		bpf_program__set_autoload(skeleton->progs.aa_kprobe_begin, !probes->multi_entries);
		bpf_program__set_autoload(probes->loops ? skeleton->progs.aa_kprobe_loop :
							  skeleton->progs.aa_kprobe_finish,
					  !probes->multi_returns);
	} else if (is_fentry) {
		aa_fentry_load(probes, 0, skeleton->progs.aa_fentry_begin,
			       probes->loops ? skeleton->progs.aa_fentry_loop : skeleton->progs.aa_fentry_finish);
		aa_fentry_load(probes, 1, skeleton->progs.aa_fentry_begin_other,
			       probes->loops ? skeleton->progs.aa_fentry_loop_other :
					       skeleton->progs.aa_fentry_finish_other);
	} else {
		if (needs_entry)
			aa_probes_add(probes, events ? "aa_event_sys_enter" : "aa_sys_enter", "sys_enter",
				      events ? AA_WAY_EVENT : AA_WAY_TRACING);
		aa_probes_add(probes,
			      events	    ? "aa_event_sys_exit" :
			      probes->loops ? "aa_sys_exit_loop" :
					      "aa_sys_exit",
			      "sys_exit", events ? AA_WAY_EVENT : AA_WAY_TRACING);
		bpf_map__set_max_entries(skeleton->maps.aa_acted, 1); /* nothing below the calls fills it */
	}
	bpf_map__set_autocreate(skeleton->maps.aa_kprobe_tail, is_kprobe);
	bpf_map__set_autocreate(skeleton->maps.aa_fentry_tail, is_fentry);
	bpf_map__set_autocreate(skeleton->maps.aa_fexit_tail, is_fentry);
	bpf_map__set_autocreate(skeleton->maps.aa_fentry_tail_other, is_fentry);
	bpf_map__set_autocreate(skeleton->maps.aa_fexit_tail_other, is_fentry);
}

/* Programs that others jump to: one map for each kind of program. */
static int aa_jump_set(struct bpf_map *map, uint32_t jump, struct bpf_program *program)
{
	int fd = bpf_program__fd(program);

	return fd < 0 || !bpf_map_update_elem(bpf_map__fd(map), &jump, &fd, BPF_ANY) ? 0 : errno;
}

static int aa_managers_set(struct aa_probes *probes)
{
	for (const char *const *name = aa_manager_sockets; *name; name++) {
		struct aa_manager_name key = { 0 };
		uint32_t value = 1;

		strncpy(key.text, *name, sizeof(key.text) - 1);
		if (bpf_map_update_elem(bpf_map__fd(probes->skeleton->maps.aa_managers), &key, &value, BPF_ANY))
			return errno;
	}
	return 0;
}

static void aa_rules_choose(struct aa_probes *probes, const struct aa_kernel_rules *rules)
{
	struct fileio_bpf *skeleton = probes->skeleton;

	if (!rules)
		return;
	skeleton->rodata->aa_config.rule_lists = rules->lists;
	skeleton->rodata->aa_config.rules_of_all = rules->of_all;
	memcpy((void *)skeleton->rodata->aa_config.rule_lengths, rules->lengths, sizeof(rules->lengths));
	bpf_map__set_max_entries(skeleton->maps.aa_rule_names, (uint32_t)rules->name_count + 1);
	/* Each by its inode's address, and by its number. */
	bpf_map__set_max_entries(skeleton->maps.aa_rule_files, (uint32_t)rules->file_count * 2 + 1);
	skeleton->rodata->aa_config.rule_files = rules->file_count != 0;
	skeleton->rodata->aa_config.rules_name = rules->has_named;
	bpf_program__set_autoload(skeleton->progs.aa_list_own_files, rules->file_count != 0);
}

static struct aa_error *aa_rules_set(struct aa_probes *probes, struct aa_kernel_rules *rules)
{
	int names = bpf_map__fd(probes->skeleton->maps.aa_rule_names);
	bool by_number = false;
	struct aa_error *error;

	for (size_t i = 0; rules && i < rules->name_count; i++)
		if (bpf_map_update_elem(names, &rules->names[i].name, &rules->names[i].bits, BPF_NOEXIST))
			return aa_error_create(AA_ERROR_SYSTEM, errno, "setting the path rules: %s", strerror(errno));
	if (!rules || !rules->file_count)
		return NULL;
	error = aa_rule_files_identify(probes, bpf_map__fd(probes->skeleton->maps.aa_rule_files), rules, &by_number);
	probes->skeleton->bss->aa_rule_numbers = by_number;
	return error;
}

static int aa_jumps_set(struct aa_probes *probes)
{
	struct fileio_bpf *skeleton = probes->skeleton;
	bool loops = probes->loops;
	/* At most one of each kind is loaded. The order of enum aa_jump. */
	const struct {
		struct bpf_map *map;
		uint32_t jump;
		struct bpf_program *program;
	} jumps[] = {
		{ skeleton->maps.aa_kprobe_tail, 0, skeleton->progs.aa_kprobe_begin },
		{ skeleton->maps.aa_kprobe_tail, 1,
		  loops ? skeleton->progs.aa_kprobe_loop : skeleton->progs.aa_kprobe_finish },
		{ skeleton->maps.aa_fentry_tail, 0, skeleton->progs.aa_fentry_begin },
		{ skeleton->maps.aa_fexit_tail, 1,
		  loops ? skeleton->progs.aa_fentry_loop : skeleton->progs.aa_fentry_finish },
		{ skeleton->maps.aa_fentry_tail_other, 0, skeleton->progs.aa_fentry_begin_other },
		{ skeleton->maps.aa_fexit_tail_other, 1,
		  loops ? skeleton->progs.aa_fentry_loop_other : skeleton->progs.aa_fentry_finish_other },
	};
	int code = 0;

	for (size_t i = 0; !code && i < sizeof(jumps) / sizeof(jumps[0]); i++)
		code = aa_jump_set(jumps[i].map, jumps[i].jump, jumps[i].program);
	return code;
}

/* The maps hold the programs, which hold the maps. */
static void aa_jumps_clear(struct aa_probes *probes)
{
	struct bpf_map *const maps[] = { probes->skeleton->maps.aa_kprobe_tail, probes->skeleton->maps.aa_fentry_tail,
					 probes->skeleton->maps.aa_fexit_tail,
					 probes->skeleton->maps.aa_fentry_tail_other,
					 probes->skeleton->maps.aa_fexit_tail_other };

	for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++)
		for (uint32_t jump = 0; bpf_map__fd(maps[i]) >= 0 && jump < bpf_map__max_entries(maps[i]); jump++)
			bpf_map_delete_elem(bpf_map__fd(maps[i]), &jump);
}

/* The smallest program there is. */
static const struct bpf_insn aa_do_nothing[] = {
	{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
	{ .code = BPF_JMP | BPF_EXIT },
};

/* A kernel may be built without trampolines, or refuse them: only a trial tells. */
static int aa_fentry_try(uint32_t btf_id)
{
	LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = BPF_TRACE_FENTRY, .attach_btf_id = btf_id);
	int fd = bpf_prog_load(BPF_PROG_TYPE_TRACING, "aa_try", AA_LICENSE, aa_do_nothing, 2, &options), link, code;

	if (fd < 0)
		return errno;
	link = bpf_raw_tracepoint_open(NULL, fd);
	code = link < 0 ? errno : 0;
	if (link >= 0)
		close(link);
	close(fd);
	return code;
}

/* 5.12 put the mount's mapping of users before the file (e65ce2a50cf6). While the BTF is there. */
static bool aa_xattr_has_mapping(struct aa_probes *probes)
{
	const struct aa_kernel_function *set =
		aa_kernel_function_of(probes->functions, probes->function_count, "security_inode_setxattr");

	return set->first && strcmp(set->first, "dentry") != 0;
}

/* How this kernel refuses fentry programs, whoever asks: the same at each attach. 0: not known. */
static _Atomic int aa_fentry_refusal;

/* NULL where a fentry program can be attached; also before anything was asked, without `types`. */
static struct aa_error *aa_fentry_ask(const struct aa_kernel_types *types)
{
	uint32_t id = types ? aa_kernel_types_find(types, "__x64_sys_read", BTF_KIND_FUNC) : 0;
	int code = !types ? aa_fentry_refusal : id ? aa_fentry_try(id) : ENOENT;

	if (!code)
		return NULL;
	if (aa_is_passing(code) || (aa_is_refusal(code) && !aa_has_capabilities()))
		return aa_probe_error(code, NULL, NULL, NULL, "a fentry program was refused");
	aa_fentry_refusal = code;
	return aa_error_with_remedy(aa_error_create(AA_ERROR_UNAVAILABLE, code,
						    "this kernel does not let fentry programs be attached: %s",
						    strerror(code)),
				    "a kernel with BPF trampolines (CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS), as root");
}

/*
 * Whether all 32-bit calls can be seen at one function. Where that is built without tracing (7.2: no
 * CONFIG_KPROBE_EVENTS_ON_NOTRACE) only a trial tells. Its return reads the registers by bpf_task_pt_regs(), of 5.15.
 */
static struct aa_error *aa_compat_ask(struct aa_probes *probes)
{
	const struct aa_kernel_function *function =
		aa_kernel_function_of(probes->functions, probes->function_count, AA_COMPAT_CALL);
	int fd, code;

	if (!probes->loops || !aa_function_exists(probes, AA_COMPAT_CALL))
		return NULL;
	if (probes->kind == AA_BACKEND_FENTRY) {
		code = aa_fentry_try(function->btf_id);
	} else {
		fd = aa_kprobe_entry_open(AA_COMPAT_CALL);
		code = fd < 0 ? errno : 0;
		if (fd >= 0)
			close(fd);
	}
	probes->compat_at_once = !code;
	return aa_is_passing(code) ? aa_probe_error(code, NULL, NULL, AA_COMPAT_CALL, "a probe was refused") : NULL;
}

/* The kernel's list of its symbols: without one the BTF's functions are all there is, but half of one misleads. */
static struct aa_error *aa_functions_locate(struct aa_probes *probes)
{
	int code = aa_kernel_functions_locate(probes->functions, probes->function_count);

	return aa_is_passing(code) ?
		       aa_error_create(AA_ERROR_SYSTEM, code, "/proc/kallsyms cannot be read: %s", strerror(code)) :
		       NULL;
}

/* 6.1 lets trampolines pass them on (720e6a435194); without, such a function cannot be probed by fentry. */
static struct aa_error *aa_structs_ask(struct aa_probes *probes)
{
	for (size_t i = 0; i < probes->function_count; i++) {
		struct aa_kernel_function *function = &probes->functions[i];
		int code = function->takes_struct ? aa_fentry_try(function->btf_id) : 0;

		if (aa_is_passing(code))
			return aa_probe_error(code, NULL, NULL, function->name, "a fentry program was refused");
		if (code)
			function->btf_id = 0;
	}
	return NULL;
}

static struct aa_error *aa_functions_ask(struct aa_probes *probes, const struct aa_probe_options *options,
					 const struct aa_kernel_types *types)
{
	const struct aa_compat_function *compat;
	struct aa_error *error = NULL;

	probes->direct = aa_probe_object_is_direct(types);
	if (!options->no_rings && probes->loops && aa_rings_do(options->operations))
		aa_ring_tracepoints_find(types, &probes->rings);
	/* What tells that a context is none: see aa_aio_has_context(). */
	if (aa_aio_does(options->operations))
		probes->aio = aa_kernel_has_member(types, "mm_struct", "ioctx_table") &&
					      aa_kernel_has_member(types, "kioctx_table", "table") &&
					      aa_kernel_has_member(types, "kioctx", "user_id") ?
				      AA_AIO_SEEN :
				      AA_AIO_HIDDEN;
	if (probes->kind == AA_BACKEND_TRACEPOINT)
		return options->witness_io ?
			       aa_error_create(AA_ERROR_UNAVAILABLE, 0,
					       "witness_io needs probes on functions of the kernel, which "
					       "the tracepoint backend has none of") :
			       NULL;
	/* Asked first: a kernel that refuses has the next backend tried, and the rest takes a tenth of a second. */
	if (probes->kind == AA_BACKEND_FENTRY && (error = aa_fentry_ask(types)))
		return error;
	/*
	 * Without a trampoline of its own such a return takes an instance from a pool that the whole host shares, and
	 * misses calls when it is empty (measured on 6.12: all, with 8 threads that sit in read(2)). From 6.14 on it
	 * takes the place on the thread's own shadow stack, and struct fprobe has lost that pool (4346ba160409).
	 */
	if (probes->kind == AA_BACKEND_KPROBE && !options->no_multi && probes->loops) {
		probes->multi_entries = aa_kernel_has_struct(types, "fprobe");
		probes->multi_returns = probes->multi_entries && !aa_kernel_has_member(types, "fprobe", "rethook");
	}
	for (unsigned row = 0; row < AA_CALL_COUNT; row++)
		probes->functions[probes->function_count++].name = aa_call_info(row)->function;
	for (unsigned what = 0; what < AA_BELOW_COUNT; what++)
		probes->functions[probes->function_count++].name = aa_belows[what].function;
	for (size_t i = 0; (compat = aa_compat_function(i)); i++)
		if (compat->name)
			probes->functions[probes->function_count++].name = compat->name;
	probes->functions[probes->function_count++].name = AA_COMPAT_CALL;
	aa_kernel_functions_find(types, probes->functions, probes->function_count);
	error = aa_functions_locate(probes);
	probes->xattr_has_mapping = aa_xattr_has_mapping(probes);
	if (!error)
		error = aa_compat_ask(probes);
	for (unsigned row = 0; probes->kind == AA_BACKEND_FENTRY && !error && row < AA_CALL_COUNT; row++) {
		const char *name = aa_call_info(row)->function;
		const struct aa_kernel_function *each =
			aa_kernel_function_of(probes->functions, probes->function_count, name);

		if (each->is_listed && !each->btf_id)
			error = aa_error_create(AA_ERROR_UNAVAILABLE, 0, "this kernel's BTF does not have %s", name);
	}
	if (probes->kind == AA_BACKEND_FENTRY && !error && !aa_fentry_types_find(probes))
		error = aa_error_create(AA_ERROR_UNAVAILABLE, 0,
					"this kernel's BTF has more than two types for the calls' functions");
	if (probes->kind == AA_BACKEND_FENTRY && !error)
		error = aa_structs_ask(probes);
	return error;
}

/* What libbpf needs for its trials (libbpf_memory.h) must be there before anything is begun. */
#define AA_TRIAL_DESCRIPTORS 16

static int aa_descriptors_try(void)
{
	int fds[AA_TRIAL_DESCRIPTORS], count = 0, code = 0;

	while (count < AA_TRIAL_DESCRIPTORS) {
		fds[count] = epoll_create1(EPOLL_CLOEXEC);
		if (fds[count] < 0) {
			code = errno;
			break;
		}
		count++;
	}
	while (count)
		close(fds[--count]);
	return code;
}

/* Unlike a tracepoint's programs, a trampoline's cannot be had with preemption off: see preemption.h. */
static struct aa_error *aa_preempted_fentry_refuse(const struct aa_probe_options *options)
{
	struct aa_preemption preemption;

	aa_preemption_read(&preemption);
	/* From 7.0 on x86 has no other models. */
	if (preemption.model == AA_PREEMPTION_UNKNOWN && aa_tracepoints_are_preemptible())
		preemption.model = AA_PREEMPTION_KERNEL;
	if (preemption.model == AA_PREEMPTION_KERNEL)
		return aa_error_with_remedy(aa_error_create(AA_ERROR_UNAVAILABLE, 0,
							    "this kernel preempts fentry programs (%s), and skips them "
							    "for other calls meanwhile",
							    preemption.said),
					    "use backend=\"kprobe\" or \"tracepoint\"");
	if (preemption.model == AA_PREEMPTION_UNKNOWN && !options->is_named)
		return aa_error_with_remedy(
			aa_error_create(AA_ERROR_UNAVAILABLE, 0,
					"it is not known whether this kernel preempts fentry programs (%s), and skips "
					"them for other calls meanwhile",
					preemption.said),
			"backend=\"fentry\" takes it all the same, and what is skipped is counted");
	return NULL;
}

/*
 * To take a kprobe off, the kernel waits for a grace period of Tasks Trace RCU, with a lock held that is the whole
 * kernel's: 0.9 s for each on a real-time kernel (6.1, 6.12), where a few hundred take minutes. 7.0 made that RCU anew,
 * and 7.3 takes all off in 0.5 s.
 */
#define AA_SLOW_GOODBYE_MS 900
#define AA_SLOW_GOODBYE_MS_MAX 10000

static struct aa_error *aa_slow_kprobes_refuse(const struct aa_probes *probes, const struct aa_kernel_types *types)
{
	struct aa_preemption preemption;
	unsigned count = 0;

	for (size_t i = 0; i < probes->count; i++)
		count += probes->probes[i].program &&
			 (probes->probes[i].way == AA_WAY_ENTRY || probes->probes[i].way == AA_WAY_RETURN);
	if (probes->kind != AA_BACKEND_KPROBE || probes->options.is_named ||
	    count * AA_SLOW_GOODBYE_MS <= AA_SLOW_GOODBYE_MS_MAX ||
	    !aa_kernel_has_member(types, "task_struct", "trc_holdout_list"))
		return NULL;
	aa_preemption_read(&preemption);
	if (!preemption.is_real_time)
		return NULL;
	return aa_error_with_remedy(
		aa_error_create(AA_ERROR_UNAVAILABLE, 0,
				"to take %u kprobes off, this real-time kernel (PREEMPT_RT) needs about %u s", count,
				count * AA_SLOW_GOODBYE_MS / 1000),
		"use backend=\"tracepoint\"; backend=\"kprobe\" takes them all the same");
}

static void aa_control_init(struct aa_probes *probes)
{
	probes->skeleton->bss->aa_control.own_fd = -1;
}

/* An array that the kernel side counts in, to be read here alone: a mapping inherited by a fork would keep it alive. */
static void *aa_counts_map(const struct bpf_map *map, size_t *ret_bytes)
{
	void *counts;

	*ret_bytes = (size_t)bpf_map__max_entries(map) * bpf_map__value_size(map);
	counts = mmap(NULL, *ret_bytes, PROT_READ, MAP_SHARED, bpf_map__fd(map), 0);
	if (counts != MAP_FAILED)
		madvise(counts, *ret_bytes, MADV_DONTFORK);
	return counts;
}

/* The ring, which takes the kernel 5 ms to allocate: made while this process reads and opens what it needs. */
struct aa_ring_making {
	pthread_t thread;
	bool has_begun;
	uint32_t bytes;
	int fd;
};

static void *aa_ring_make(void *argument)
{
	struct aa_ring_making *ring = argument;

	ring->fd = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "aa_ring", 0, 0, ring->bytes, NULL);
	return NULL;
}

static void aa_ring_begin(struct aa_ring_making *ring, size_t bytes)
{
	*ring = (struct aa_ring_making){ .bytes = (uint32_t)bytes, .fd = -1 };
	ring->has_begun = !aa_own_thread_create(&ring->thread, aa_ring_make, ring);
}

/* To be the map's, if there is one. What could not be made is left to libbpf, and to what it says of it. */
static void aa_ring_end(struct aa_ring_making *ring, struct bpf_map *map)
{
	if (!ring->has_begun)
		return;
	ring->has_begun = false;
	pthread_join(ring->thread, NULL);
	if (ring->fd < 0)
		return;
	if (map)
		bpf_map__reuse_fd(map, ring->fd);
	close(ring->fd);
}

static struct aa_error *aa_probes_try(const char *backend, const struct aa_probe_options *options,
				      struct aa_kernel_types **types, struct aa_probes **ret_probes,
				      bool *ret_has_refused_rings)
{
	struct aa_probes *probes = calloc(1, sizeof(*probes));
	struct aa_error *error = NULL;
	struct aa_log log;
	struct stat status;
	struct aa_ring_making ring;
	uint32_t seats;
	int result, cpus, small_types = -1;

	if (!probes)
		return aa_error_create(AA_ERROR_MEMORY, ENOMEM, "out of memory");
	probes->counts = MAP_FAILED;
	probes->seats = MAP_FAILED;
	probes->tracefs = -1;
	probes->backend = backend;
	probes->options = *options;
	probes->kind = !strcmp(backend, "kprobe") ? AA_BACKEND_KPROBE :
		       !strcmp(backend, "fentry") ? AA_BACKEND_FENTRY :
						    AA_BACKEND_TRACEPOINT;
	if (access(AA_KERNEL_TYPES_PATH, F_OK)) {
		free(probes);
		return aa_error_with_remedy(aa_error_create(AA_ERROR_UNAVAILABLE, errno,
							    "this kernel has no BTF (" AA_KERNEL_TYPES_PATH ")"),
					    "a kernel built with CONFIG_DEBUG_INFO_BTF, and /sys mounted");
	}
	if (probes->kind == AA_BACKEND_KPROBE && access("/sys/bus/event_source/devices/kprobe/type", F_OK)) {
		free(probes);
		return aa_error_with_remedy(aa_error_create(AA_ERROR_UNAVAILABLE, errno,
							    "this kernel has no kprobes (CONFIG_KPROBE_EVENTS; no "
							    "/sys/bus/event_source/devices/kprobe)"),
					    "use backend=\"tracepoint\"");
	}
	if (probes->kind == AA_BACKEND_FENTRY && (error = aa_fentry_ask(NULL))) {
		free(probes);
		return error;
	}
	result = aa_descriptors_try();
	if (result) {
		free(probes);
		return aa_error_create(AA_ERROR_SYSTEM, result, "attaching needs descriptors: %s", strerror(result));
	}
	aa_libbpf_note();
	aa_libbpf_ask_again();
	aa_log_begin(&log);
	aa_ring_begin(&ring, options->ring_bytes);
	/* 5.17; a trial load decides, not a version. */
	probes->loops = libbpf_probe_bpf_helper(BPF_PROG_TYPE_KPROBE, BPF_FUNC_loop, NULL) == 1;
	log.used = 0;
	log.text[0] = '\0';
	/*
	 * At the return of a function the caller's registers are found by bpf_task_pt_regs(), of 5.15. What else reads
	 * and writes is told from a call's own by that call's beginning.
	 */
	probes->exit_only = options->no_latency &&
			    (probes->kind == AA_BACKEND_TRACEPOINT || (probes->loops && !options->witness_io));
	if (!*types)
		*types = aa_kernel_types_create(AA_KERNEL_TYPES_PATH);
	if (*types)
		error = aa_functions_ask(probes, options, *types);
	else
		error = aa_error_create(AA_ERROR_UNAVAILABLE, errno, "this kernel's BTF cannot be read: %s",
					strerror(errno));
	if (error)
		goto out;
	probes->skeleton = aa_probe_object_open(probes->direct, *types, &small_types);
	if (!probes->skeleton) {
		error = aa_probe_error(errno, &log, NULL, NULL, "libbpf cannot open the probes' object");
		goto out;
	}
	probes->skeleton->rodata->aa_config.operations = options->operations;
	probes->skeleton->rodata->aa_config.kinds = options->kinds;
	probes->skeleton->rodata->aa_config.scope = options->scope;
	probes->skeleton->rodata->aa_config.no_latency = options->no_latency;
	probes->skeleton->rodata->aa_config.exit_only = probes->exit_only;
	probes->skeleton->rodata->aa_config.has_below = probes->kind != AA_BACKEND_TRACEPOINT;
	probes->skeleton->rodata->aa_config.has_ring_requests = probes->rings.submit != NULL;
	probes->skeleton->rodata->aa_config.ring_compat_flag = probes->rings.compat_flag;
	probes->skeleton->rodata->aa_config.aio = probes->aio;
	probes->skeleton->rodata->aa_config.xattr_has_mapping = probes->xattr_has_mapping;
	probes->skeleton->rodata->aa_config.errors_only = options->errors_only;
	probes->skeleton->rodata->aa_config.min_duration_ns = options->min_duration_ns;
	probes->skeleton->rodata->aa_config.total_rows = options->total_rows;
	probes->skeleton->rodata->aa_config.no_events = options->no_events;
	probes->skeleton->rodata->aa_config.only_changes = options->only_changes;
	probes->skeleton->rodata->aa_config.witness_io = options->witness_io;
	probes->skeleton->rodata->aa_config.wake_bytes = options->ring_bytes / AA_RING_WAKE_PART;
	if (!stat("/proc/self/ns/pid", &status))
		probes->skeleton->rodata->aa_config.reader_pid_namespace = (uint32_t)status.st_ino;
	aa_control_init(probes);
	aa_probes_choose(probes, options);
	error = aa_slow_kprobes_refuse(probes, *types);
	if (error)
		goto out;
	aa_rules_choose(probes, options->rules);
	probes->skeleton->rodata->aa_config.compat_unseen = probes->compat_unseen;
	aa_interest_fill(probes->skeleton, options->operations);
	aa_plain_fill(probes->skeleton);
	bpf_map__set_max_entries(probes->skeleton->maps.aa_ring, (uint32_t)options->ring_bytes);
	aa_ring_end(&ring, probes->skeleton->maps.aa_ring);
	if (options->total_rows)
		bpf_map__set_max_entries(probes->skeleton->maps.aa_totals, options->total_rows + AA_OPERATION_COUNT);
	else
		bpf_map__set_max_entries(probes->skeleton->maps.aa_names, (uint32_t)sysconf(_SC_PAGESIZE));
	seats = options->scope == AA_SCOPE_SYSTEM ? AA_SEATS_SYSTEM : AA_SEATS;
	probes->skeleton->rodata->aa_config.seat_mask = seats - 1;
	bpf_map__set_max_entries(probes->skeleton->maps.aa_states, seats);
	bpf_map__set_max_entries(probes->skeleton->maps.aa_seats, seats);
	bpf_map__set_max_entries(probes->skeleton->maps.aa_elsewhere, seats);
	cpus = libbpf_num_possible_cpus();
	if (cpus > 0)
		bpf_map__set_max_entries(probes->skeleton->maps.aa_counts, (uint32_t)cpus);
	for (size_t i = 0; probes->kind == AA_BACKEND_FENTRY && i < probes->count; i++)
		if (probes->probes[i].program)
			aa_probes_place(probes, probes->probes[i].program, probes->probes[i].function);
	result = aa_probe_object_load(probes->skeleton, *types, probes->places, probes->place_count, aa_log_print);
	if (result) {
		error = aa_probe_error(-result, &log, NULL, NULL, "the kernel refused to load the probes");
		*ret_has_refused_rings =
			probes->rings.submit && strstr(log.text, "prog 'aa_") && strstr(log.text, "_ring_");
		goto out;
	}
	result = aa_jumps_set(probes);
	if (result) {
		error = aa_probe_error(result, &log, NULL, NULL, "cannot set the jumps between programs");
		goto out;
	}
	error = aa_rules_set(probes, options->rules);
	if (error)
		goto out;
	result = aa_managers_set(probes);
	if (result) {
		error = aa_probe_error(result, &log, NULL, NULL, "cannot set the names of sockets");
		goto out;
	}
	/* A mapping inherited by a fork would keep the map alive. */
	madvise(probes->skeleton->bss, bpf_map__value_size(probes->skeleton->maps.bss), MADV_DONTFORK);
	madvise(probes->skeleton->rodata, bpf_map__value_size(probes->skeleton->maps.rodata), MADV_DONTFORK);
	probes->seats = aa_counts_map(probes->skeleton->maps.aa_seats, &probes->seats_bytes);
	if (probes->seats != MAP_FAILED)
		probes->counts = aa_counts_map(probes->skeleton->maps.aa_counts, &probes->counts_bytes);
	if (probes->counts == MAP_FAILED) {
		error = aa_probe_error(errno, &log, NULL, NULL, "cannot map the counters");
		goto out;
	}
out:
	aa_ring_end(&ring, NULL);
	if (small_types >= 0)
		close(small_types);
	aa_log_end(&log);
	if (error) {
		aa_probes_destroy(probes);
		return error;
	}
	*ret_probes = probes;
	return NULL;
}

struct aa_error *aa_probes_create(const char *backend, const struct aa_probe_options *options,
				  struct aa_kernel_types **types, struct aa_probes **ret_probes)
{
	struct aa_probe_options without_rings = *options;
	bool has_refused_rings = false;
	struct aa_error *error, *refusal;

	*ret_probes = NULL;
	/* The model may have been changed since probes were kept. */
	error = strcmp(backend, "fentry") ? NULL : aa_preempted_fentry_refuse(options);
	if (error)
		return error;
	*ret_probes = aa_kept_take(backend, options);
	if (*ret_probes)
		return NULL;
	error = aa_probes_try(backend, options, types, ret_probes, &has_refused_rings);
	if (!has_refused_rings)
		return error;
	/* The kernel shows io_uring's requests, but in a way that these programs do not know: a ring is a blind spot.
	 */
	refusal = error;
	without_rings.no_rings = true;
	error = aa_probes_try(backend, &without_rings, types, ret_probes, &has_refused_rings);
	if (!error)
		snprintf((*ret_probes)->rings_refused, sizeof((*ret_probes)->rings_refused), "%s", refusal->message);
	aa_error_destroy(refusal);
	return error;
}

const char *aa_probes_rings_refused(const struct aa_probes *probes)
{
	return probes->rings_refused[0] ? probes->rings_refused : NULL;
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

/* struct bpf_link_info of a kprobe.multi link as 6.7 has it; Debian 12's headers are older. */
struct aa_multi_link_info {
	uint32_t type, id, program_id, reserved;
	uint64_t addresses;
	uint32_t count, flags;
	uint64_t missed;
	uint64_t cookies;
};

#define AA_ENTRY_BYTES 16 /* what may stand before the place of the probe: endbr64, and padding */

/* Whether the kernel's own list of a multi link's places has that function. */
static bool aa_multi_has(struct aa_probes *probes, const uint64_t *places, uint32_t count, const char *name)
{
	const struct aa_kernel_function *function =
		aa_kernel_function_of(probes->functions, probes->function_count, name);

	for (uint32_t i = 0; function && function->address && i < count; i++)
		if (places[i] >= function->address && places[i] < function->address + AA_ENTRY_BYTES)
			return true;
	return false;
}

/* All targets of one multi link. */
static void aa_multi_targets_read(struct aa_probes *probes, size_t first)
{
	const struct aa_probe *leader = &probes->probes[first];
	uint64_t places[AA_PROBES_MAX] = { 0 };
	struct aa_multi_link_info info = { .addresses = (uintptr_t)places, .count = AA_PROBES_MAX };
	uint32_t length = sizeof(info), program_id = 0;
	char program[64] = "";
	bool has_places, has_program;

	for (size_t i = 0; i < probes->count; i++)
		if (probes->probes[i].first == first)
			info.count = i == first ? 1 : info.count + 1;
	has_places = !bpf_obj_get_info_by_fd(bpf_link__fd(leader->link), (struct bpf_link_info *)&info, &length) &&
		     length >= offsetof(struct aa_multi_link_info, missed);
	has_program = aa_program_name(bpf_program__fd(leader->program), program, sizeof(program), &program_id);
	for (size_t i = first; i < probes->count; i++) {
		struct aa_target *target = &probes->targets[i];

		if (probes->probes[i].first != first)
			continue;
		target->present = true;
		target->prog_id = program_id;
		target->link_id = info.id;
		target->verified = has_places && has_program && info.program_id == program_id &&
				   !strcmp(program, target->program) &&
				   aa_multi_has(probes, places, info.count, target->function);
	}
}

/* What the kernel says hangs where. */
static void aa_target_read(struct aa_probes *probes, const struct aa_probe *probe, struct aa_target *target)
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
	} else if (info.type == BPF_LINK_TYPE_TRACING) {
		/* 5.13 tells the function's number in the kernel's BTF. */
		const struct aa_kernel_function *wanted =
			aa_kernel_function_of(probes->functions, probes->function_count, probe->function);

		has_function = wanted && wanted->btf_id &&
			       length >= offsetof(struct bpf_link_info, tracing.target_btf_id) + sizeof(uint32_t) &&
			       info.tracing.target_btf_id == wanted->btf_id && info.prog_id == program_id;
		if (has_function)
			snprintf(function, sizeof(function), "%s", wanted->name);
	} else {
		memset(&info, 0, sizeof(info));
		length = sizeof(info);
		info.raw_tracepoint.tp_name = (uintptr_t)function;
		info.raw_tracepoint.tp_name_len = sizeof(function);
		has_function = !bpf_obj_get_info_by_fd(bpf_link__fd(probe->link), &info, &length) &&
			       info.prog_id == program_id;
	}
	target->verified =
		has_program && has_function && !strcmp(program, target->program) && !strcmp(function, target->function);
	if (has_program)
		snprintf(target->program, sizeof(target->program), "%s", program);
	if (has_function)
		snprintf(target->function, sizeof(target->function), "%s", function);
}

/* One link for all functions of a program. */
static struct aa_error *aa_multi_attach(struct aa_probes *probes, size_t first, struct aa_log *log)
{
	const char *names[AA_PROBES_MAX];
	__u64 cookies[AA_PROBES_MAX];
	struct aa_probe *leader = &probes->probes[first];
	LIBBPF_OPTS(bpf_kprobe_multi_opts, options, .syms = names, .cookies = cookies,
		    .retprobe = leader->way == AA_WAY_MULTI_RETURN);

	for (size_t i = first; i < probes->count; i++) {
		if (probes->probes[i].first != first)
			continue;
		names[options.cnt] = probes->probes[i].function;
		cookies[options.cnt++] = probes->probes[i].cookie;
	}
	leader->link = bpf_program__attach_kprobe_multi_opts(leader->program, NULL, &options);
	if (!leader->link)
		return aa_probe_error(
			errno, log, bpf_program__name(leader->program), NULL,
			"cannot attach the program to its functions (multi=False attaches them one by one)");
	return NULL;
}

static struct aa_error *aa_probe_attach(struct aa_probes *probes, size_t i, struct aa_log *log)
{
	struct aa_probe *probe = &probes->probes[i];
	const char *program = probes->targets[i].program;
	struct aa_error *error;
	int fd = -1, code = 0;
	char name[64];

	if (!probe->program)
		fd = -1, code = ENOENT;
	else if (probe->way == AA_WAY_MULTI || probe->way == AA_WAY_MULTI_RETURN)
		return probe->first == i ? aa_multi_attach(probes, i, log) : NULL;
	else if (probe->way == AA_WAY_TRACING) {
		probe->link = bpf_program__attach_trace(probe->program);
		if (!probe->link)
			return aa_probe_error(errno, log, program, probe->function, "cannot attach the program");
		aa_target_read(probes, probe, &probes->targets[i]);
		return NULL;
	} else if (probe->way == AA_WAY_EVENT) {
		snprintf(name, sizeof(name), "%s/%s",
			 !strncmp(probe->function, "io_uring_", 9) ? "io_uring" : "raw_syscalls", probe->function);
		fd = aa_tracefs_event_open(probes->tracefs, name);
		code = fd < 0 ? errno : 0;
	} else if (probe->way == AA_WAY_RETURN) {
		error = aa_kprobe_lines_add(probes->lines, probe->line, probe->function, &fd, &code);
		if (error)
			return aa_error_with_probe(error, program, probe->function);
	} else {
		fd = aa_kprobe_entry_open(probe->function);
		code = fd < 0 ? errno : 0;
	}
	if (fd < 0 && code == ENOENT && probe->way != AA_WAY_EVENT) {
		if (probe->needed)
			return aa_probe_error(code, log, program, probe->function,
					      "this kernel has no such function, and without it a descriptor's name "
					      "cannot be certain");
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
	aa_target_read(probes, probe, &probes->targets[i]);
	return NULL;
}

/*
 * Of a trial: whether one that hangs so is attached already. Raw tracepoints are few, and quick to go; each of the
 * others waits for a grace period.
 */
static bool aa_is_tried(const struct aa_probes *probes, size_t i)
{
	const struct aa_probe *probe = &probes->probes[i];
	enum bpf_attach_type type = probe->program ? bpf_program__expected_attach_type(probe->program) : 0;

	if (!probe->program || probe->way == AA_WAY_EVENT || type == BPF_TRACE_RAW_TP)
		return false;
	for (size_t other = 0; other < i; other++)
		if (probes->probes[other].link && probes->probes[other].way == probe->way &&
		    bpf_program__expected_attach_type(probes->probes[other].program) == type)
			return true;
	return false;
}

struct aa_error *aa_probes_attach(struct aa_probes *probes)
{
	struct aa_error *error = NULL;
	const char *names[AA_LINES_MAX];
	unsigned count = 0;
	struct aa_log log;

	for (size_t i = 0; i < probes->count; i++)
		if (probes->probes[i].way == AA_WAY_RETURN)
			names[count++] = probes->probes[i].line;
	/* Also without lines of our own: those of tracers that died are removed. */
	if (probes->kind == AA_BACKEND_KPROBE) {
		error = aa_kprobe_lines_create(&probes->lines);
		if (!error && count)
			error = aa_kprobe_lines_reap(probes->lines, names, count);
		if (error)
			return error;
	}
	aa_log_begin(&log);
	if ((probes->kind == AA_BACKEND_TRACEPOINT || probes->rings.submit) && aa_tracepoints_are_preemptible())
		error = (probes->tracefs = aa_tracefs_open()) < 0 ? aa_tracefs_error(errno) : NULL;
	for (size_t i = 0; i < probes->count && !error; i++)
		if (!probes->options.is_trial || !aa_is_tried(probes, i))
			error = aa_probe_attach(probes, i, &log);
	if (probes->tracefs >= 0)
		close(probes->tracefs);
	probes->tracefs = -1;
	if (!error && probes->multi_entries) {
		error = aa_functions_locate(probes);
		for (size_t i = 0; i < probes->count; i++)
			if (probes->probes[i].link &&
			    (probes->probes[i].way == AA_WAY_MULTI || probes->probes[i].way == AA_WAY_MULTI_RETURN))
				aa_multi_targets_read(probes, i);
	}
	aa_log_end(&log);
	if (error)
		aa_probes_detach(probes, true);
	return error;
}

/* Grace periods end in their own time; only asking shows when the kernel has let go. False: it does not show. */
static bool aa_programs_wait(const uint32_t *ids, size_t count)
{
	struct timespec nap = { 0, 500000 };

	for (int waited = 0; waited < AA_GONE_MS * 2; waited++) {
		bool gone = true;

		for (size_t i = 0; i < count && gone; i++) {
			int fd;

			if (!ids[i])
				continue;
			fd = bpf_prog_get_fd_by_id(ids[i]);
			if (fd >= 0) {
				close(fd);
				gone = false;
			} else if (errno != ENOENT) {
				return false;
			}
		}
		if (gone)
			return true;
		nanosleep(&nap, NULL);
	}
	return false;
}

/* Waits out every program that is running, if nothing can be preempted just before it. */
static bool aa_barrier(void)
{
	return !syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
}

/*
 * Each link's end waits for grace periods of its own, so several end at once. These threads make calls that could be
 * traced; the gate is closed by now.
 */
struct aa_links_end {
	struct aa_probes *probes;
	bool returns;
	atomic_size_t next;
};

static void *aa_links_end_some(void *context)
{
	struct aa_links_end *end = context;
	size_t i;

	while ((i = atomic_fetch_add(&end->next, 1)) < end->probes->count) {
		struct aa_probe *probe = &end->probes->probes[i];

		if (aa_probe_is_return(probe) != end->returns)
			continue;
		bpf_link__destroy(probe->link);
		probe->link = NULL;
		probe->perf_fd = -1;
	}
	return NULL;
}

static void aa_links_destroy(struct aa_probes *probes, bool returns)
{
	struct aa_links_end end = { .probes = probes, .returns = returns };
	pthread_t helpers[AA_HELPERS];
	unsigned count = 0;

	if (probes->count > AA_FEW_PROBES)
		while (count < AA_HELPERS && !aa_own_thread_create(&helpers[count], aa_links_end_some, &end))
			count++;
	aa_links_end_some(&end);
	while (count)
		pthread_join(helpers[--count], NULL);
}

static void aa_programs_unload(struct aa_probes *probes)
{
	struct bpf_program *program;

	aa_jumps_clear(probes);
	bpf_object__for_each_program (program, probes->skeleton->obj)
		if (bpf_program__fd(program) >= 0)
			bpf_program__unload(program);
}

/*
 * A program that does nothing, at a tracepoint of ours; its number, 0: none. The kernel lets go of it after all that
 * may still be about to run there: from 6.13 on a task can be preempted between these tracepoints and their programs
 * (__DECLARE_TRACE_SYSCALL), and only the end of what hangs there waits for it.
 */
static uint32_t aa_last_attach(int *ret_program, int *ret_link)
{
	struct bpf_prog_info info = { 0 };
	uint32_t length = sizeof(info);

	*ret_link = -1;
	*ret_program = bpf_prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, "aa_last", AA_LICENSE, aa_do_nothing, 2, NULL);
	if (*ret_program < 0 || bpf_obj_get_info_by_fd(*ret_program, &info, &length))
		return 0;
	*ret_link = bpf_raw_tracepoint_open("sys_exit", *ret_program);
	return *ret_link < 0 ? 0 : info.id;
}

/*
 * Whether these may be kept: a trampoline's task can be preempted before the trampoline's program, rules are not
 * compared, and the kernel's barrier does nothing where one processor is online.
 */
static bool aa_probes_can_be_kept(const struct aa_probes *probes)
{
	return aa_kept_wanted() && probes->kind != AA_BACKEND_FENTRY && !probes->options.rules &&
	       sysconf(_SC_NPROCESSORS_ONLN) > 1;
}

void aa_probes_detach(struct aa_probes *probes, bool wait)
{
	char reason[sizeof(probes->last_reason)];
	int last_program = -1, last_link = -1;
	uint32_t last = 0;
	uint64_t missed;

	if (probes->detached)
		return;
	probes->last_exact = aa_probes_missed(probes, &missed, reason, sizeof(reason));
	probes->last_missed = missed;
	memcpy(probes->last_reason, reason, sizeof(reason));
	probes->has_last_missed = true;
	for (size_t i = 0; i < probes->count; i++)
		probes->program_ids[i] = probes->targets[i].prog_id;
	if (wait && aa_probes_can_be_kept(probes))
		last = aa_last_attach(&last_program, &last_link);
	/* Entries first, so that what has begun can still return. */
	aa_links_destroy(probes, false);
	aa_links_destroy(probes, true);
	aa_kprobe_lines_destroy(probes->lines);
	probes->lines = NULL;
	if (last_link >= 0)
		close(last_link);
	if (last_program >= 0)
		close(last_program);
	probes->is_quiet = last && aa_programs_wait(&last, 1) && aa_barrier();
	probes->detached = true;
	if (probes->is_quiet)
		return;
	aa_programs_unload(probes);
	/* Then every program that could be running is waited out. */
	if (wait && !aa_programs_wait(probes->program_ids, probes->count))
		aa_barrier();
}

static bool aa_hash_clear(int fd, size_t key_bytes)
{
	unsigned char key[256];

	if (key_bytes > sizeof(key))
		return false;
	while (!bpf_map_get_next_key(fd, NULL, key))
		if (bpf_map_delete_elem(fd, key))
			return false;
	return errno == ENOENT;
}

static bool aa_array_clear(int fd, const struct bpf_map *map)
{
	LIBBPF_OPTS(bpf_map_batch_opts, options);
	uint32_t count = bpf_map__max_entries(map), *keys;
	size_t bytes = (size_t)count * ((bpf_map__value_size(map) + 7) & ~7u);
	void *values;
	bool cleared;

	if (bpf_map__map_flags(map) & BPF_F_MMAPABLE) {
		values = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (values == MAP_FAILED)
			return false;
		memset(values, 0, bytes);
		return !munmap(values, bytes);
	}
	keys = malloc(count * sizeof(*keys));
	values = calloc(count, bpf_map__value_size(map));
	for (uint32_t i = 0; keys && i < count; i++)
		keys[i] = i;
	cleared = keys && values && !bpf_map_update_batch(fd, keys, values, &count, &options);
	free(keys);
	free(values);
	return cleared;
}

/* What nobody has read is of the trace before. */
static bool aa_ring_clear(int fd)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	_Atomic unsigned long *consumer = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	const _Atomic unsigned long *producer = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, (off_t)page);
	bool cleared = consumer != MAP_FAILED && producer != MAP_FAILED;

	if (cleared)
		atomic_store(consumer, atomic_load(producer));
	if (consumer != MAP_FAILED)
		munmap((void *)consumer, page);
	if (producer != MAP_FAILED)
		munmap((void *)producer, page);
	return cleared;
}

/* As it was loaded; false: it cannot be told how. */
static bool aa_map_renew(const struct aa_probes *probes, const struct bpf_map *map)
{
	int fd = bpf_map__fd(map);

	/* Set when it was loaded, or written before it is read, each time. */
	if (fd < 0 || map == probes->skeleton->maps.rodata || map == probes->skeleton->maps.aa_managers ||
	    map == probes->skeleton->maps.aa_rule_names || map == probes->skeleton->maps.aa_rule_files ||
	    map == probes->skeleton->maps.aa_scratches || map == probes->skeleton->maps.aa_states)
		return true;
	switch (bpf_map__type(map)) {
	case BPF_MAP_TYPE_HASH:
	case BPF_MAP_TYPE_LRU_HASH:
		return aa_hash_clear(fd, bpf_map__key_size(map));
	case BPF_MAP_TYPE_ARRAY:
		return aa_array_clear(fd, map);
	case BPF_MAP_TYPE_RINGBUF:
		return aa_ring_clear(fd);
	case BPF_MAP_TYPE_PROG_ARRAY:
		return true;
	default:
		return false;
	}
}

/* As they were loaded. */
static bool aa_probes_renew(struct aa_probes *probes)
{
	struct bpf_map *map;

	bpf_object__for_each_map (map, probes->skeleton->obj)
		if (!aa_map_renew(probes, map))
			return false;
	aa_control_init(probes);
	for (size_t i = 0; i < probes->count; i++) {
		struct bpf_prog_info info = { 0 };
		uint32_t length = sizeof(info);
		struct aa_target *target = &probes->targets[i];

		if (probes->probes[i].program &&
		    bpf_obj_get_info_by_fd(bpf_program__fd(probes->probes[i].program), &info, &length))
			return false;
		probes->skipped_before[i] = info.recursion_misses;
		target->link_id = target->prog_id = 0;
		target->present = target->verified = false;
	}
	probes->detached = probes->is_quiet = probes->has_last_missed = false;
	return true;
}

void aa_probes_unload(struct aa_probes *probes)
{
	if (!probes)
		return;
	if (probes->counts != MAP_FAILED) {
		aa_probes_detach(probes, true);
		aa_programs_unload(probes);
		munmap(probes->counts, probes->counts_bytes);
	}
	if (probes->seats != MAP_FAILED)
		munmap(probes->seats, probes->seats_bytes);
	fileio_bpf__destroy(probes->skeleton);
	free(probes);
}

void aa_probes_destroy(struct aa_probes *probes)
{
	if (!probes)
		return;
	if (probes->counts != MAP_FAILED)
		aa_probes_detach(probes, true);
	if (!probes->is_quiet || !aa_probes_renew(probes) || !aa_kept_give(probes))
		aa_probes_unload(probes);
}

bool aa_probes_are_for(const struct aa_probes *probes, const char *backend, const struct aa_probe_options *options)
{
	const struct aa_probe_options *ours = &probes->options;

	return !strcmp(probes->backend, backend) && ours->operations == options->operations &&
	       ours->kinds == options->kinds && ours->only_changes == options->only_changes &&
	       ours->scope == options->scope && ours->no_latency == options->no_latency &&
	       ours->no_multi == options->no_multi && ours->errors_only == options->errors_only &&
	       ours->rules == options->rules && ours->witness_io == options->witness_io &&
	       ours->min_duration_ns == options->min_duration_ns && ours->total_rows == options->total_rows &&
	       ours->no_events == options->no_events && ours->ring_bytes == options->ring_bytes &&
	       ours->no_rings == options->no_rings && ours->is_named == options->is_named &&
	       ours->is_trial == options->is_trial;
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

int aa_probes_watch_thread(struct aa_probes *probes)
{
	LIBBPF_OPTS(bpf_test_run_opts, options);
	volatile struct aa_control *control = aa_probes_control(probes);

	if (bpf_prog_test_run_opts(bpf_program__fd(probes->skeleton->progs.aa_watch_me), &options))
		return errno;
	return control->canary_tid ? 0 : EIO;
}

void aa_probes_unwatch_thread(struct aa_probes *probes)
{
	aa_probes_control(probes)->canary_tid = 0;
}

static void aa_switch_check(int directory, const char *path, const char *name, struct aa_health *health)
{
	unsigned long long value;

	if (directory != -1 && aa_number_read(directory, path, &value) && !value)
		aa_health_add_problem(health, "%s is 0: the kernel runs none of these probes", name);
}

void aa_probes_check(struct aa_probes *probes, struct aa_health *health)
{
	int debugfs;

	for (size_t i = 0; i < probes->count; i++) {
		const struct aa_probe *probe = &probes->probes[i];
		const struct aa_target *target = &probes->targets[i];
		struct aa_target now = *target;

		if (!probe->link)
			continue;
		if (probe->way == AA_WAY_MULTI || probe->way == AA_WAY_MULTI_RETURN) {
			struct bpf_link_info info = { 0 };
			uint32_t length = sizeof(info);

			if (bpf_obj_get_info_by_fd(bpf_link__fd(probe->link), &info, &length))
				now.prog_id = 0;
			else
				now.prog_id = info.prog_id, now.link_id = info.id;
		} else {
			now.link_id = 0;
			aa_target_read(probes, probe, &now);
		}
		if (now.prog_id != target->prog_id || now.link_id != target->link_id ||
		    now.verified != target->verified)
			aa_health_add_problem(health, "%s at %s is not what was attached any more", target->program,
					      target->function);
		else
			health->links++;
	}
	if (probes->kind == AA_BACKEND_TRACEPOINT)
		return;
	aa_switch_check(AT_FDCWD, "/proc/sys/kernel/ftrace_enabled", "kernel.ftrace_enabled", health);
	if (probes->kind != AA_BACKEND_KPROBE)
		return;
	debugfs = aa_debugfs_open();
	aa_switch_check(debugfs, "kprobes/enabled", "debugfs' kprobes/enabled", health);
	if (debugfs >= 0)
		close(debugfs);
}

bool aa_probes_follow_compat(const struct aa_probes *probes)
{
	return !probes->compat_unseen;
}

bool aa_probes_return_suffices(const struct aa_probes *probes, size_t row)
{
	return probes->kind == AA_BACKEND_TRACEPOINT &&
	       (aa_call_specs[row].operation == AA_OPERATION_BLIND_SPOT || !aa_call_needs_entry(probes, row));
}

bool aa_probes_see_rings(const struct aa_probes *probes)
{
	return probes->rings.submit != NULL;
}

int aa_probes_ring(const struct aa_probes *probes)
{
	return bpf_map__fd(probes->skeleton->maps.aa_ring);
}

int aa_probes_totals(const struct aa_probes *probes)
{
	return bpf_map__fd(probes->skeleton->maps.aa_totals);
}

int aa_probes_names(const struct aa_probes *probes)
{
	return bpf_map__fd(probes->skeleton->maps.aa_names);
}

int aa_probes_watched(const struct aa_probes *probes)
{
	return bpf_map__fd(probes->skeleton->maps.aa_watched);
}

uint32_t *aa_probes_watched_presence(struct aa_probes *probes, uint32_t tgid)
{
	return &probes->skeleton->bss->aa_watched_presence[AA_PRESENCE_SLOT(tgid)];
}

int aa_probes_lineage(const struct aa_probes *probes)
{
	return bpf_map__fd(probes->skeleton->maps.aa_lineage);
}

pid_t aa_probes_reaper(const struct aa_probes *probes)
{
	return aa_kprobe_lines_reaper(probes->lines);
}

/* What the program writes when it is shown everything that there is of its kind. */
static struct aa_error *aa_list(struct bpf_program *program, const char *of, const char *action, int *ret_fd)
{
	struct bpf_link *link;
	struct aa_log log;
	int code;

	aa_log_begin(&log);
	link = bpf_program__attach_iter(program, NULL);
	code = errno;
	*ret_fd = link ? bpf_iter_create(bpf_link__fd(link)) : -1;
	if (link && *ret_fd < 0)
		code = errno;
	bpf_link__destroy(link);
	aa_log_end(&log);
	return *ret_fd < 0 ? aa_probe_error(code, &log, bpf_program__name(program), of, action) : NULL;
}

struct aa_error *aa_probes_list_tasks(struct aa_probes *probes, int *ret_fd)
{
	return aa_list(probes->skeleton->progs.aa_list_tasks, "bpf_iter/task", "cannot list the tasks", ret_fd);
}

struct aa_error *aa_probes_list_own_files(struct aa_probes *probes, int *ret_fd)
{
	return aa_list(probes->skeleton->progs.aa_list_own_files, "bpf_iter/task_file", "cannot list the open files",
		       ret_fd);
}

/* All that the reading gives, in one growing block. */
static struct aa_error *aa_read_all(int fd, char **ret_bytes, size_t *ret_count)
{
	size_t room = 0;
	ssize_t bytes;
	char *grown;
	int code;

	*ret_bytes = NULL;
	*ret_count = 0;
	do {
		if (*ret_count == room) {
			room = room ? room * 2 : 16384;
			grown = realloc(*ret_bytes, room);
			if (!grown)
				return aa_error_create(AA_ERROR_MEMORY, ENOMEM, "out of memory");
			*ret_bytes = grown;
		}
		bytes = read(fd, *ret_bytes + *ret_count, room - *ret_count);
		code = bytes < 0 ? errno : 0;
		*ret_count += bytes > 0 ? (size_t)bytes : 0;
	} while (bytes > 0 || code == EINTR || code == EAGAIN);
	return code ? aa_error_create(AA_ERROR_SYSTEM, code, "reading the list of files: %s", strerror(code)) : NULL;
}

struct aa_error *aa_probes_list_connections(struct aa_probes *probes, struct aa_connection **ret_connections,
					    size_t *ret_count)
{
	struct aa_error *error = NULL;
	char *bytes = NULL;
	int fd;

	*ret_connections = NULL;
	*ret_count = 0;
	/* Twice: what it says of one connection rests on what it has noted of all. */
	for (int i = 0; !error && i < 2; i++) {
		free(bytes);
		bytes = NULL;
		error = aa_list(probes->skeleton->progs.aa_list_connections, "bpf_iter/task_file",
				"cannot list the files", &fd);
		if (error)
			break;
		error = aa_read_all(fd, &bytes, ret_count);
		close(fd);
	}
	if (error) {
		free(bytes);
		return error;
	}
	*ret_count /= sizeof(**ret_connections);
	*ret_connections = (struct aa_connection *)(void *)bytes;
	return NULL;
}

bool aa_probes_next_under_way(struct aa_probes *probes, size_t *position, uint32_t *ret_tid, uint32_t *ret_call)
{
	int map = bpf_map__fd(probes->skeleton->maps.aa_states);
	char state[16384];

	if (map < 0 || bpf_map__value_size(probes->skeleton->maps.aa_states) > sizeof(state))
		return false;
	for (; *position < probes->seats_bytes / sizeof(*probes->seats); ++*position) {
		const struct aa_seat *seat = &probes->seats[*position];
		uint32_t at = (uint32_t)*position;

		if (__atomic_load_n(&seat->ended, __ATOMIC_ACQUIRE) == __atomic_load_n(&seat->begun, __ATOMIC_RELAXED))
			continue;
		*ret_tid = seat->owner;
		if (!*ret_tid || bpf_map_lookup_elem(map, &at, state) || state[AA_STATE_PHASE_AT] != AA_STATE_IN_CALL)
			continue;
		memcpy(ret_call, state + AA_STATE_CALL_AT, sizeof(*ret_call));
		++*position;
		return true;
	}
	return false;
}

void aa_probes_counters(struct aa_probes *probes, struct aa_counters *ret_counters)
{
	memset(ret_counters, 0, sizeof(*ret_counters));
	for (size_t cpu = 0; cpu < probes->counts_bytes / sizeof(*probes->counts); cpu++) {
#define AA_X(name) ret_counters->name += __atomic_load_n(&probes->counts[cpu].counters.name, __ATOMIC_RELAXED);
		AA_COUNTERS(AA_X)
#undef AA_X
	}
	for (size_t i = 0; i < probes->seats_bytes / sizeof(*probes->seats); i++) {
		const struct aa_seat *seat = &probes->seats[i];
		/* In this order, or a call could be found ended that had not begun. */
		uint64_t ended = __atomic_load_n(&seat->ended, __ATOMIC_ACQUIRE);
		uint64_t begun = __atomic_load_n(&seat->begun, __ATOMIC_RELAXED);

		ret_counters->performed += begun;
		ret_counters->in_flight += begun - ended;
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

		if (!probe->program || (!probe->link && probe->first == i))
			continue;
		/*
		 * 5.12 counts a program skipped because it was running on that CPU. Before, a tracepoint's program had
		 * no such guard and could not be skipped (__bpf_trace_run() of 5.10), so nothing is missing there.
		 */
		if (!bpf_obj_get_info_by_fd(bpf_program__fd(probe->program), &info, &length) &&
		    length >= offsetof(struct bpf_prog_info, recursion_misses) + sizeof(info.recursion_misses)) {
			/* What is missed is skipped by all of a row: by no more than by the least. */
			uint64_t skipped = info.recursion_misses - probes->skipped_before[i];

			if (probe->first == i || skipped < of_row[probe->first])
				of_row[probe->first] = skipped;
		}
		if (probe->link && bpf_program__type(probe->program) == BPF_PROG_TYPE_KPROBE) {
			bool is_multi = probe->way == AA_WAY_MULTI || probe->way == AA_WAY_MULTI_RETURN;
			union {
				struct aa_kprobe_link_info one;
				struct aa_multi_link_info multi;
			} link = { 0 };

			length = sizeof(link);
			if (bpf_obj_get_info_by_fd(bpf_link__fd(probe->link), (struct bpf_link_info *)&link, &length) ||
			    length < sizeof(link)) {
				exact = false;
				continue;
			}
			*ret_missed += is_multi ? link.multi.missed : link.one.missed;
		}
	}
	for (size_t row = 0; row < probes->count; row++)
		*ret_missed += of_row[row];
	if (probes->lines && !probes->multi_returns) {
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

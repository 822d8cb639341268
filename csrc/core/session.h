/* SPDX-License-Identifier: MIT */
/*
 * One trace: options → attach → read → detach → read the rest → close. This header is all that a caller of the core
 * needs; it names nothing of libbpf and compiles on any platform (where there is no backend, session_stub.c answers).
 *
 * Threads: every function may be called from any thread; one thread at a time may read (aa_session_reader_acquire).
 * No function calls back into the caller, none prints.
 */
#ifndef AA_FILEIO_SESSION_H
#define AA_FILEIO_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "file_event.h"
#include "fileio_error.h"
#include "path_rules.h"

struct aa_session;

enum aa_until {
	AA_UNTIL_TREE, /* the stream ends when the last watched process has exited */
	AA_UNTIL_ROOT, /* when the given one has */
};

#define AA_RING_BYTES_DEFAULT (16u << 20)
#define AA_QUEUE_BYTES_DEFAULT (8u << 20)
#define AA_SIZE_BYTES_MIN 4096u
#define AA_SIZE_BYTES_MAX (1u << 30)
#define AA_DELAY_MS_DEFAULT 5u
#define AA_DELAY_MS_MAX 20u /* at full speed the default ring holds the events of 200 ms */
#define AA_TOTAL_ROWS_DEFAULT 16384u
#define AA_TOTAL_ROWS_MIN 64u
#define AA_TOTAL_ROWS_MAX (1u << 20)
#define AA_DURATION_NS_MAX (INT64_MAX - 1) /* a caller may have INT64_MAX for what is too large for any number */

/* Zero-initialised it means: whole system, every known operation, default kinds, backend chosen here. */
struct aa_session_options {
	bool has_pid;
	pid_t pid; /* in the caller's pid namespace; checked at attach */
	bool follow;
	enum aa_until until;
	uint64_t operations;	  /* bit per enum aa_operation; 0 = AA_OPERATIONS_DEFAULT */
	uint64_t only_changes;	  /* of these operations only calls that change something: AA_GROUP_IN_PART */
	uint32_t kinds;		  /* bit per enum aa_kind; 0 = AA_KINDS_DEFAULT */
	const char *backend;	  /* name, or NULL to choose; copied */
	bool no_latency;	  /* no entry probe where the call's data can be had at its return */
	bool no_multi;		  /* kprobe: a probe for each function, where one link could serve all */
	bool errors_only;	  /* calls that succeed are filtered */
	uint64_t min_duration_ns; /* quicker calls are filtered; not with no_latency. At most AA_DURATION_NS_MAX */
	uint32_t total_rows;	  /* a power of two, AA_TOTAL_ROWS_MIN … _MAX; 0: nothing is totalled */
	bool witness_io;	  /* reads and writes that nothing traced explains are told and counted */
	bool no_events;		  /* totals alone: the stream has no events, and ends as ever */
	struct aa_rule_texts rules[AA_RULE_LISTS]; /* copied */
	uint32_t max_delay_ms;			   /* of an event in the ring, 1 … AA_DELAY_MS_MAX; 0 = default */
	uint64_t ring_bytes;			   /* power of two, AA_SIZE_BYTES_MIN … _MAX; 0 = default */
	uint64_t queue_bytes;			   /* AA_SIZE_BYTES_MIN … _MAX; 0 = default */
};

/* AA_ERROR_VALUE names the option that cannot be right and what may stand there. Attaches nothing, loads nothing. */
struct aa_error *aa_session_create(const struct aa_session_options *options, struct aa_session **ret_session);
/* Detaches if need be and frees. Accepts NULL. No other thread may be inside a call. */
void aa_session_destroy(struct aa_session *session);

/*
 * All or nothing: after an error nothing of this session is left in the kernel. AA_ERROR_STATE when attached already,
 * AA_ERROR_VALUE (0, negative, too large, a thread id, a kernel thread), AA_ERROR_NO_PROCESS (dead, zombie),
 * AA_ERROR_PERMISSION, _UNAVAILABLE, _ATTACH. Starts a new ledger and discards what was queued.
 */
struct aa_error *aa_session_attach(struct aa_session *session);
/* Replaces the pid for the next attach. */
struct aa_error *aa_session_set_target(struct aa_session *session, bool has_pid, pid_t pid);
/* The target of the next attach is a held process: of what it has mapped and opened only what passes its exec counts.
 */
void aa_session_set_held(struct aa_session *session, bool is_held);
/* Idempotent. With wait, returns when the kernel's lists hold nothing of ours; queued events stay readable. */
struct aa_error *aa_session_detach(struct aa_session *session, bool wait);
/* Detach, discard, wake the reader; idempotent. Afterwards only is_attached, stats, close and destroy do anything. */
struct aa_error *aa_session_close(struct aa_session *session);
/* In the child of a fork: close every descriptor and mapping, so that the parent's detach really detaches. The session
 * is inert from then on: every call that could fail returns AA_ERROR_STATE. */
void aa_session_after_fork_in_child(struct aa_session *session);

bool aa_session_is_attached(const struct aa_session *session);
bool aa_session_is_closed(const struct aa_session *session);
/* The pid of the constructor or of the last set_target; false = whole system. */
bool aa_session_target(struct aa_session *session, pid_t *ret_pid);
/* Name of the backend in use or last used; NULL before the first successful attach. A constant string. */
const char *aa_session_backend(const struct aa_session *session);

/*
 * Why better backends were not used by the last attach, in order of preference; and under AA_PASSED_OVER_RINGS why the
 * requests of io_uring are not followed although this kernel shows them.
 */
#define AA_PASSED_OVER_MAX 8
#define AA_PASSED_OVER_RINGS "io_uring"
struct aa_passed_over {
	char backend[16];
	char reason[512];
};
struct aa_passed_over_list {
	size_t count;
	struct aa_passed_over items[AA_PASSED_OVER_MAX];
};
/* A copy; while an attach is under way, of the one before. */
void aa_session_passed_over(struct aa_session *session, struct aa_passed_over_list *ret_list);

/* What the user of path rules should know of where they led at the last attach: a copy, one block, given back with
 * free(). */
struct aa_error *aa_session_rule_notes(struct aa_session *session, struct aa_rule_note **ret_notes, size_t *ret_count);

/* One probe, read back from the kernel where it tells (verified), else as we asked for it. */
struct aa_target {
	char program[64];
	char function[64];
	char backend[16];
	uint32_t link_id; /* 0: this kernel gives such links no id */
	uint32_t prog_id; /* 0: not attached */
	bool present;	  /* the kernel has such a call */
	bool verified;
};
/* A copy, given back with free(); empty when not attached. */
struct aa_error *aa_session_targets(struct aa_session *session, struct aa_target **ret_targets, size_t *ret_count);

/* Reading. The thread that acquired may peek, advance and wait. AA_ERROR_STATE: another thread is reading;
 * AA_ERROR_CLOSED. Cheap: one atomic exchange. */
struct aa_error *aa_session_reader_acquire(struct aa_session *session);
void aa_session_reader_release(struct aa_session *session);

enum aa_peek {
	AA_PEEK_EVENT,
	AA_PEEK_EMPTY,	   /* nothing now, more may come */
	AA_PEEK_END,	   /* nothing now and nothing will come: see `until` and detach */
	AA_PEEK_NO_MEMORY, /* there is an event, and no memory to show it: it stays, and the next peek tries again */
};
/* The next event without taking it; valid until aa_session_advance(). Never blocks. */
enum aa_peek aa_session_peek(struct aa_session *session, const struct aa_file_event **ret_event);
/* CLOCK_REALTIME - CLOCK_BOOTTIME at the attach, for the reader: it is that of the events it peeks at. */
int64_t aa_session_boottime_to_realtime_ns(const struct aa_session *session);
/* Takes the event of the last peek: counts it as delivered. */
void aa_session_advance(struct aa_session *session);
/* The same in two steps, for a reader of many: each is passed, and then all of them are counted as delivered at once.
 */
void aa_session_pass(struct aa_session *session);
void aa_session_passed(struct aa_session *session, uint64_t count);

enum aa_wait {
	AA_WAIT_READY, /* peek will not say EMPTY */
	AA_WAIT_TIMEOUT,
	AA_WAIT_INTERRUPTED, /* a signal arrived: let the interpreter look, then wait again */
};
#define AA_WAIT_FOREVER INT64_MAX
/* Waits without any lock until the deadline (CLOCK_MONOTONIC ns); a deadline in the past does not block. */
enum aa_wait aa_session_wait(struct aa_session *session, int64_t deadline_ns);
/* An eventfd, level-triggered: readable exactly when aa_session_wait would return READY at once. -1 once closed. */
int aa_session_fileno(const struct aa_session *session);

/*
 * Totals: calls of one process, one operation and one name of a file, counted in the kernel, so that they are exact
 * also when events are lost. Two rows may be about the same; they are to be added up.
 */
#define AA_TOTAL_HISTOGRAM 32
struct aa_total_row {
	const struct aa_file_event *first; /* what it is about; NULL: not known, or of all that found no row */
	uint64_t started_ns;		   /* the process: CLOCK_BOOTTIME. 0: of no single one */
	uint64_t calls, errors;
	uint64_t bytes;				/* moved */
	uint64_t duration_ns;			/* of all calls together; 0 with no_latency */
	uint64_t histogram[AA_TOTAL_HISTOGRAM]; /* calls of [2^i, 2^(i+1)) ns, the last one open; 0 with no_latency */
	uint8_t operation;			/* enum aa_operation */
};
/* As they are now, or were at detach; one block, given back with free(). AA_ERROR_STATE: not asked for, or never
 * attached; AA_ERROR_CLOSED. */
struct aa_error *aa_session_totals(struct aa_session *session, struct aa_total_row **ret_rows, size_t *ret_count);

/* The ledger. performed = delivered + queued + in_flight + filtered + counted + canaries + lost, exact once detached
 * and while exact. */
struct aa_stats {
	uint64_t performed, delivered, queued, in_flight, filtered;
	uint64_t counted;  /* with no_events: in the totals */
	uint64_t canaries; /* calls that aa_session_health() made itself */
	/* causes of loss */
	uint64_t ring_full, state_full, no_entry, no_exit, probe_missed, fork_map_full, queue_full, decode_error;
	/* beside it, not loss */
	uint64_t pre_attach, denied, compat_calls, blind_spots, bypass, path_truncated, path_unreadable;
	uint64_t watched; /* processes watched now; 0 for the whole system */
	bool exact;
	char inexact_reason[160];	  /* '' when exact */
	uint64_t boottime_to_realtime_ns; /* CLOCK_REALTIME - CLOCK_BOOTTIME at attach */
	const char *no_trace_reason;	  /* why there is no trace that the numbers could be of; NULL: there is one */
};
void aa_session_stats(struct aa_session *session, struct aa_stats *ret_stats);

/* What keeps the trace from being complete, as far as it is known by name: of the numbers above, which ones they are.
 */
enum aa_sign_what {
	AA_SIGN_CALL,	    /* an event of blind_spot */
	AA_SIGN_UNDER_WAY,  /* a call that had not returned when the probes went; or has not yet */
	AA_SIGN_MAPPING,    /* from before the trace: a shared mapping of a file that may be written to */
	AA_SIGN_CONNECTION, /* one to a server that does work for others */
	AA_SIGN_RING,	    /* of io_uring, whose requests are not followed */
	AA_SIGN_FAULTS,	    /* a userfaultfd */
	AA_SIGN_PROGRAM,    /* of 32 bits, whose calls are not followed */
	AA_SIGN_HIDDEN,	    /* a process that may not be looked at */
	AA_SIGN_LISTENER,   /* a seccomp filter whose listener answers calls of the process */
};
struct aa_sign {
	uint8_t what;	  /* enum aa_sign_what */
	bool is_named;	  /* `path` is the name of the very file or server, and whole */
	bool has_range;	  /* of the file: start … end, in bytes */
	bool is_writable; /* the mapping, as it was made */
	uint16_t call;	  /* of what was announced and of what is under way: aa_call_name(call) */
	uint32_t pid;	  /* in the reader's pid namespace; 0: not known */
	uint64_t count;	  /* so many alike */
	uint64_t start, end;
	char comm[16];
	char *path; /* or NULL */
};
/* A copy, paths and all, in one block given back with free(); empty where there is no trace. Asked for after the stats,
 * it has at least what they count. */
struct aa_error *aa_session_signs(struct aa_session *session, struct aa_sign **ret_signs, size_t *ret_count);

/* Whether the trace is still what was attached. */
#define AA_PROBLEMS_MAX 64
#define AA_PROBLEM_BYTES 192
struct aa_health {
	size_t links;	      /* found as they were made */
	bool has_canaries;    /* calls of our own were tried … */
	size_t canaries;      /* … so many */
	size_t problem_count; /* 0: all is well */
	char problems[AA_PROBLEMS_MAX][AA_PROBLEM_BYTES];
};
/* Waits for the canaries until the deadline (CLOCK_MONOTONIC ns). AA_ERROR_STATE: not attached; AA_ERROR_CLOSED. */
struct aa_error *aa_session_health(struct aa_session *session, int64_t deadline_ns, struct aa_health *ret_health);

/*
 * Between the two, what a trace had loaded stays in the kernel, attached nowhere, when its session is closed or
 * attached anew, and the next attach that asks for the same takes it over. Not by fentry, nor with path rules, nor
 * where one processor is online. Each begin has its end; with the last one all is unloaded.
 */
void aa_keep_loaded_begin(void);
void aa_keep_loaded_end(void);
/* In the child of a fork: what is kept is the parent's. */
void aa_keep_loaded_after_fork_in_child(void);

/* What a backend would need here, without attaching: for `doctor`. NULL reason = usable. */
struct aa_error *aa_backend_probe(const char *backend, char *ret_reason, size_t reason_bytes, bool *ret_usable);
const char *aa_backend_name(size_t index); /* in order of preference; NULL past the end */

/* The one table. Each returns NULL past the end (call) or for an unknown number. */
struct aa_call_info {
	const char *name;     /* "openat" */
	const char *program;  /* stem of its BPF programs: "aa_sys_openat" */
	const char *function; /* "__x64_sys_openat" */
	int number;	      /* x86_64 */
	uint8_t operation;    /* enum aa_operation */
	bool origin;	      /* one of the fourteen programs of KPROBE_TARGETS */
};
const struct aa_call_info *aa_call_info(size_t index);
/* A command of Linux AIO or an operation of io_uring: in an event's `call` behind the calls, in this order. */
struct aa_request_info {
	const char *name; /* "IOCB_CMD_PREAD", "IORING_OP_READ" */
	int number;	  /* the command or opcode; 255: any that is not known */
	uint8_t operation;
};
const struct aa_request_info *aa_aio_info(size_t index);
const struct aa_request_info *aa_ring_info(size_t index);
/* Of a call, a request, or an opener (bpf/openers.h); NULL: there is none behind that number. */
const char *aa_call_name(unsigned call);
unsigned aa_call_operation(unsigned call);
unsigned aa_call_via(unsigned call);   /* the way in: aa_via_name() */
const char *aa_via_name(unsigned via); /* "syscall", "io_uring", "aio", "exec", "kernel" */
const char *aa_operation_name(unsigned operation);
/* "default", "modify", "access", "always", "writes", and of these "in_part" */
bool aa_operation_in_group(unsigned operation, const char *group);
/* Whether the call is one of the group "writes": see bpf/changes.h. `other_kind`: of what a copy goes to;
 * AA_KIND_COUNT: not known. */
bool aa_event_changes(const struct aa_file_event *event, unsigned other_kind);
const char *aa_kind_name(unsigned kind);
bool aa_kind_is_default(unsigned kind);
const char *aa_path_source_name(unsigned source);
const char *aa_path_flag_name(unsigned bit); /* bit number 0…7 */

/* A command held before its exec by a futex: it makes no traced call between fork and exec. */
struct aa_held_process;
struct aa_held_options {
	const char *const *executables; /* candidates in order, NULL-terminated (the PATH search's outcome) */
	char *const *argv;
	char *const *envp; /* NULL = inherit */
	const char *cwd;   /* NULL = inherit */
	int stdio[3];	   /* descriptors to become 0, 1, 2; -1 = inherit */
	bool start_new_session;
	bool has_uid, has_gid, has_groups;
	uid_t uid;
	gid_t gid;
	const gid_t *groups; /* supplementary; without has_groups: none where has_uid, else as they are */
	size_t group_count;
	bool close_fds; /* none but 0, 1, 2 and these: */
	const int *pass_fds;
	size_t pass_fd_count;
	bool has_ignored;	/* else: those that are ignored here, but SIGPIPE and SIGXFSZ */
	uint64_t ignored;	/* signals that the command begins with ignored: bit number - 1; all others: default */
	bool keep_capabilities; /* CAP_BPF and CAP_PERFMON stay ambient and inheritable */
	bool uses_shell;	/* a file that is no program goes to /bin/sh, as by execvp(3) */
	bool keep_death_signal; /* the caller's PR_SET_PDEATHSIG becomes the command's */
};
/* AA_ERROR_SYSTEM with errno when the child cannot be made ready (cwd, setuid, dup2); the child is reaped then. */
struct aa_error *aa_held_process_create(const struct aa_held_options *options, struct aa_held_process **ret_held);
pid_t aa_held_process_pid(const struct aa_held_process *held);
/* Lets it exec and waits for the exec. AA_ERROR_SYSTEM with execve's errno when none could be executed (reaped). */
struct aa_error *aa_held_process_release(struct aa_held_process *held);
/* Frees; kills and reaps a child that was never released. Accepts NULL. */
void aa_held_process_destroy(struct aa_held_process *held);

#endif

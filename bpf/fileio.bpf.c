// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The ways in, generated from syscalls.h. One object for every kernel: what a kernel lacks is not loaded (the core sets
 * autoload and autocreate), never skipped behind an `if`. Sections are libbpf's with "aa_" before them: the core says
 * what their programs are (csrc/core/probe_object.c).
 */
#include "aio.bpf.h"
#include "below.bpf.h"
#include "ring.bpf.h"

char LICENSE[] SEC("license") = AA_LICENSE;

/* --- kprobe: entry kprobe and return kretprobe on each __x64_sys_<call>(const struct pt_regs *) --- */

/*
 * Each row has its own two programs, which only ask whether the process is watched; the rest is in two that all jump
 * to: a hundred copies would take a hundred times as long to verify.
 */
enum aa_jump { AA_JUMP_BEGIN, AA_JUMP_FINISH, AA_JUMP_COUNT };

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, AA_JUMP_COUNT);
	__type(key, __u32);
	__type(value, __u32);
} aa_kprobe_tail SEC(".maps");

static __always_inline int aa_kprobe_enter(struct pt_regs *ctx, __u32 call)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct pt_regs *user = (void *)ctx->di;
	struct aa_call_state *state;

	if (!aa_is_taken(aa_presence_of((__u32)pid_tgid), pid_tgid, call, user, &state) || !aa_control.gate)
		return 0;
	if (!state)
		state = aa_state_make((__u32)pid_tgid);
	if (state)
		state->next_call = call;
	bpf_tail_call(ctx, &aa_kprobe_tail, AA_JUMP_BEGIN);
	return 0;
}

/*
 * At the entry of a call of a watched thread. `row` is the one of the function that was probed; `user` the wrapper's
 * one argument: the caller's registers (CONFIG_ARCH_HAS_SYSCALL_WRAPPER).
 */
static __always_inline void aa_begin_by(struct aa_call_state *state, __u32 tid, __u32 row, struct pt_regs *user)
{
	bool compat = aa_is_compat();

	if (!state) {
		aa_begin_is_lost();
		return;
	}
	if (compat)
		row = aa_compat_row_of(aa_read(user, orig_ax), aa_read(user, bx));
	/* One function for several calls of which this is no row's (socketcall). */
	if (row >= AA_CALL_COUNT) {
		aa_settle_missed(state);
		state->phase = AA_PHASE_UNASKED;
		return;
	}
	if (aa_take_arguments(state, tid, user, compat, aa_read))
		aa_call_begins(state, tid, row);
}

/* Whether the thread has a state. */
static __always_inline bool aa_begin_jumped(struct pt_regs *user)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct aa_call_state *state = aa_state_of(tid);

	aa_begin_by(state, tid, state ? state->next_call : AA_CALL_COUNT, user);
	return state != NULL;
}

SEC("aa_kprobe")
int aa_kprobe_begin(struct pt_regs *ctx)
{
	aa_begin_jumped((void *)ctx->di);
	return 0;
}

#define aa_register_of(registers, name) ((registers)->name)

/* Taken at the return alone: a descriptor that is still there, and nobody asks how long it took. */
static __always_inline bool aa_is_exit_only(__u32 row)
{
	const volatile struct aa_call_spec *spec = aa_spec_of(row);

	return aa_config.exit_only && spec && AA_IS_BY_DESCRIPTOR(spec);
}

/* What an entry would have done; false when there is nothing to tell. */
static __always_inline bool aa_begin_at_return(struct aa_call_state *state, __u32 tid, __u32 row, struct pt_regs *user,
					       bool compat)
{
	if (aa_take_arguments(state, tid, user, compat, aa_register_of))
		aa_call_begins(state, tid, row);
	if (state->phase == AA_PHASE_IN_CALL)
		return true;
	/* What was set aside until its return has returned. */
	state->phase = AA_PHASE_IDLE;
	return false;
}

/* Only 32-bit calls have an entry probe: it may be one for all of them. */
static __always_inline bool aa_is_kprobe_exit_only(__u32 call)
{
	return aa_is_exit_only(call) && !aa_is_compat();
}

/* As aa_kprobe_returning(): a state that aa_kprobe_ends() is to begin first. */
static __always_inline struct aa_call_state *aa_kprobe_returning_alone(struct aa_call_state *state, __u32 tid,
								       __u32 call)
{
	if (!aa_control.gate)
		return NULL;
	if (!state)
		state = aa_state_make(tid);
	if (!state) {
		aa_begin_is_lost();
		return NULL;
	}
	aa_settle_missed(state);
	state->phase = AA_PHASE_IDLE;
	state->next_call = call;
	return state;
}

/* At a return: the state of the call that began, or NULL when there is nothing to tell. */
static __always_inline struct aa_call_state *aa_kprobe_returning(__u32 call)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct aa_call_state *state;

	if (!aa_is_watched_with(aa_presence_of((__u32)pid_tgid), pid_tgid, &state))
		return NULL;
	if (aa_is_kprobe_exit_only(call))
		return aa_kprobe_returning_alone(state, (__u32)pid_tgid, call);
	if (!state) {
		if (aa_control.gate)
			aa_count(pre_attach, 1);
		return NULL;
	}
	if (state->phase == AA_PHASE_UNASKED) {
		state->phase = AA_PHASE_IDLE;
		return NULL;
	}
	/* That function has a program of one row, and its entry has found which call it is. */
	if (call == AA_CALL_connect && state->phase == AA_PHASE_IN_CALL && state->compat == AA_COMPAT_SOCKETCALL)
		call = state->call;
	if (state->phase != AA_PHASE_IN_CALL || state->call != call) {
		if (aa_control.gate) {
			aa_count(performed, 1);
			aa_count(no_entry, 1);
		}
		return NULL;
	}
	return state;
}

static __always_inline void aa_return_is_lost(struct aa_call_state *state)
{
	if (aa_config.exit_only && state->phase != AA_PHASE_IN_CALL) {
		aa_count(performed, 1);
		aa_count(no_entry, 1);
	}
	aa_settle_missed(state);
}

/* What aa_kprobe_returning() has found. bpf_task_pt_regs() is of 5.15, before bpf_loop(). */
static __always_inline void aa_kprobe_ends(struct aa_call_state *state, __u32 tid, __s64 result, bool loops)
{
	if (!loops || !aa_config.exit_only || state->phase == AA_PHASE_IN_CALL ||
	    aa_begin_at_return(state, tid, state->next_call, (void *)bpf_task_pt_regs(bpf_get_current_task_btf()),
			       false))
		aa_call_ends(state, tid, result, loops);
}

static __always_inline int aa_kprobe_return(struct pt_regs *ctx, __u32 call)
{
	struct aa_call_state *state = aa_kprobe_returning(call);

	if (!state)
		return 0;
	bpf_tail_call(ctx, &aa_kprobe_tail, AA_JUMP_FINISH);
	aa_return_is_lost(state); /* the jump was refused */
	return 0;
}

static __always_inline int aa_kprobe_emit(struct pt_regs *ctx, bool loops)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct aa_call_state *state = aa_state_of(tid);

	if (state)
		aa_kprobe_ends(state, tid, (__s64)ctx->ax, loops);
	return 0;
}

/* One of the two is loaded. */
SEC("aa_kprobe")
int aa_kprobe_finish(struct pt_regs *ctx)
{
	return aa_kprobe_emit(ctx, false);
}

SEC("aa_kprobe")
int aa_kprobe_loop(struct pt_regs *ctx)
{
	return aa_kprobe_emit(ctx, true);
}

#define AA_X(program, ...)                                                                                             \
	SEC("aa_kprobe") int program(struct pt_regs *ctx)                                                              \
	{                                                                                                              \
		return aa_kprobe_enter(ctx, AA_CALL_OF(__VA_ARGS__));                                                  \
	}                                                                                                              \
	SEC("aa_kprobe") int program##_ret(struct pt_regs *ctx)                                                        \
	{                                                                                                              \
		return aa_kprobe_return(ctx, AA_CALL_OF(__VA_ARGS__));                                                 \
	}
#define AA_CALL_OF(call, ...) AA_CALL_##call
AA_CALLS(AA_X)
#undef AA_X

/* --- kprobe and fentry: all 32-bit calls at once, at ia32_sys_call(const struct pt_regs *, unsigned int) --- */

/*
 * The function that replaced the table of 32-bit calls (1e3ad78334a6, in 6.9 and the stable series). Where there is
 * none, the programs of each row hang on its 32-bit twins too.
 */
static __always_inline bool aa_compat_enters(struct pt_regs *user, struct aa_call_state **ret_state)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	__u32 row = aa_compat_row_of(aa_read(user, orig_ax), aa_read(user, bx));

	if (!aa_is_taken(aa_presence_of((__u32)pid_tgid), pid_tgid, row, user, ret_state) || !aa_control.gate ||
	    !aa_is_row_asked(row))
		return false;
	if (!*ret_state)
		*ret_state = aa_state_make((__u32)pid_tgid);
	return true;
}

/* As aa_kprobe_returning(). */
static __always_inline struct aa_call_state *aa_compat_returning(void)
{
	struct pt_regs *user = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
	struct aa_call_state *state = aa_state_of((__u32)bpf_get_current_pid_tgid());
	__u64 number = aa_read(user, orig_ax);
	__u32 row;

	/* What has become another program returns with a number of that program's table. */
	if (state && state->phase == AA_PHASE_IN_CALL && state->operation == AA_OPERATION_EXEC)
		return state;
	row = aa_compat_row_of(number, aa_read(user, bx));
	if (!aa_is_row_asked(row))
		return NULL;
	return aa_kprobe_returning(row);
}

SEC("aa_kprobe")
int aa_compat_enter(struct pt_regs *ctx)
{
	struct aa_call_state *state;

	if (aa_compat_enters((void *)ctx->di, &state))
		bpf_tail_call(ctx, &aa_kprobe_tail, AA_JUMP_BEGIN);
	return 0;
}

SEC("aa_kprobe")
int aa_compat_return(struct pt_regs *ctx)
{
	struct aa_call_state *state = aa_compat_returning();

	if (!state)
		return 0;
	bpf_tail_call(ctx, &aa_kprobe_tail, AA_JUMP_FINISH);
	aa_return_is_lost(state); /* the jump was refused */
	return 0;
}

/* Its type is one more than the calls have: these two jump nowhere. */
SEC("aa_fentry/ia32_sys_call")
int aa_compat_fentry(__u64 *ctx)
{
	struct pt_regs *user = (void *)ctx[0];
	struct aa_call_state *state;

	if (aa_compat_enters(user, &state))
		aa_begin_by(state, (__u32)bpf_get_current_pid_tgid(), AA_CALL_COUNT, user);
	return 0;
}

SEC("aa_fexit/ia32_sys_call")
int aa_compat_fexit(__u64 *ctx)
{
	struct aa_call_state *state = aa_compat_returning();

	if (state)
		aa_call_ends(state, (__u32)bpf_get_current_pid_tgid(), (__s64)ctx[2], true);
	return 0;
}

/* --- kprobe: below the calls --- */

static __always_inline struct aa_arguments aa_arguments_of(const struct pt_regs *ctx)
{
	return (struct aa_arguments){ .at = { ctx->di, ctx->si, ctx->dx, ctx->cx } };
}

#define AA_X(what, ...)                                                                                                \
	SEC("aa_kprobe") int aa_below_##what##_probe(struct pt_regs *ctx)                                              \
	{                                                                                                              \
		struct aa_arguments arguments = aa_arguments_of(ctx);                                                  \
                                                                                                                       \
		aa_below_##what(&arguments);                                                                           \
		return 0;                                                                                              \
	}
AA_BELOWS(AA_X)
#undef AA_X

/* Instead of aa_below_witnessed_probe and aa_below_moved_probe. */
#define AA_DEFINE_INSTEAD(suffix, handler)                                                                             \
	SEC("aa_kprobe")                                                                                               \
	int aa_below_##suffix(struct pt_regs *ctx)                                                                     \
	{                                                                                                              \
		struct aa_arguments arguments = aa_arguments_of(ctx);                                                  \
                                                                                                                       \
		handler(&arguments);                                                                                   \
		return 0;                                                                                              \
	}
AA_DEFINE_INSTEAD(witnessed_probe_loop, aa_below_witnessed_looped)
AA_DEFINE_INSTEAD(checked_probe, aa_below_checked)
AA_DEFINE_INSTEAD(checked_probe_loop, aa_below_checked_looped)
#undef AA_DEFINE_INSTEAD

/* --- kprobe.multi: one program and one link for all functions; the cookie says which --- */

SEC("aa_kprobe.multi")
int aa_multi_enter(struct pt_regs *ctx)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct pt_regs *user = (void *)ctx->di;
	__u32 call = bpf_get_attach_cookie(ctx);
	struct aa_call_state *state;

	if (!aa_is_taken(aa_presence_of((__u32)pid_tgid), pid_tgid, call, user, &state) || !aa_control.gate)
		return 0;
	aa_begin_by(state ?: aa_state_make((__u32)pid_tgid), (__u32)pid_tgid, call, user);
	return 0;
}

SEC("aa_kprobe.multi")
int aa_multi_return(struct pt_regs *ctx)
{
	struct aa_call_state *state = aa_kprobe_returning(bpf_get_attach_cookie(ctx));

	if (state)
		aa_kprobe_ends(state, (__u32)bpf_get_current_pid_tgid(), (__s64)ctx->ax, true);
	return 0;
}

SEC("aa_kprobe.multi")
int aa_multi_below(struct pt_regs *ctx)
{
	struct aa_arguments arguments = aa_arguments_of(ctx);
	__u64 what = bpf_get_attach_cookie(ctx);

	/* The cases below are not reached. */
	if (what == AA_BELOW_witnessed) {
		aa_below_witnessed_looped(&arguments);
		return 0;
	}
	if (aa_config.witness_io && what == AA_BELOW_moved) {
		aa_below_checked_looped(&arguments);
		return 0;
	}
	switch (what) {
#define AA_X(what, ...)                                                                                                \
	case AA_BELOW_##what:                                                                                          \
		aa_below_##what(&arguments);                                                                           \
		break;
		AA_BELOWS(AA_X)
#undef AA_X
	}
	return 0;
}

/* --- fentry: trampolines at the same functions, each with its own programs --- */

/*
 * A program jumps only to one that is attached alike: at its entry or its return, and to a function of the same type in
 * the kernel's BTF. Up to 6.12 that has the wrappers' one type twice (seven calls have the second), so all of this is
 * there twice, and the core chooses for each call.
 */
#define AA_DEFINE_FENTRY(suffix)                                                                                       \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_PROG_ARRAY);                                                                 \
		__uint(max_entries, AA_JUMP_COUNT);                                                                    \
		__type(key, __u32);                                                                                    \
		__type(value, __u32);                                                                                  \
	} aa_fentry_tail##suffix SEC(".maps"), aa_fexit_tail##suffix SEC(".maps");                                     \
                                                                                                                       \
	/* Attached nowhere: the core says to which function they are alike. */                                        \
	SEC("aa_fentry") int aa_fentry_begin##suffix(__u64 *ctx)                                                       \
	{                                                                                                              \
		if (!aa_fentry_jumped(ctx))                                                                            \
			aa_jump_nowhere(ctx, &aa_fentry_tail##suffix, AA_JUMP_FINISH);                                 \
		return 0;                                                                                              \
	}                                                                                                              \
	SEC("aa_fexit") int aa_fentry_finish##suffix(__u64 *ctx)                                                       \
	{                                                                                                              \
		if (!aa_fentry_emit(ctx, false))                                                                       \
			aa_jump_nowhere(ctx, &aa_fexit_tail##suffix, AA_JUMP_BEGIN);                                   \
		return 0;                                                                                              \
	}                                                                                                              \
	SEC("aa_fexit") int aa_fentry_loop##suffix(__u64 *ctx)                                                         \
	{                                                                                                              \
		if (!aa_fentry_emit(ctx, true))                                                                        \
			aa_jump_nowhere(ctx, &aa_fexit_tail##suffix, AA_JUMP_BEGIN);                                   \
		return 0;                                                                                              \
	}

/*
 * From 6.13 on a program of some stack has it not on the thread's own but in one place for each CPU (private stacks,
 * a76ab5731e32): the kernel does not run a program twice at once on a CPU. But what is jumped to is not guarded so,
 * only what jumps. Where these programs can be preempted, two threads used that place at once, and one's events had
 * the other's names and results (6.16: 43 of 356,119 events of processes that work in folders of their own). Kprobe's
 * programs run one at a time on a CPU. A program that may jump itself has no private stack.
 */
#ifdef AA_DIRECT
#define aa_jump_nowhere(ctx, map, jump) bpf_tail_call(ctx, map, jump)
#else
#define aa_jump_nowhere(ctx, map, jump) ((void)0)
#endif

/* Copied, an argument is a plain number to the verifier: 5.10 knows one of the types by name only. */
static __always_inline struct pt_regs *aa_fentry_user(__u64 *ctx)
{
	__u64 user = 0;

	bpf_probe_read_kernel(&user, sizeof(user), ctx);
	return (void *)user;
}

static __always_inline bool aa_fentry_enters(__u64 *ctx, __u32 call)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	/* Of the others nobody asks: a copy is a tenth of what a foreign call costs. */
	struct pt_regs *user = aa_reaches(call) ? aa_fentry_user(ctx) : NULL;
	struct aa_call_state *state;

	if (!aa_is_taken(aa_presence_of((__u32)pid_tgid), pid_tgid, call, user, &state) || !aa_control.gate)
		return false;
	if (!state)
		state = aa_state_make((__u32)pid_tgid);
	if (state)
		state->next_call = call;
	return true;
}

static __always_inline bool aa_fentry_emit(__u64 *ctx, bool loops)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct aa_call_state *state = aa_state_of(tid);

	if (state)
		aa_kprobe_ends(state, tid, (__s64)ctx[1], loops);
	return state != NULL;
}

static __always_inline bool aa_fentry_jumped(__u64 *ctx)
{
	return aa_begin_jumped(aa_fentry_user(ctx));
}

AA_DEFINE_FENTRY()
AA_DEFINE_FENTRY(_other)

#define AA_DEFINE_FENTRY_CALL(program, call, suffix)                                                                   \
	SEC("aa_fentry") int program##_fentry##suffix(__u64 *ctx)                                                      \
	{                                                                                                              \
		if (aa_fentry_enters(ctx, AA_CALL_##call))                                                             \
			bpf_tail_call(ctx, &aa_fentry_tail##suffix, AA_JUMP_BEGIN);                                    \
		return 0;                                                                                              \
	}                                                                                                              \
	SEC("aa_fexit") int program##_fexit##suffix(__u64 *ctx)                                                        \
	{                                                                                                              \
		struct aa_call_state *state = aa_kprobe_returning(AA_CALL_##call);                                     \
                                                                                                                       \
		if (!state)                                                                                            \
			return 0;                                                                                      \
		bpf_tail_call(ctx, &aa_fexit_tail##suffix, AA_JUMP_FINISH);                                            \
		aa_return_is_lost(state); /* the jump was refused */                                                   \
		return 0;                                                                                              \
	}
#define AA_X(program, call, ...)                                                                                       \
	AA_DEFINE_FENTRY_CALL(program, call, )                                                                         \
	AA_DEFINE_FENTRY_CALL(program, call, _other)
AA_CALLS(AA_X)
#undef AA_X

/* A program may read no more arguments than its function has; copied, they are plain numbers to the verifier. */
#define AA_X(what, function, arguments_, ...)                                                                          \
	SEC("aa_fentry/" #function) int aa_below_##what##_fentry(__u64 *ctx)                                           \
	{                                                                                                              \
		struct aa_arguments arguments = {};                                                                    \
                                                                                                                       \
		bpf_probe_read_kernel(&arguments, arguments_ * sizeof(__u64), ctx);                                    \
		aa_below_##what(&arguments);                                                                           \
		return 0;                                                                                              \
	}
AA_BELOWS(AA_X)
#undef AA_X

/* Instead of aa_below_witnessed_fentry and aa_below_moved_fentry. */
#define AA_DEFINE_INSTEAD(suffix, function, count, handler)                                                            \
	SEC("aa_fentry/" #function)                                                                                    \
	int aa_below_##suffix(__u64 *ctx)                                                                              \
	{                                                                                                              \
		struct aa_arguments arguments = {};                                                                    \
                                                                                                                       \
		bpf_probe_read_kernel(&arguments, (count) * sizeof(__u64), ctx);                                       \
		handler(&arguments);                                                                                   \
		return 0;                                                                                              \
	}
AA_DEFINE_INSTEAD(witnessed_fentry_loop, security_file_open, 1, aa_below_witnessed_looped)
AA_DEFINE_INSTEAD(checked_fentry, security_file_permission, 2, aa_below_checked)
AA_DEFINE_INSTEAD(checked_fentry_loop, security_file_permission, 2, aa_below_checked_looped)
#undef AA_DEFINE_INSTEAD

/* --- tracepoint: sys_enter and sys_exit, dispatched by call number --- */

/*
 * Calls that can put another file behind a descriptor, or move a current directory: which argument (from 1) says which
 * descriptor, by number in the 64-bit and in the 32-bit table (arch/x86/entry/syscalls/). And of the 64-bit ones those
 * that give a descriptor: what was not given can be closed while the open that gets it is under way.
 */
#define AA_GIVES_A_COPY 10	/* fcntl, where it is F_DUPFD */
#define AA_GIVES_TWO_BY_4 11	/* socketpair: two new descriptors, where its fourth argument points */
#define AA_GIVES_TWO_BY_1 12	/* pipe */
#define AA_GIVES 13		/* the result is a new descriptor */
#define AA_CHANGES_ALL 14	/* close_range: any descriptor */
#define AA_CHANGES_DIRECTORY 15 /* chdir, fchdir, chroot */
#define AA_CHANGES(native, compat) ((native) | (compat) << 4)
const volatile __u8 aa_changes_by_number[AA_NUMBER_LIMIT] = {
	[3] = AA_CHANGES(1, 0),				    /* close */
	[33] = AA_CHANGES(2, 0),			    /* dup2 */
	[292] = AA_CHANGES(2, 0),			    /* dup3 */
	[436] = AA_CHANGES(AA_CHANGES_ALL, AA_CHANGES_ALL), /* close_range, in both */
	[80] = AA_CHANGES(AA_CHANGES_DIRECTORY, 0),	    /* chdir */
	[81] = AA_CHANGES(AA_CHANGES_DIRECTORY, 0),	    /* fchdir */
	[161] = AA_CHANGES(AA_CHANGES_DIRECTORY, 0),	    /* chroot */
	[22] = AA_CHANGES(AA_GIVES_TWO_BY_1, 0),	    /* pipe */
	[293] = AA_CHANGES(AA_GIVES_TWO_BY_1, 0),	    /* pipe2 */
	[53] = AA_CHANGES(AA_GIVES_TWO_BY_4, 0),	    /* socketpair */
	[72] = AA_CHANGES(AA_GIVES_A_COPY, 0),		    /* fcntl */
	[32] = AA_CHANGES(AA_GIVES, 0),			    /* dup */
	[41] = AA_CHANGES(AA_GIVES, 0),			    /* socket */
	[43] = AA_CHANGES(AA_GIVES, 0),			    /* accept */
	[288] = AA_CHANGES(AA_GIVES, 0),		    /* accept4 */
	[213] = AA_CHANGES(AA_GIVES, 0),		    /* epoll_create */
	[291] = AA_CHANGES(AA_GIVES, 0),		    /* epoll_create1 */
	[284] = AA_CHANGES(AA_GIVES, 0),		    /* eventfd */
	[290] = AA_CHANGES(AA_GIVES, 0),		    /* eventfd2 */
	[283] = AA_CHANGES(AA_GIVES, 0),		    /* timerfd_create */
	[253] = AA_CHANGES(AA_GIVES, 0),		    /* inotify_init */
	[294] = AA_CHANGES(AA_GIVES, 0),		    /* inotify_init1 */
	[319] = AA_CHANGES(AA_GIVES, 0),		    /* memfd_create */
	[434] = AA_CHANGES(AA_GIVES, 0),		    /* pidfd_open */
	[6] = AA_CHANGES(0, 1),				    /* close */
	[63] = AA_CHANGES(0, 2),			    /* dup2 */
	[330] = AA_CHANGES(0, 2),			    /* dup3 */
	[12] = AA_CHANGES(0, AA_CHANGES_DIRECTORY),	    /* chdir */
	[133] = AA_CHANGES(0, AA_CHANGES_DIRECTORY),	    /* fchdir */
	[61] = AA_CHANGES(0, AA_CHANGES_DIRECTORY),	    /* chroot */
};

/* By which of the two tables a call of that number is to be looked at: the core fills it in, for what was asked for. */
const volatile __u8 aa_interest_by_number[AA_NUMBER_LIMIT] = {};

/* Nobody else has the current thread's descriptors or directory, nor can come to have them while it is in its call. */
static __always_inline bool aa_is_alone(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return aa_read(task, files, count.counter) < 2 && aa_read(task, fs, users) < 2 && !aa_has_ring(task);
}

/*
 * Whether such a call of a thread is over before it begins: no operation, no change that others could feel, and nothing
 * under way to end.
 */
static __always_inline bool aa_is_of_no_interest(const struct aa_presence *presence, __u32 tid, __u64 number,
						 bool is_entry)
{
	__u8 interest;
	bool compat;

	if (!presence->states || *(volatile const __u32 *)&presence->idle != tid)
		return false;
	if (number >= AA_NUMBER_LIMIT)
		return true;
	interest = aa_interest_by_number[number & (AA_NUMBER_LIMIT - 1)];
	if (!interest || interest == (AA_INTEREST_NATIVE | AA_INTEREST_COMPAT))
		return !interest;
	compat = aa_is_compat();
	if (!(interest & (compat ? AA_INTEREST_COMPAT : AA_INTEREST_NATIVE)))
		return true;
	return !compat && interest & AA_INTEREST_IF_SHARED && (!is_entry || aa_is_alone());
}

/* A call that returns a new descriptor of a table that others share, whether somebody asked for it or not. */
static __always_inline void aa_gift_begins(struct aa_call_state *state)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	if (!state || aa_read(task, files, count.counter) < 2)
		return;
	state->gives = 1;
	aa_newcomer_begins(&state->newcomer, task);
}

static __always_inline void aa_gift_of(struct aa_call_state *state, struct files_struct *files, __s32 fd)
{
	__u64 begun;

	if (fd >= 0 && aa_is_fresh(&state->newcomer, files, fd, &begun))
		aa_note_given(files, fd, aa_key_of_descriptor(files, fd), begun);
}

/* At its return: what it got. Or what dup2 has put there. */
AA_DEFINE_FIRST_STEP(aa_gift_ends, __s64 result, __u32 what, __u64 two_at)
{
	AA_FIRST_STEP_BEGINS
	struct task_struct *task = (void *)bpf_get_current_task();
	struct files_struct *files = aa_read(task, files);
	__s32 two[2] = { result, -1 };

	if (!state || result < 0)
		return 0;
	if (what == 2) {
		aa_note_given(files, result, aa_key_of_descriptor(files, result), state->change.number);
		return 0;
	}
	if (two_at && bpf_probe_read_user(two, sizeof(two), (void *)two_at))
		return 0;
	aa_gift_of(state, files, two[0]);
	if (two_at)
		aa_gift_of(state, files, two[1]);
	return 0;
}

static __always_inline void aa_change_returns(struct aa_call_state *state, __u32 tid, struct pt_regs *regs,
					      __s64 result)
{
	bool has_changed = state->change.is_under_way;
	__u64 number = regs->orig_ax;
	__u32 what;

	if (!has_changed && !state->gives)
		return;
	aa_change_ends(&state->change, tid);
	what = number < AA_NUMBER_LIMIT ? aa_changes_by_number[number & (AA_NUMBER_LIMIT - 1)] & 15 : 0;
	if (state->gives || (has_changed && what == 2 && state->change.is_lone))
		aa_first_step(aa_gift_ends, result, what,
			      what == AA_GIVES_TWO_BY_1 ? regs->di :
			      what == AA_GIVES_TWO_BY_4 ? regs->r10 :
							  0);
	state->gives = 0;
}

/* Which descriptor a change of that kind is of. */
static __always_inline __s32 aa_changed_fd(struct pt_regs *regs, __u8 what, bool compat)
{
	if (what == 1)
		return compat ? regs->bx : regs->di;
	return what == 2 ? (compat ? regs->cx : regs->si) : AA_ALL_DESCRIPTORS;
}

/* Clang 16 adds to the pointer before it compares it with NULL, which the verifier refuses. */
static __always_inline struct aa_change *aa_change_of(struct aa_call_state *state)
{
	if (!state)
		return NULL;
	asm volatile("" : "+r"(state));
	return &state->change;
}

/* Of plain numbers: the programs of an entry have no room for it. */
__noinline int aa_step_change(__u32 tid, __u32 what, __u32 fd)
{
	struct aa_change *change = aa_change_of(aa_state_of(tid));

	if (what == AA_CHANGES_DIRECTORY)
		aa_directory_changes(change, tid);
	else
		aa_descriptor_changes(change, tid, (__s32)fd);
	return 0;
}

static __always_inline void aa_note_change(struct aa_call_state *state, __u32 tid, struct pt_regs *regs, __u64 number)
{
	__u8 what;
	bool compat;

	if (number >= AA_NUMBER_LIMIT || !(what = aa_changes_by_number[number & (AA_NUMBER_LIMIT - 1)]))
		return;
	compat = aa_is_compat();
	what = compat ? what >> 4 : what & 15;
	if (what == AA_CHANGES_DIRECTORY || what == AA_CHANGES_ALL || what == 1 || what == 2)
		aa_step_change(tid, what, aa_changed_fd(regs, what, compat));
	else if (what && (what != AA_GIVES_A_COPY || (__u32)regs->si == F_DUPFD || (__u32)regs->si == F_DUPFD_CLOEXEC))
		aa_gift_begins(state);
}

#define AA_COMPAT_PTRACE 26 /* in the 32-bit table; pidfd_getfd() has one number in both */
#define AA_COMPAT_PROCESS_VM_WRITEV 348

/* Of the calls that are taken of anybody; without the table, for this is asked of every call on the machine. */
static __always_inline __u32 aa_stranger_row_of(__u64 number)
{
#define AA_X(program, call, function, number_, ...) [AA_CALL_##call] = number_,
	static const __u16 numbers[] = { AA_CALLS(AA_X) };
#undef AA_X

	/* Below all three, as most calls are: two comparisons. */
	if (number < numbers[AA_CALL_ptrace] && number < numbers[AA_CALL_process_vm_writev] &&
	    number < numbers[AA_CALL_pidfd_getfd] && number != AA_COMPAT_PTRACE)
		return AA_CALL_COUNT;
	if (number == numbers[AA_CALL_pidfd_getfd])
		return AA_CALL_pidfd_getfd;
	if (number == numbers[AA_CALL_ptrace] || number == numbers[AA_CALL_process_vm_writev])
		return aa_is_compat()			 ? AA_CALL_COUNT :
		       number == numbers[AA_CALL_ptrace] ? AA_CALL_ptrace :
							   AA_CALL_process_vm_writev;
	if ((number != AA_COMPAT_PTRACE && number != AA_COMPAT_PROCESS_VM_WRITEV) || !aa_is_compat())
		return AA_CALL_COUNT;
	return number == AA_COMPAT_PTRACE ? AA_CALL_ptrace : AA_CALL_process_vm_writev;
}

static __always_inline int aa_tracepoint_enter(struct pt_regs *regs, __u64 number)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	__u32 tid = pid_tgid, row;
	const struct aa_presence *presence;
	struct aa_call_state *state;
	bool compat;

	/* Its return will tell all of it, unless it changes what names start from, as dup2 and fchdir do. */
	if (aa_config.exit_only && aa_is_exit_only(aa_row_of(number)) && !aa_is_compat() &&
	    !(aa_changes_by_number[number & (AA_NUMBER_LIMIT - 1)] & 15))
		return 0;
	presence = aa_presence_of(tid);
	if (!aa_control.gate || aa_is_of_no_interest(presence, tid, number, true))
		return 0;
	if (!aa_is_taken(presence, pid_tgid, aa_stranger_row_of(number), regs, &state)) {
		/* Who is not watched may still share a watched process's table or directory (CLONE_FILES, CLONE_FS). */
		aa_note_change(NULL, tid, regs, number);
		return 0;
	}
	/* For every call, so that a return without an entry can be told: see aa_exit_without_entry(). */
	if (!state)
		state = aa_state_make(tid);
	aa_note_change(state, tid, regs, number);
	compat = aa_is_compat();
	row = compat ? aa_compat_row_of(number, regs->bx) : aa_row_of(number);
	if (aa_is_row_asked(row) && !aa_is_exit_only(row)) {
		if (!state)
			aa_begin_is_lost();
		else if (aa_take_arguments(state, tid, regs, compat, aa_register_of))
			aa_call_begins(state, tid, row);
	}
	if (state)
		aa_set_idle(tid, state->phase == AA_PHASE_IDLE && !state->change.is_under_way && !state->gives);
	return 0;
}

/*
 * A thread we have seen entering some call enters each by sys_enter, unless seccomp or a ptracer refuses the call
 * before that tracepoint: the kernel then goes straight to the exit (kernel/entry, syscall_trace_enter()). A thread
 * whose first sign is a return had entered before we attached.
 */
static __always_inline int aa_exit_without_entry(const struct aa_call_state *state)
{
	if (state)
		aa_count(denied, 1);
	else
		aa_count(pre_attach, 1);
	return 0;
}

static __always_inline int aa_tracepoint_return(struct pt_regs *regs, __s64 result, bool loops)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	__u32 tid = pid_tgid, row;
	const struct aa_presence *presence = aa_presence_of(tid);
	struct aa_call_state *state;
	bool is_exec, compat;

	if (aa_is_of_no_interest(presence, tid, regs->orig_ax, false))
		return 0;
	if (!aa_is_watched_with(presence, pid_tgid, &state)) {
		aa_change_ends(NULL, tid);
		return 0;
	}
	if (state) {
		aa_change_returns(state, tid, regs, result);
		aa_set_idle(tid, true); /* by the end of this, whatever it is */
	} else {
		aa_change_ends(NULL, tid);
	}
	is_exec = state && state->phase == AA_PHASE_IN_CALL && state->operation == AA_OPERATION_EXEC;
	compat = aa_is_compat();
	row = compat ? aa_compat_row_of(regs->orig_ax, regs->bx) : aa_row_of(regs->orig_ax);
	if (state && state->phase == AA_PHASE_UNASKED) {
		state->phase = AA_PHASE_IDLE;
		return 0;
	}
	/* What has become another program returns with a number of that program's table. */
	if (state && !is_exec && row != state->call)
		aa_settle_missed(state); /* and so was the entry of the call that returns now */
	if (!state || state->phase != AA_PHASE_IN_CALL) {
		if (!aa_control.gate || !aa_is_row_asked(row))
			return 0;
		if (!aa_is_exit_only(row))
			return aa_exit_without_entry(state);
		if (!state)
			state = aa_state_make(tid);
		if (!state) {
			aa_begin_is_lost();
			return 0;
		}
		if (!aa_begin_at_return(state, tid, row, regs, compat))
			return 0;
	}
	aa_call_ends(state, tid, result, loops);
	return 0;
}

SEC("aa_tp_btf/sys_enter")
int aa_sys_enter(__u64 *ctx) /* regs, number */
{
	return aa_tracepoint_enter((void *)ctx[0], ctx[1]);
}

/* One of the two is loaded. */
SEC("aa_tp_btf/sys_exit")
int aa_sys_exit(__u64 *ctx) /* regs, result */
{
	return aa_tracepoint_return((void *)ctx[0], ctx[1], false);
}

SEC("aa_tp_btf/sys_exit")
int aa_sys_exit_loop(__u64 *ctx)
{
	return aa_tracepoint_return((void *)ctx[0], ctx[1], true);
}

/*
 * The same by perf's events of these tracepoints, for kernels from 7.0 on. There a raw tracepoint's programs can be
 * preempted (f7d327654b88, a46023d5616e), and the kernel skips a program that runs on the same CPU already: a task that
 * is preempted inside ours costs the calls of all others there meanwhile (measured on 7.2: 3,890 of 12,000). Perf turns
 * preemption off around its programs, so nothing can come between.
 */
SEC("aa_tracepoint")
int aa_event_sys_enter(__u64 *ctx) /* common fields, number, arguments */
{
	return aa_tracepoint_enter((void *)bpf_task_pt_regs(bpf_get_current_task_btf()), ctx[1]);
}

SEC("aa_tracepoint")
int aa_event_sys_exit(__u64 *ctx) /* common fields, number, result */
{
	return aa_tracepoint_return((void *)bpf_task_pt_regs(bpf_get_current_task_btf()), ctx[2], true);
}

/* --- every backend: the tree grows, threads end --- */

/*
 * From 7.0 on several stand in a row at each of these tracepoints, alike but for their place: see aa_event_sys_enter().
 * The first that the kernel does run does the work; the others find it done. Nothing is missed unless all are skipped.
 */
static __always_inline void aa_fork_task(struct task_struct *parent, struct task_struct *child)
{
	/* Before whoever shares the table can run. The parent's own must not be the oldest there, however many it
	 * makes. */
	if (aa_is_watched((__u64)aa_read(parent, tgid) << 32 | aa_read(parent, pid))) {
		aa_table_add(parent);
		aa_table_add(child);
	}
	aa_filter_fork(parent, child);
}

#define AA_DEFINE_FORK(name)                                                                                           \
	SEC("aa_tp_btf/sched_process_fork") int name(__u64 *ctx)                                                       \
	{                                                                                                              \
		aa_fork_task((void *)ctx[0], (void *)ctx[1]);                                                          \
		return 0;                                                                                              \
	}
AA_DEFINE_FORK(aa_process_fork)
AA_DEFINE_FORK(aa_process_fork_1)
AA_DEFINE_FORK(aa_process_fork_2)
AA_DEFINE_FORK(aa_process_fork_3)

static __always_inline int aa_exit_task(struct task_struct *task)
{
	aa_aio_drop(aa_state_of(aa_read(task, pid)), aa_read(task, pid));
	aa_abandon(aa_read(task, pid));
	if (aa_filter_exit(task)) {
		/* Nothing to say but that there is something to see: the reader may be waiting for the end. */
		void *nothing = bpf_ringbuf_reserve(&aa_ring, 8, 0);

		if (nothing)
			bpf_ringbuf_discard(nothing, BPF_RB_FORCE_WAKEUP);
	}
	return 0;
}

#define AA_DEFINE_PROCESS_EXIT(name)                                                                                   \
	SEC("aa_tp_btf/sched_process_exit") int name(__u64 *ctx)                                                       \
	{                                                                                                              \
		return aa_exit_task((void *)ctx[0]);                                                                   \
	}
AA_DEFINE_PROCESS_EXIT(aa_process_exit)
AA_DEFINE_PROCESS_EXIT(aa_process_exit_1)
AA_DEFINE_PROCESS_EXIT(aa_process_exit_2)
AA_DEFINE_PROCESS_EXIT(aa_process_exit_3)

/* Of "/dev/fd/N", which the kernel puts before what execveat() was passed with a descriptor. */
static __always_inline __u32 aa_dev_fd_bytes(__u32 fd)
{
	__u32 bytes = sizeof("/dev/fd/"), limit = 10; /* N has one digit at least */

	for (; bytes < sizeof("/dev/fd/") + 9 && fd >= limit; bytes++)
		limit *= 10;
	return bytes;
}

/*
 * The kernel's copy of the name, and the file that it executes: what stands in the caller's memory may be another name
 * by now, and is gone at the return. Of a script the file here is its interpreter, which is not what was asked for.
 */
static __always_inline void aa_name_of_exec(struct aa_call_state *state, struct linux_binprm *program)
{
	const char *name = aa_read(program, filename);
	__u32 prefix = 0;
	char next = 0;
	long bytes;

	if (aa_read(program, interp) == name)
		aa_identify(aa_read(program, file), &state->used[0]);
	if (bpf_core_field_exists(program->fdpath) && aa_read(program, fdpath)) {
		prefix = aa_dev_fd_bytes(state->fd[0]);
		bpf_probe_read_kernel(&next, 1, name + prefix);
		state->by_fd[0] = !next;
		state->name_bytes[0] = 0;
		if (!next)
			return;
		prefix++;
	}
	bytes = bpf_probe_read_kernel_str(state->name[0], AA_NAME_BYTES, name + prefix);
	if (bytes <= 0)
		return;
	state->name_bytes[0] = bytes - 1;
	state->name_is_long[0] = bytes == AA_NAME_BYTES;
	state->name_from[0] = aa_read(program, exec) + prefix;
	state->name_is_late[0] = 0;
	state->name_is_kernels = 1;
}

/* Where its calls cannot be seen, a 32-bit program is announced as it begins: once, whatever spare program comes after.
 */
static __always_inline void aa_announce_compat(struct aa_call_state *state)
{
	if (state && state->is_compat_announced)
		return;
	aa_count(blind_spots, 1);
	if (state)
		state->is_compat_announced = 1;
}

/*
 * An exec by another thread than the first: that thread takes the first one's number, whose own state went at its exit
 * (de_thread()). What it has under way goes on under the new number.
 */
static __always_inline int aa_exec_task(struct task_struct *task, __u32 old_tid, struct linux_binprm *program)
{
	__u32 tid = aa_read(task, pid);
	struct aa_call_state *state;

	state = aa_state_of(old_tid);
	if (aa_config.compat_unseen && aa_control.gate && aa_is_compat() && aa_is_watched(bpf_get_current_pid_tgid()))
		aa_announce_compat(state ?: aa_state_make(tid));
	if (!state)
		return 0;
	if (state->phase == AA_PHASE_IN_CALL && state->operation == AA_OPERATION_EXEC)
		aa_name_of_exec(state, program);
	if (tid == old_tid)
		return 0;
	/* It is told anew, under its new number. */
	if (state->was_thread_told)
		aa_tell_end(old_tid);
	state->has_numbers = 0;
	state->is_thread_told = 0;
	state->was_thread_told = 0;
	__builtin_memset(state->files, 0, sizeof(state->files));
	aa_state_drop(tid); /* the first thread's, if its exit left it */
	aa_state_add(tid, state);
	if (state->has_acted) {
		struct aa_acted *acted = bpf_map_lookup_elem(&aa_acted, &old_tid);

		if (acted)
			bpf_map_update_elem(&aa_acted, &tid, acted, BPF_ANY);
		bpf_map_delete_elem(&aa_acted, &old_tid);
	}
	aa_state_drop(old_tid);
	return 0;
}

#define AA_DEFINE_PROCESS_EXEC(name)                                                                                   \
	SEC("aa_tp_btf/sched_process_exec") int name(__u64 *ctx)                                                       \
	{                                                                                                              \
		return aa_exec_task((void *)ctx[0], ctx[1], (void *)ctx[2]);                                           \
	}
AA_DEFINE_PROCESS_EXEC(aa_process_exec)
AA_DEFINE_PROCESS_EXEC(aa_process_exec_1)
AA_DEFINE_PROCESS_EXEC(aa_process_exec_2)
AA_DEFINE_PROCESS_EXEC(aa_process_exec_3)

/* Run by the core (BPF_PROG_TEST_RUN) in the thread that is to be watched for a moment: only here its number is known
 * whatever the pid namespace. */
SEC("aa_raw_tp")
int aa_watch_me(void *ctx)
{
	aa_control.canary_tid = (__u32)bpf_get_current_pid_tgid();
	return 0;
}

#define AA_FILTERS_LOOKED_AT 16

/*
 * Somebody answers calls of the thread (seccomp's user notification), and may put files behind its descriptors: told of
 * a thread that has other filters than its process's first one, and of that. Of too many filters it is taken for
 * granted.
 */
static __always_inline bool aa_has_listener(struct task_struct *task)
{
	struct task_struct *leader = aa_read(task, group_leader);
	struct seccomp_filter *filter;
	__u32 i;

	if (!bpf_core_field_exists(task->seccomp.filter))
		return false;
	filter = aa_read(task, seccomp.filter);
	if (leader != task && filter == aa_read(leader, seccomp.filter))
		return false;
	for (i = 0; i < AA_FILTERS_LOOKED_AT && filter; i++) {
		if (aa_read(filter, notif))
			return true;
		filter = aa_read(filter, prev);
	}
	return filter != NULL;
}

/* Read by the core to seed the tree: every task that the reader's pid namespace shows. */
SEC("aa_iter/task")
int aa_list_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct aa_task entry = {};
	struct pid *thread, *process;
	struct upid *numbers, upid = {};
	struct pid_namespace *namespace;
	__u32 level, deepest;

	if (!task)
		return 0;
	aa_control.faults_are_misses = bpf_core_field_exists(((struct kprobe *)0)->fault_handler);
	/* Whoever reads the list is the reader. */
	if ((void *)bpf_get_current_task() == task) {
		aa_control.reader_root_dentry = (__u64)(long)aa_read(task, fs, root.dentry);
		aa_control.reader_root_mount = (__u64)(long)aa_read(task, fs, root.mnt);
	}
	entry.tgid = aa_read(task, tgid);
	entry.tid = aa_read(task, pid);
	entry.parent_tgid = aa_read(task, real_parent, tgid);
	entry.is_live = aa_read(task, signal, live.counter) > 0;
	entry.has_listener = aa_has_listener(task);
	thread = aa_read(task, thread_pid);
	process = aa_read(task, signal, pids[AA_PIDTYPE_TGID]);
	if (!thread || !process)
		return 0;
	deepest = aa_read(thread, level);
	for (level = 0; level < 32; level++) {
		if (level > deepest)
			return 0;
		numbers = (void *)thread + bpf_core_field_offset(struct pid, numbers);
		bpf_probe_read_kernel(&upid, sizeof(upid), &numbers[level]);
		namespace = upid.ns;
		if (aa_read(namespace, ns.inum) == aa_config.reader_pid_namespace)
			break;
	}
	if (level == 32)
		return 0;
	entry.reader_level = level;
	entry.reader_tid = upid.nr;
	numbers = (void *)process + bpf_core_field_offset(struct pid, numbers);
	bpf_probe_read_kernel(&upid, sizeof(upid), &numbers[level & 31]);
	entry.reader_tgid = upid.nr;
	/* Those that have come to be watched by now: the core lists until nothing new is found. */
	if (aa_is_watched((__u64)entry.tgid << 32 | entry.tid))
		aa_table_add(task);
	bpf_seq_write(ctx->meta->seq, &entry, sizeof(entry));
	return 0;
}

/* Each connection that a watched process has to one that does work for others; and, of everybody else, sockets. */
SEC("aa_iter/task_file")
int aa_list_connections(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct aa_connection found;

	if (!task || !file)
		return 0;
	found.tgid = aa_read(task, tgid);
	if (!aa_is_watched((__u64)found.tgid << 32 | (__u32)aa_read(task, pid)))
		aa_note_outside(file);
	else if (aa_leads_to_manager(file, &found.name) && !aa_other_end_is_watched(file))
		bpf_seq_write(ctx->meta->seq, &found, sizeof(found));
	return 0;
}

/* What the kernel has for each file that the reader has open: see aa_rules_of_inode(). */
SEC("aa_iter/task_file")
int aa_list_own_files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;

	if (task && file)
		aa_list_file_of_reader(ctx, task, file);
	return 0;
}

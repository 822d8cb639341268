/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The life of one call, the same for every backend: begin at its entry, finish and emission at its return.
 *
 * What is known at the entry waits in a map under the thread's id. The thread owns that value alone, so neither
 * preemption nor nesting can share it. It stays until the thread exits: a return without an entry is then told from a
 * call that was under way when we attached.
 */
#ifndef AA_OPERATION_BPF_H
#define AA_OPERATION_BPF_H

#include "kernel.bpf.h"
#include "aio_operations.h"
#include "changes.bpf.h"
#include "changes.h"
#include "compat.bpf.h"
#include "descriptors.bpf.h"
#include "filter.bpf.h"
#include "handover.bpf.h"
#include "long_name.bpf.h"
#include "path.bpf.h"
#include "ring_makers.bpf.h"
#include "rule_files.bpf.h"
#include "rules.bpf.h"
#include "totals.bpf.h"

#define AA_NOT_FOUND_YET (~0U) /* the memory could not be read at the entry */

/* Where the control data of a message is, and how it begins. */
struct aa_control_data {
	__u64 at, bytes, head[2];
};

enum aa_phase {
	AA_PHASE_IDLE,
	AA_PHASE_IN_CALL,
	AA_PHASE_UNASKED, /* in a call whose operation nobody asked for */
};

/* A file that a thread has told, and by which number it may speak of it again: see aa_finish_again(). */
struct aa_known_file {
	__u64 key;
	__u32 number; /* 0: none */
	__u32 reserved;
};

struct aa_call_state {
	__u32 call; /* this and the phase are read by the core, too: see AA_STATE_CALL_AT */
	__u8 phase; /* enum aa_phase */
	__u8 operation;
	__u8 reserved[2];
	__u32 seat;	 /* where this is */
	__u32 next_call; /* row, from an entry program to the one it jumps to */
	__u64 entry_ns;
	__u64 args[8];
	/* Of two sides each: what the descriptor names, or the place that the name starts from, at the entry … */
	struct aa_identity object[2];
	struct aa_identity used[2]; /* … and the file that the kernel worked on, where a probe below the call tells */
	struct aa_newcomer newcomer; /* of a call that returns a new descriptor */
	struct aa_change change;     /* this call may put another file behind a descriptor */
	__u64 changes[2];	     /* of the descriptor or the start, counted before the look at it */
	__u64 count;
	__s64 position;
	__u64 flags, mode, resolve; /* of struct open_how */
	__u8 gives;		    /* it is none of ours, and returns a new descriptor: see aa_note_given() */
	__u8 has_no_count;	    /* the parts could not be added up */
	__u8 has_no_flags;	    /* struct open_how could not be read */
	__u8 has_acted;		    /* something in aa_acted */
	__u8 has_numbers;	    /* of the thread, in the reader's pid namespace */
	__u8 is_thread_told;
	__u8 was_thread_told; /* before, if not as it is now */
	__u8 is_plain;	      /* see AA_IS_PLAIN() */
	__u8 has_no_look;     /* at the entry: nobody else could change what the descriptor names */
	__u8 is_undecided;    /* whether it is a call of the row's kind: see aa_is_meant() */
	__u8 is_stranger;     /* of a thread that is not watched: this one call of it is told */
	__u8 is_late;	      /* that is known at the return only, and until then the call is not counted */
	__u8 compat;	      /* enum aa_compat_shape; set before aa_begin() */
	__u8 is_compat_announced;
	__u8 by_fd[2];		/* the descriptor's object itself, not a name */
	__u8 by_null[2];	/* because the name was NULL */
	__u8 name_is_long[2];	/* longer than `name`: see long_name.bpf.h */
	__u8 name_is_late[2];	/* it could not be read at the entry */
	__u8 name_is_kernels;	/* the first is the kernel's own copy */
	__u8 has_shared_memory; /* at the entry: see aa_memory_is_shared() */
	__u8 is_unsure;		/* something that the event tells may not be what the kernel took: see confirm.bpf.h */
	__u8 was_meant;		/* by the look at the entry, of a call that the return decides on: see decide.bpf.h */
	__s32 fd[2];
	__u8 closed_flags; /* AA_PATH_DELETED, at the entry */
	__u32 given_in;	   /* the first message with descriptors, of those that are sent; or AA_NOT_FOUND_YET */
	__u64 name_from[2], name_hash[2]; /* where the name as passed is; of a long one */
	__u64 socket_changes;		  /* of a call on a socket or a pidfd, as `changes`: see aa_prepare() */
	__s64 given;			  /* what the message gives away, by the look at the entry */
	struct aa_control_data control;	  /* of the message, at the entry */
	/* Of io_submit(): see aio.bpf.h. */
	__u64 aio_context, aio_array;
	__u32 aio_number;
	__u32 aio_noted;   /* the first of them, in aa_aio_requests where somebody asked for it */
	__u32 requests;	   /* how many are there: counted as under way */
	__u32 aio_until;   /* at the return: the first of them are told, … */
	__u32 aio_told;	   /* … so many of which count */
	__s32 aio_error;   /* by which the first was refused; or 0 */
	__u8 aio_is_alone; /* nobody else has this table of descriptors */
	__u64 closed_parent,
		closed_hash; /* of what is closed: its entry in the tree, to be known again at the return */
	struct aa_file_facts closed;
	/* What the thread has told: itself, and files. It outlives the call. */
	struct aa_thread thread;
	__u64 parent; /* by address: process.ppid is its number */
	__u64 files_told;
	struct aa_walker walker;
	struct aa_known_file files[AA_THREAD_FILES];
	__s32 name_bytes[2]; /* without NUL; < 0: not readable at the entry, or no name at all */
	char name[2][AA_NAME_BYTES];
};

_Static_assert(__builtin_offsetof(struct aa_call_state, call) == AA_STATE_CALL_AT &&
		       __builtin_offsetof(struct aa_call_state, phase) == AA_STATE_PHASE_AT &&
		       AA_PHASE_IN_CALL == AA_STATE_IN_CALL,
	       "the core reads them there");

/*
 * A thread's state is at the seat that its number ends in, and is found without a search. Whoever finds that taken, by
 * a thread whose number ends alike, takes another one, and aa_elsewhere says which. The loader sets how many seats
 * there are in all three: AA_SEATS or AA_SEATS_SYSTEM.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct aa_call_state);
} aa_states SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct aa_seat);
} aa_seats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} aa_elsewhere SEC(".maps");

/*
 * The directory and the entry in it that the kernel acted on, told by probes on the security functions below the calls:
 * no symbolic link and no second look at the caller's memory can disguise them. From such a probe to the return.
 */
struct aa_acted_side {
	__u64 dentry, directory, mount, directory_inode, name_hash;
	struct aa_file_facts facts;
	__u8 is_set;
	__u8 is_whole; /* the entry itself names the file; else its name is in `leaf`, and may be another by now */
	__u8 reserved[6];
	char leaf[AA_NAME_BYTES];
};

struct aa_acted {
	struct aa_acted_side side[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries,
	       1024); /* threads between such a probe and their return; without a place: the name as passed */
	__type(key, __u32);
	__type(value, struct aa_acted);
} aa_acted SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20); /* the loader sets ring_bytes */
} aa_ring SEC(".maps");

static const struct aa_call_state aa_new_state = {};
static const struct aa_acted aa_new_acted = {};

/* The table. Read at a number not known before the call, so it stays in .rodata. */
#define AA_X(program, call, function, number_, operation_, origin, ...)                                                \
	[AA_CALL_##call] = { .operation = AA_OPERATION_##operation_, __VA_ARGS__ },
#define AA_OF_AIO(command, number, operation_, ...)                                                                    \
	[AA_CALL_COUNT + AA_AIO_##command##_ROW] = { .operation = AA_OPERATION_##operation_, __VA_ARGS__ },
const volatile struct aa_call_spec aa_specs[AA_SPEC_COUNT] = { AA_CALLS(AA_X) AA_AIOS(AA_OF_AIO) };
#undef AA_OF_AIO
#undef AA_X

/*
 * A row below `limit` (a constant), or NULL. The pointer is made here and now: left to itself the compiler may spill
 * the row's number and make the pointer later, and 5.10's verifier has forgotten the bound of a spilled number by then.
 */
static __always_inline const volatile struct aa_call_spec *aa_spec_below(__u32 call, __u32 limit)
{
	const volatile struct aa_call_spec *spec;
	__u64 row = call;

	/*
	 * Nothing is known of it until it is compared, here: clang 16 and 22 merge this with an earlier comparison of
	 * the same number, in another register, and the verifier does not know that they are the same.
	 */
	asm volatile("" : "+r"(row));
	if (row >= limit)
		return NULL;
	spec = &aa_specs[row];
	asm volatile("" : "+r"(spec));
	return spec;
}

/* Of a call. */
static __always_inline const volatile struct aa_call_spec *aa_spec_of(__u32 call)
{
	return aa_spec_below(call, AA_CALL_COUNT);
}

/* Of what an event tells: a call, or a request that a call submitted. */
static __always_inline const volatile struct aa_call_spec *aa_spec_told(__u32 call)
{
	return aa_spec_below(call, AA_SPEC_COUNT);
}

/* Row + 1 of a call by its number; 0: not in the table. */
#define AA_X(program, call, function, number, ...) [number] = AA_CALL_##call + 1,
static const volatile __u16 aa_call_by_number[AA_NUMBER_LIMIT] = { AA_CALLS(AA_X) };
#undef AA_X

static __always_inline __u32 aa_flags_argument(const volatile struct aa_call_spec *spec, const __u64 *args)
{
	return spec->flags ? args[(spec->flags - 1) & 7] : 0;
}

static __always_inline __u8 aa_operation_of(const volatile struct aa_call_spec *spec, const __u64 *args)
{
	if (spec->if_flag && aa_flags_argument(spec, args) & spec->if_flag)
		return spec->then_operation;
	return spec->operation;
}

static __always_inline bool aa_is_asked(__u8 operation)
{
	return aa_config.operations >> (operation & 63) & 1;
}

/* Row of a call we take, or AA_CALL_COUNT. */
static __always_inline __u32 aa_row_of(__u64 number)
{
	__u16 row;

	if (number >= AA_NUMBER_LIMIT)
		return AA_CALL_COUNT;
	row = aa_call_by_number[number & (AA_NUMBER_LIMIT - 1)];
	return row ? row - 1 : AA_CALL_COUNT;
}

/* The same by the 32-bit table; `first`: its first argument. */
static __always_inline __u32 aa_compat_row_of(__u64 number, __u32 first)
{
	__u16 row;

	if (number >= AA_COMPAT_UNIFIED)
		return aa_row_of(number);
	if (aa_compat_shape_of(number) == AA_COMPAT_SOCKETCALL)
		return first == SYS_BIND     ? AA_CALL_bind :
		       first == SYS_CONNECT  ? AA_CALL_connect :
		       first == SYS_SENDMSG  ? AA_CALL_sendmsg :
		       first == SYS_SENDMMSG ? AA_CALL_sendmmsg :
		       first == SYS_RECVMSG  ? AA_CALL_recvmsg :
		       first == SYS_RECVMMSG ? AA_CALL_recvmmsg :
					       AA_CALL_COUNT;
	row = aa_compat_by_number[number & (AA_COMPAT_LIMIT - 1)].row;
	return row ? row - 1 : AA_CALL_COUNT;
}

static __always_inline bool aa_is_row_asked(__u32 row)
{
	const volatile struct aa_call_spec *spec;

	spec = aa_spec_of(row);
	if (!spec)
		return false;
	return aa_is_asked(spec->operation) || spec->announces || (spec->if_flag && aa_is_asked(spec->then_operation));
}

static __always_inline __s32 aa_dirfd(__u8 argument, const __u64 *args)
{
	return argument ? (__s32)args[(argument - 1) & 7] : AT_FDCWD;
}

/* A name from the caller's memory into the thread's state; of a long one its beginning, and what it is known again by.
 */
static __always_inline void aa_read_name(struct aa_call_state *state, __u32 i, const void *user, bool is_entry)
{
	long bytes;

	state->name_from[i] = (__u64)(long)user;
	bytes = bpf_probe_read_user_str(state->name[i], AA_NAME_BYTES, user);
	/* An empty string is 1 byte, its NUL; before 6.4 or so it is 0 (strncpy_from_user_nofault()). */
	state->name_bytes[i] = bytes < 0 ? -1 : bytes ? bytes - 1 : 0;
	state->name_is_long[i] = bytes >= AA_NAME_BYTES;
	if (!state->name_is_long[i])
		return;
	/* At the return there is nothing to compare with, and no stack for it. */
	state->name_hash[i] = is_entry ? aa_hash_long_name(state->name_from[i]) : 0;
	state->name_is_late[i] = !state->name_hash[i];
}

/*
 * What is known of a thread before its state is looked for, which is most of what a call costs: that it has none, as of
 * all that are not watched; or that nothing is under way by it, so that a call of an operation that nobody asked for
 * is over at once. `idle` is the number of one of the threads of that slot. It alone puts its number there and, when it
 * begins something, takes it away; whoever finds another's number there knows nothing.
 */
struct aa_presence aa_states_presence[AA_PRESENCE_SLOTS] = {};

static __always_inline struct aa_presence *aa_presence_of(__u32 tid)
{
	return &aa_states_presence[AA_PRESENCE_SLOT(tid)];
}

static __always_inline void aa_set_idle(__u32 tid, bool is_idle)
{
	volatile __u32 *idle = &aa_presence_of(tid)->idle;

	if (is_idle)
		*idle = tid;
	else if (*idle == tid)
		*idle = 0;
}

static __always_inline struct aa_seat *aa_seat_at(__u32 at)
{
	return bpf_map_lookup_elem(&aa_seats, &at);
}

static __always_inline __u32 aa_home_of(__u32 tid)
{
	return tid & aa_config.seat_mask;
}

/* Where the state of a thread is; false: it has none. (One place on the stack: 5.10's programs have none to spare.) */
static __always_inline bool aa_seat_find(__u32 tid, __u32 *ret_at)
{
	struct aa_seat *seat;
	__u32 *elsewhere;

	*ret_at = aa_home_of(tid);
	seat = bpf_map_lookup_elem(&aa_seats, ret_at);
	if (seat && tid && seat->owner == tid) /* a processor's idle thread is 0, as the owner of a free seat */
		return true;
	*ret_at = tid;
	elsewhere = bpf_map_lookup_elem(&aa_elsewhere, ret_at);
	if (!elsewhere)
		return false;
	*ret_at = *elsewhere;
	return true;
}

static __always_inline struct aa_call_state *aa_state_by(const struct aa_presence *presence, __u32 tid)
{
	__u32 at;

	return presence->states && aa_seat_find(tid, &at) ? bpf_map_lookup_elem(&aa_states, &at) : NULL;
}

static __always_inline struct aa_call_state *aa_state_of(__u32 tid)
{
	return aa_state_by(aa_presence_of(tid), tid);
}

#define AA_SEATS_TRIED 32
#define AA_SEAT_STRIDE 0x9e3779b9U /* odd: none is tried twice */

/*
 * A seat for a thread that has none; or -1. Claimed as a scratch record is: add one, then look; whoever does not see
 * exactly one steps back and tries the next.
 */
__noinline int aa_seat_take(__u32 tid)
{
	struct aa_seat *seat;
	__u32 i;

	for (i = 0; i < AA_SEATS_TRIED; i++) {
		seat = aa_seat_at((tid + i * AA_SEAT_STRIDE) & aa_config.seat_mask);
		if (!seat)
			return -1;
		__sync_fetch_and_add(&seat->claims, 1);
		if (*(volatile __u32 *)&seat->claims == 1)
			return (tid + i * AA_SEAT_STRIDE) & aa_config.seat_mask;
		__sync_fetch_and_add(&seat->claims, -1);
	}
	return -1;
}

/* The state of a thread that has none, as it was under another number or as it is at first. */
static __always_inline bool aa_state_add(__u32 tid, const struct aa_call_state *state)
{
	struct aa_call_state *added;
	struct aa_seat *seat;
	int taken = aa_seat_take(tid);
	__u32 at = taken;

	if (taken < 0)
		return false;
	seat = aa_seat_at(at);
	bpf_map_update_elem(&aa_states, &at, state, BPF_ANY);
	added = bpf_map_lookup_elem(&aa_states, &at);
	/* The key is this thread's own: that there is no room is all that can be. */
	if (!seat || !added || (at != aa_home_of(tid) && bpf_map_update_elem(&aa_elsewhere, &tid, &at, BPF_NOEXIST))) {
		if (seat)
			__sync_fetch_and_add(&seat->claims, -1);
		return false;
	}
	added->seat = at;
	seat->owner = tid;
	__sync_fetch_and_add(&aa_presence_of(tid)->states, 1);
	return true;
}

static __always_inline void aa_state_drop(__u32 tid)
{
	struct aa_seat *seat;
	__u32 at;

	aa_set_idle(tid, false);
	if (!aa_seat_find(tid, &at) || !(seat = aa_seat_at(at)))
		return;
	__sync_fetch_and_add(&aa_presence_of(tid)->states, -1);
	seat->owner = 0;
	if (at != aa_home_of(tid))
		bpf_map_delete_elem(&aa_elsewhere, &tid);
	__sync_fetch_and_add(&seat->claims, -1);
}

/* The calls of a thread, which alone counts them: see struct aa_seat. */
static __always_inline void aa_count_begun(const struct aa_call_state *state)
{
	struct aa_seat *seat = aa_seat_at(state->seat);

	if (seat)
		seat->begun++;
}

static __always_inline void aa_count_ended(const struct aa_call_state *state)
{
	struct aa_seat *seat = aa_seat_at(state->seat);

	if (seat)
		seat->ended++;
}

static __always_inline struct aa_call_state *aa_state_make(__u32 tid)
{
	struct aa_call_state *state = aa_state_of(tid);

	if (state)
		return state;
	return aa_state_add(tid, &aa_new_state) ? aa_state_of(tid) : NULL;
}

/* Whether the thread is watched, and its state, if it has one: only a watched thread has, until its exit. */
static __always_inline bool aa_is_watched_with(const struct aa_presence *presence, __u64 pid_tgid,
					       struct aa_call_state **ret_state)
{
	*ret_state = aa_state_by(presence, (__u32)pid_tgid);
	return *ret_state || aa_is_watched(pid_tgid);
}

/* Whether a number of the initial pid namespace is that of a watched process, or of a watched thread that has a state.
 */
static __always_inline bool aa_is_number_watched(__u32 pid)
{
	if (aa_config.scope == AA_SCOPE_SINGLE ? pid == aa_control.root_tgid && !aa_control.root_exited :
						 aa_config.scope == AA_SCOPE_TREE && aa_watch_has(pid))
		return true;
	return aa_state_of(pid);
}

/*
 * Whether a number that the caller names a thread by is a watched one's. From within another pid namespace than the
 * initial one it cannot be told, and is taken for none.
 */
static __always_inline bool aa_names_watched(__u32 pid)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return !aa_read(task, thread_pid, level) && aa_is_number_watched(pid);
}

/*
 * Whether a pidfd of the caller's is of a watched process, or a thread of one. The kernel's pid is the inode's since
 * there is pidfs (6.9, cb12fd8e0dab), and the file's before. What else is an anonymous file is taken for a pidfd, too:
 * the call fails on it, and is not told.
 */
static __always_inline bool aa_pidfd_is_watched(__s32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct file *file = aa_file_of(aa_read(task, files), fd);
	struct inode *inode = aa_read(file, f_inode);
	unsigned long magic = file ? aa_read(inode, i_sb, s_magic) : 0;
	struct hlist_node *link;
	struct pid *pid = NULL;

	if (magic == PID_FS_MAGIC)
		pid = aa_read(inode, i_private);
	else if (magic == ANON_INODE_FS_MAGIC)
		pid = aa_read((struct file___pidfd *)file, private_data);
	link = pid ? aa_read(pid, tasks[AA_PIDTYPE_PID].first) : NULL;
	if (!link)
		return false;
	task = (void *)link - bpf_core_field_offset(struct task_struct, pid_links);
	return aa_is_number_watched(aa_read(task, tgid));
}

/* Has the changes of somebody else's table counted from now on; false: nobody shares it. */
static __always_inline bool aa_watches_table(struct task_struct *task)
{
	if (aa_read(task, files, count.counter) < 2)
		return false;
	aa_table_add(task);
	return true;
}

/* A call by which one process may reach into another. */
static __always_inline bool aa_reaches(__u32 row)
{
	return row == AA_CALL_ptrace || row == AA_CALL_process_vm_writev || row == AA_CALL_pidfd_getfd;
}

/*
 * Whose call is taken: a watched thread's; and of others a call that reaches into one, which is told as if its thread
 * were watched until it returns.
 */
static __always_inline bool aa_is_taken(const struct aa_presence *presence, __u64 pid_tgid, __u32 row,
					struct pt_regs *user, struct aa_call_state **ret_state)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	bool is_meant = true;
	__u64 first, second;

	if (aa_is_watched_with(presence, pid_tgid, ret_state))
		return true;
	if (!aa_reaches(row) || !aa_control.gate)
		return false;
	if ((__u32)pid_tgid == aa_control.excluded_tid)
		return false;
	first = aa_is_compat() ? aa_read(user, bx) : aa_read(user, di);
	if (row == AA_CALL_pidfd_getfd) {
		is_meant = aa_pidfd_is_watched(first);
		/* Its own threads may exchange the descriptor: then the return decides, by what was counted meanwhile.
		 */
		if (!is_meant && !aa_watches_table(task))
			return false;
	} else if (row == AA_CALL_ptrace) {
		second = aa_is_compat() ? aa_read(user, cx) : aa_read(user, si);
		if ((first != PTRACE_ATTACH && first != PTRACE_SEIZE) || !aa_names_watched(second))
			return false;
	} else if (!aa_names_watched(first)) {
		return false;
	}
	*ret_state = aa_state_make((__u32)pid_tgid);
	if (*ret_state) {
		(*ret_state)->is_stranger = 1;
		(*ret_state)->was_meant = is_meant;
	}
	return true;
}

/* _IOW('X', number, struct space_resv) */
static __always_inline bool aa_is_of_space(__u32 command)
{
	__u32 plain = command & ~IOCSIZE_MASK;

	return (plain >= FS_IOC_RESVSP && plain <= FS_IOC_UNRESVSP64) || plain == FS_IOC_ZERO_RANGE;
}

static __always_inline bool aa_is_of_blocks(__u32 command)
{
	return command == FICLONE || command == FICLONERANGE || command == FIDEDUPERANGE || aa_is_of_space(command);
}

static __always_inline __u64 aa_argument(__u8 which, const __u64 *args)
{
	return args[(which - 1) & 7];
}

/* Source and destination of a clone: FICLONE has them the other way round, and the others have one in a structure. */
static __always_inline void aa_clone_descriptors(struct aa_call_state *state)
{
	__u64 fd = 0;

	if ((__u32)state->args[1] == FICLONE) {
		state->fd[0] = (__s32)state->args[2];
	} else if ((__u32)state->args[1] == FICLONERANGE) {
		/* struct file_clone_range: src_fd first */
		state->fd[0] = bpf_probe_read_user(&fd, sizeof(fd), (void *)state->args[2]) ? -1 : (__s32)fd;
	} else {
		/* struct file_dedupe_range: 24 bytes, then for each destination dest_fd first */
		state->fd[0] = (__s32)state->args[0];
		state->fd[1] = bpf_probe_read_user(&fd, sizeof(fd), (void *)state->args[2] + 24) ? -1 : (__s32)fd;
		return;
	}
	state->fd[1] = (__s32)state->args[0];
}

#define AA_PARTS_ROUND 32
#define AA_MANAGER_NUMBER_END 21 /* of /run/user/NUMBER */
#define AA_PARTS_UNREAD (~0ULL)

/*
 * The lengths of some parts of a vector in user memory, added up. In rounds, each a function of plain numbers: all in
 * one loop are ten thousand instructions to the verifier, in each program that has it.
 */
__noinline __u64 aa_sum_round(__u64 parts, __u32 number, __u32 is_compat)
{
	/* struct iovec: base, length; struct compat_iovec: the same in 32 bits */
	__u32 bytes = is_compat ? sizeof(__u32) : sizeof(__u64);
	__u64 sum = 0, length;
	__u32 i;

	for (i = 0; i < AA_PARTS_ROUND; i++) {
		if (i >= number)
			break;
		length = 0;
		if (bpf_probe_read_user(&length, bytes, (void *)parts + (i * 2 + 1) * bytes))
			return AA_PARTS_UNREAD;
		sum += length;
	}
	return sum;
}

__noinline __u64 aa_sum_parts(__u64 parts, __u64 number, __u32 is_compat)
{
	__u64 sum = 0, round;
	__u32 i;

	if (number > AA_PARTS_MAX)
		return AA_PARTS_UNREAD;
	for (i = 0; i < AA_PARTS_MAX / AA_PARTS_ROUND; i++) {
		if (i * AA_PARTS_ROUND >= number)
			break;
		round = aa_sum_round(parts + i * AA_PARTS_ROUND * (is_compat ? 8 : 16), number - i * AA_PARTS_ROUND,
				     is_compat);
		if (round == AA_PARTS_UNREAD)
			return AA_PARTS_UNREAD;
		sum += round;
	}
	return sum;
}

static __always_inline void aa_count_parts(struct aa_call_state *state, __u64 parts, __u64 number)
{
	__u64 sum = aa_sum_parts(parts, number, state->compat);

	state->has_no_count = sum == AA_PARTS_UNREAD;
	if (!state->has_no_count)
		state->count = sum;
}

#define AA_INODE_HEAD_BYTES 96

struct aa_inode_facts {
	struct super_block *super_block;
	__u64 number;
	__u32 rdev;
	__u16 mode;
};

static __always_inline void aa_inode_read(struct inode *inode, struct aa_inode_facts *ret_facts)
{
	unsigned char head[AA_INODE_HEAD_BYTES] __attribute__((aligned(8)));

	if (AA_IN_HEAD(struct inode, i_mode, AA_INODE_HEAD_BYTES) &&
	    AA_IN_HEAD(struct inode, i_sb, AA_INODE_HEAD_BYTES) &&
	    AA_IN_HEAD(struct inode, i_ino, AA_INODE_HEAD_BYTES) &&
	    AA_IN_HEAD(struct inode, i_rdev, AA_INODE_HEAD_BYTES)) {
		bpf_probe_read_kernel(head, sizeof(head), inode);
		ret_facts->mode = AA_OF_HEAD(head, __u16, struct inode, i_mode);
		ret_facts->super_block = AA_OF_HEAD(head, struct super_block *, struct inode, i_sb);
		ret_facts->number = AA_OF_HEAD(head, __u64, struct inode, i_ino);
		ret_facts->rdev = AA_OF_HEAD(head, __u32, struct inode, i_rdev);
	} else {
		struct inode *view = aa_view(inode, inode);

		ret_facts->mode = aa_of(view, i_mode);
		ret_facts->super_block = aa_read(inode, i_sb);
		ret_facts->number = aa_of(view, i_ino);
		ret_facts->rdev = aa_of(view, i_rdev);
	}
}

static __always_inline __u8 aa_kind_of(struct inode *inode, struct vfsmount *vfsmount)
{
	struct aa_inode_facts facts;
	struct super_block *super_block;
	unsigned long magic;
	__u16 type;
	struct mount *mount = aa_real_mount(vfsmount);
	bool is_placeless = (long)aa_read(mount, mnt_ns) == MNT_NS_INTERNAL;
	__u8 place = is_placeless ? AA_KIND_PLACELESS : 0;
	__u32 major;

	aa_inode_read(inode, &facts);
	super_block = facts.super_block;
	magic = aa_read(super_block, s_magic);
	type = facts.mode & S_IFMT;
	if (magic == ANON_INODE_FS_MAGIC)
		return AA_KIND_ANON | AA_FORM_ANON_INODE | place;
	switch (type) {
	case S_IFDIR:
		return AA_KIND_DIR | place;
	case S_IFLNK:
		return AA_KIND_SYMLINK | place;
	case S_IFSOCK:
		return AA_KIND_SOCKET | place;
	case S_IFIFO:
		return AA_KIND_PIPE | place;
	case S_IFBLK:
		return AA_KIND_DEVICE | place;
	case S_IFCHR:
		/* Documentation/admin-guide/devices.txt: tty, console and ptmx, pty, USB, ACM, AMA, hypervisor */
		major = facts.rdev >> 20;
		if (major == 4 || major == 5 || (major >= 136 && major <= 143) || major == 188 || major == 166 ||
		    major == 204 || major == 229)
			return AA_KIND_TTY | place;
		return AA_KIND_DEVICE | place;
	case S_IFREG:
		break;
	default:
		return AA_KIND_ANON | place;
	}
	if (!is_placeless)
		return AA_KIND_FILE;
	if (magic == TMPFS_MAGIC || magic == HUGETLBFS_MAGIC)
		return AA_KIND_MEMFD | place;
	return AA_KIND_ANON | place |
	       (magic == NSFS_MAGIC   ? AA_FORM_NAMESPACE :
		magic == PID_FS_MAGIC ? AA_FORM_PIDFD :
					0);
}

static __always_inline bool aa_is_deleted(struct dentry *dentry)
{
	struct dentry *view = aa_view(dentry, dentry);

	return aa_of(view, d_parent) != dentry && !aa_of(view, d_hash.pprev);
}

static __always_inline void aa_fill_object(struct aa_file_facts *object, struct inode *inode, __u32 kind)
{
	struct aa_inode_facts facts = {};
	struct super_block *super_block;

	if (inode)
		aa_inode_read(inode, &facts);
	super_block = facts.super_block;
	object->inode = facts.number;
	object->device = inode ? aa_read(super_block, s_dev) : 0;
	object->mode = facts.mode;
	object->kind = kind;
	object->is_known = inode ? AA_FILE_IS_KNOWN : 0;
	if (aa_config.rule_files && kind != AA_KIND_OF_START)
		object->is_known |= aa_rules_of_inode((__u64)(long)inode);
}

/* What the last close of a file leaves at the return is no more than its name: the rest is noted here. */
static __always_inline void aa_begin_close(struct aa_call_state *state)
{
	struct dentry *dentry = (void *)(long)state->object[0].dentry;
	struct inode *inode = (void *)(long)state->object[0].inode;

	__builtin_memset(&state->closed, 0, sizeof(state->closed));
	state->closed_flags = 0;
	if (!dentry || !inode)
		return;
	state->closed_parent = (__u64)(long)aa_read(dentry, d_parent);
	state->closed_hash = aa_read(dentry, d_name.hash_len);
	if (aa_is_deleted(dentry))
		state->closed_flags = AA_PATH_DELETED;
	aa_fill_object(&state->closed, inode, aa_kind_of(inode, (void *)(long)state->object[0].mount));
}

/* An empty name stands for the descriptor itself. */
static __always_inline bool aa_is_empty_meant(const volatile struct aa_call_spec *spec,
					      const struct aa_call_state *state, __u32 i)
{
	__u32 flags = aa_flags_argument(spec, state->args);

	switch (spec->empty) {
	case AA_EMPTY_BY_FLAG:
	case AA_EMPTY_OR_NULL_BY_FLAG:
		return flags & AA_AT_EMPTY_PATH;
	case AA_EMPTY_MOVE_MOUNT:
		return flags & (i ? AA_MOVE_MOUNT_T_EMPTY_PATH : AA_MOVE_MOUNT_F_EMPTY_PATH);
	case AA_EMPTY_FSPICK:
		return flags & AA_FSPICK_EMPTY_PATH;
	case AA_EMPTY_ALWAYS:
		return state->fd[i] != AT_FDCWD;
	default:
		return false;
	}
}

static __always_inline void aa_read_argument(struct aa_call_state *state, const volatile struct aa_call_spec *spec,
					     __u32 i, __u8 path, bool is_entry)
{
	const void *user = (void *)aa_argument(path, state->args);
	__s32 most = (__s32)state->args[2] - 2;

	bool is_address = spec->when == AA_WHEN_UNIX_PATH || spec->when == AA_WHEN_HANDS_OVER;

	/* struct sockaddr_un: the family, then the name, which need not end in NUL */
	if (is_address)
		user += 2;
	aa_read_name(state, i, user, is_entry);
	if (is_address && state->name_bytes[i] > most)
		state->name_bytes[i] = most;
}

/* Nobody but this thread has the table, and it is in this call: the return finds what the call found. */
static __always_inline void aa_begin_descriptor(struct aa_call_state *state, struct task_struct *task)
{
	state->changes[0] = aa_changes_of_start(task, state->fd[0]);
	if (!state->changes[0])
		state->has_no_look = 1;
	else
		aa_identify_start(task, state->fd[0], &state->object[0]);
}

/* One of the two sides: a descriptor, or a name and where it starts from. */
static __always_inline void aa_begin_side(struct aa_call_state *state, struct task_struct *task,
					  const volatile struct aa_call_spec *spec, __u32 i, __u8 path, __u8 dirfd)
{
	const void *user;

	if (path) {
		user = (void *)aa_argument(path, state->args);
		state->fd[i] = aa_dirfd(dirfd, state->args);
		if (!user && dirfd &&
		    (spec->null || (spec->empty == AA_EMPTY_OR_NULL_BY_FLAG && aa_is_empty_meant(spec, state, i)))) {
			state->by_fd[i] = 1;
			state->by_null[i] = 1;
		} else {
			aa_read_argument(state, spec, i, path, true);
			if (state->name_bytes[i] == 0 && aa_is_empty_meant(spec, state, i))
				state->by_fd[i] = 1;
		}
	} else if (!state->by_fd[i]) {
		return;
	}
	if (spec->sets_pwd)
		state->changes[i] = aa_chdirs_of(aa_read(task, fs));
	else if (!spec->closes)
		state->changes[i] = aa_changes_of_start(task, state->fd[i]);
	if (spec->when == AA_WHEN_GIVES && !state->changes[i]) {
		state->has_no_look = 1;
		return;
	}
	aa_identify_start(task, state->fd[i], &state->object[i]);
	if (spec->closes)
		aa_begin_close(state);
}

/*
 * Others can write into the caller's memory while it is in a call: its threads, or the parent of a vfork(). Asked at
 * the entry: whoever has done so may have exited before the return.
 */
static __always_inline bool aa_memory_is_shared(struct task_struct *task)
{
	return aa_read(task, mm, mm_users.counter) > 1;
}

/* What a call is about that is not plain. */
static __always_inline void aa_begin_names(struct aa_call_state *state, struct task_struct *task,
					   const volatile struct aa_call_spec *spec)
{
	state->has_shared_memory = aa_memory_is_shared(task);
	if (spec->fd2)
		state->fd[1] = (__s32)aa_argument(spec->fd2, state->args);
	if (spec->when == AA_WHEN_BLOCKS && state->operation == spec->operation)
		aa_clone_descriptors(state);
	else if (spec->when == AA_WHEN_BLOCKS)
		state->by_fd[1] = 0;
	aa_begin_side(state, task, spec, 0, spec->path, spec->dirfd);
	aa_begin_side(state, task, spec, 1, spec->path2, spec->dirfd2);
	if ((spec->returns_fd || spec->when == AA_WHEN_RECEIVES) && aa_read(task, files, count.counter) > 1)
		aa_newcomer_begins(&state->newcomer, task);
}

static __always_inline void aa_begin_position(struct aa_call_state *state, struct task_struct *task,
					      const volatile struct aa_call_spec *spec)
{
	struct aa_open_file open = {};
	struct file *file;
	void *at;

	state->position = AA_NO_OFFSET;
	if (spec->offset) {
		state->position = (__s64)aa_argument(spec->offset, state->args);
		/* preadv2(), pwritev2(): -1 means the descriptor's own */
		if (state->position != -1 || !spec->iovec || !spec->flags)
			return;
		state->position = AA_NO_OFFSET;
	}
	/* Begun at the return, it has moved on. */
	if (aa_config.exit_only)
		return;
	at = spec->offset_at ? (void *)aa_argument(spec->offset_at, state->args) : NULL;
	if (at && state->compat == AA_COMPAT_SHORT_AT) {
		__s32 position;

		if (!bpf_probe_read_user(&position, sizeof(position), at))
			state->position = position;
		return;
	}
	if (at) {
		if (bpf_probe_read_user(&state->position, sizeof(state->position), at))
			state->position = AA_NO_OFFSET;
		return;
	}
	if (!spec->moves || state->operation == AA_OPERATION_STAT)
		return;
	file = state->has_no_look ? aa_file_of(aa_read(task, files), state->fd[0]) :
				    (void *)(long)state->object[0].file;
	if (!file)
		return;
	aa_file_read(file, &open);
	if ((open.mode & (FMODE_LSEEK | FMODE_STREAM)) == FMODE_LSEEK)
		state->position = open.position;
}

/* What a function does not use the compiler would not pass to it, and the verifier asks for every argument. */
#define aa_use(argument) asm volatile("" : : "r"(argument))

/*
 * The steps of a call are global functions, which the verifier takes once each, for any argument: in one piece they are
 * a hundred thousand instructions to it. Up to 5.12 such a function may be given numbers only.
 */
#ifdef AA_DIRECT
#define AA_DEFINE_FIRST_STEP(name, ...) __noinline int name(struct aa_call_state *state, __u32 tid, __VA_ARGS__)
#define AA_FIRST_STEP_BEGINS aa_use(tid);
#define aa_first_step(name, ...) name(state, tid, __VA_ARGS__)
#define AA_DEFINE_STEP(name, ...)                                                                                      \
	__noinline int name(struct aa_call_state *state, struct aa_scratch *scratch, __u32 tid __VA_ARGS__)
#define AA_STEP_BEGINS aa_use(tid);
#define aa_step(name, ...) name(state, scratch, tid __VA_ARGS__)
#else
#define AA_DEFINE_FIRST_STEP(name, ...) __noinline int name(__u32 tid, __VA_ARGS__)
#define AA_FIRST_STEP_BEGINS struct aa_call_state *state = aa_state_of(tid);
#define aa_first_step(name, ...) name(tid, __VA_ARGS__)
#define AA_DEFINE_STEP(name, ...) __noinline int name(__u32 slot, __u32 tid __VA_ARGS__)
#define AA_STEP_BEGINS                                                                                                 \
	aa_use(tid);                                                                                                   \
	struct aa_call_state *state = aa_state_of(tid);                                                                \
	struct aa_scratch *scratch = aa_scratch_at(slot);
#define aa_step(name, ...) name(slot, tid __VA_ARGS__)
#endif

#include "confirm.bpf.h"

/* What is counted of the call that a thread is in: one, or the requests that it submits. */
static __always_inline __s64 aa_under_way(const struct aa_call_state *state)
{
	return aa_config.aio == AA_AIO_SEEN && state->call == AA_CALL_io_submit ? state->requests : 1;
}

/* The return before this entry was missed, if one is still waited for. */
static __always_inline void aa_settle_missed(struct aa_call_state *state)
{
	if (state->phase != AA_PHASE_IN_CALL)
		return;
	state->phase = AA_PHASE_IDLE;
	aa_count(no_exit, aa_under_way(state));
	if (state->is_late)
		aa_count(performed, 1);
	else
		aa_count(in_flight, -aa_under_way(state));
}

/* No room to remember the call: it is taken for one of its row's, whatever its arguments say. */
static __always_inline void aa_begin_is_lost(void)
{
	aa_count(performed, 1);
	aa_count(state_full, 1);
}

/*
 * Whether a mapping that is shared lets its memory be written, now or after mprotect(), and reaches a file by that:
 * what is written there is no call. A memfd is memory, and what a device makes of it is its own affair. The memory of a
 * ring whose requests a process that is not watched takes is announced, too.
 */
__noinline int aa_is_memory_of_file(__u32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct file *file = aa_file_of(aa_read(task, files), (__s32)fd);
	struct mount *mount;
	__u32 server;
	__u16 type;

	if (!file || !(aa_read(file, f_mode) & FMODE_WRITE))
		return false;
	server = aa_ring_server_of(file);
	if (server)
		return !aa_is_number_watched(server);
	type = aa_read(file, f_inode, i_mode) & S_IFMT;
	mount = aa_real_mount(aa_read(file, f_path.mnt));
	return type == S_IFBLK || (type == S_IFREG && (long)aa_read(mount, mnt_ns) != MNT_NS_INTERNAL);
}

#include "decide.bpf.h"

/* At the return of a call that hands something over: the process at the other end is watched, too; false: not known. */
AA_DEFINE_FIRST_STEP(aa_peer_is_watched, __u32 fd)
{
	AA_FIRST_STEP_BEGINS
	struct task_struct *task = (void *)bpf_get_current_task();
	struct file *file = aa_file_of(aa_read(task, files), (__s32)fd);

	return state && aa_other_end_is_watched(file) && aa_is_still_settled(state->socket_changes, task, (__s32)fd);
}

/* At the entry of a call of a watched thread, whose arguments are in its state. */
AA_DEFINE_FIRST_STEP(aa_begin, __u32 call)
{
	AA_FIRST_STEP_BEGINS
	struct task_struct *task = (void *)bpf_get_current_task();
	const volatile struct aa_call_spec *spec;
	bool is_undecided = false, is_meant;
	const __u64 *args;
	__u8 operation;

	if (!state || !(spec = aa_spec_of(call)))
		return 0;
	aa_settle_missed(state);
	args = state->args;
	if (spec->is_plain) {
		operation = spec->operation;
		is_meant = true;
	} else {
		operation = aa_operation_of(spec, args);
		is_meant = aa_is_meant(state, spec, task, &operation, &is_undecided);
	}
	/* Whoever watches its own process reads our eventfd there: that would feed itself. */
	if (!aa_is_asked(operation) || (!is_meant && !is_undecided) ||
	    (spec->fd && (__s32)aa_argument(spec->fd, args) == aa_control.own_fd &&
	     bpf_get_current_pid_tgid() >> 32 == aa_control.own_tgid)) {
		state->phase = AA_PHASE_UNASKED;
		return 0;
	}
	state->is_late = !spec->is_plain && (spec->when == AA_WHEN_HANDS_OVER || spec->when == AA_WHEN_RECEIVES ||
					     spec->when == AA_WHEN_GIVES);
	if (!state->is_late)
		aa_count_begun(state);
	state->call = call;
	state->operation = operation;
	state->used[0].file = 0;
	state->used[1].file = 0;
	state->object[0].file = 0;
	state->has_no_count = 0;
	state->has_no_flags = 0;
	state->has_acted = 0;
	state->has_no_look = 0;
	state->is_undecided = is_undecided;
	state->is_unsure = 0;
	state->is_plain = spec->is_plain;
	state->name_bytes[0] = -1;
	state->name_bytes[1] = -1;
	state->name_is_long[0] = 0;
	state->name_is_long[1] = 0;
	state->name_is_late[0] = 0;
	state->name_is_late[1] = 0;
	state->name_is_kernels = 0;
	state->by_null[0] = 0;
	state->by_null[1] = 0;
	state->by_fd[0] = (spec->fd && !spec->path) || spec->when == AA_WHEN_GIVES;
	state->by_fd[1] = spec->fd2 != 0;
	if (spec->fd)
		state->fd[0] = (__s32)aa_argument(spec->fd, args);
	if (spec->is_plain)
		aa_begin_descriptor(state, task);
	else
		aa_begin_names(state, task, spec);
	aa_begin_position(state, task, spec);
	state->count = spec->count ? aa_argument(spec->count, args) : 0;
	if (spec->iovec)
		aa_count_parts(state, aa_argument(spec->iovec, args), state->count);
	if (spec->how)
		aa_read_how(state, spec);
	/* Where nobody asks how long a call took, only a new descriptor asks what was changed since its beginning. */
	if (!aa_config.no_latency || aa_config.min_duration_ns || spec->returns_fd || spec->when == AA_WHEN_RECEIVES)
		state->entry_ns = bpf_ktime_get_boot_ns();
	state->phase = AA_PHASE_IN_CALL;
	return 0;
}

AA_DEFINE_FIRST_STEP(aa_compat_unfold_in, __u32 shape)
{
	AA_FIRST_STEP_BEGINS

	if (!state)
		return AA_COMPAT_UNREAD;
	state->compat = shape;
	return aa_compat_unfold(shape, state->args);
}

/* The registers of a call by the 32-bit table, in the state, become the 64-bit call's arguments; false: nothing begins.
 */
static __always_inline bool aa_compat_begins(struct aa_call_state *state, __u32 tid, __u64 number)
{
	int found = aa_first_step(aa_compat_unfold_in, aa_compat_shape_of(number));

	if (found == AA_COMPAT_FOUND)
		return true;
	aa_settle_missed(state);
	state->phase = AA_PHASE_UNASKED;
	if (found == AA_COMPAT_UNREAD)
		aa_count(compat_calls, 1);
	return false;
}

/*
 * Puts the arguments of a call into its thread's state; false: it is none of ours. `get` reads a register: the pointer
 * to them is known to the verifier at a tracepoint, and is a number to it at a function.
 */
#define aa_take_arguments(state, tid, user, is_compat, get)                                                            \
	({                                                                                                             \
		bool begins_ = true;                                                                                   \
                                                                                                                       \
		(state)->compat = AA_COMPAT_NONE;                                                                      \
		if (is_compat) { /* SC_IA32_REGS_TO_ARGS of arch/x86/include/asm/syscall_wrapper.h */                  \
			(state)->args[0] = (__u32)get(user, bx);                                                       \
			(state)->args[1] = (__u32)get(user, cx);                                                       \
			(state)->args[2] = (__u32)get(user, dx);                                                       \
			(state)->args[3] = (__u32)get(user, si);                                                       \
			(state)->args[4] = (__u32)get(user, di);                                                       \
			(state)->args[5] = (__u32)get(user, bp);                                                       \
			begins_ = aa_compat_begins(state, tid, get(user, orig_ax));                                    \
		} else {                                                                                               \
			(state)->args[0] = get(user, di);                                                              \
			(state)->args[1] = get(user, si);                                                              \
			(state)->args[2] = get(user, dx);                                                              \
			(state)->args[3] = get(user, r10);                                                             \
			(state)->args[4] = get(user, r8);                                                              \
			(state)->args[5] = get(user, r9);                                                              \
		}                                                                                                      \
		begins_;                                                                                               \
	})

/*
 * What is read piece by piece (not AA_DIRECT) takes stack for each piece. In a function of its own it takes that where
 * no other function is called from, and not below all that its caller has.
 */
#ifdef AA_DIRECT
#define AA_OWN_STACK static __always_inline
#else
#define AA_OWN_STACK static __noinline
#endif

AA_OWN_STACK int aa_identify_used(struct file *file, struct aa_identity *ret_used)
{
	aa_identify(file, ret_used);
	return 0;
}

/* A probe below the call tells which file the kernel works on; the first one counts. */
static __always_inline void aa_note_used(struct aa_call_state *state, __u32 i, struct file *file)
{
	if (!state->used[i & 1].file)
		aa_identify_used(file, &state->used[i & 1]);
}

/* Notes what side i starts from, before it is looked at. */
static __always_inline void aa_start_from(struct aa_scratch *scratch, __u32 i, struct task_struct *task, __s32 fd,
					  bool was_shared)
{
	scratch->start_fd[i] = fd;
	scratch->changes[i] = was_shared ? aa_changes_if_shared(task, fd) : aa_changes_of_start(task, fd);
	scratch->has_start[i] = 1;
}

/* After the walk: what it began with was held by nothing but the descriptor or the directory's owner. */
static __always_inline bool aa_start_stayed(const struct aa_scratch *scratch, __u32 i, struct task_struct *task)
{
	return !scratch->has_start[i] || aa_is_still_settled(scratch->changes[i], task, scratch->start_fd[i]);
}

static __always_inline void aa_check_start(struct aa_scratch *scratch, __u32 i, struct task_struct *task)
{
	if (!scratch->place[i].dentry || aa_start_stayed(scratch, i, task))
		return;
	scratch->source[i] = AA_PATH_SOURCE_RACED;
	scratch->inode[i] = NULL;
	if (scratch->walk[i] == AA_WALK_DIRECTORY || scratch->walk[i] == AA_WALK_OWN_ROOT)
		scratch->facts[i].is_known = 0;
}

/* The name of a namespace's kind is not among its dentries. Read from the file: an inode that is gone has none. */
static __always_inline void aa_take_name_of_namespace(struct aa_scratch *scratch, __u32 i)
{
	struct inode *inode = scratch->inode[i];
	struct ns_common *namespace = aa_read(inode, i_private);

	if (bpf_probe_read_kernel_str(scratch->leaf[i & 1], AA_NAME_BYTES, aa_read(namespace, ops, name)) > 0)
		scratch->has_leaf[i] = 1;
}

/* An object found: its name will be walked, its facts be told. */
static __always_inline void aa_take_object(struct aa_scratch *scratch, __u32 i, const struct aa_identity *identity,
					   __u8 source)
{
	/* Not from the file again: closed by another thread, it may be another one by now. */
	scratch->inode[i] = (void *)(long)identity->inode;
	scratch->place[i].dentry = (void *)(long)identity->dentry;
	scratch->place[i].vfsmount = (void *)(long)identity->mount;
	scratch->source[i] = source;
	scratch->walk[i] = AA_WALK_OBJECT;
	scratch->kind[i] = aa_kind_of(scratch->inode[i], scratch->place[i].vfsmount);
	if ((scratch->kind[i] & AA_KIND_FORM) == AA_FORM_NAMESPACE)
		aa_take_name_of_namespace(scratch, i);
	if (aa_is_deleted(scratch->place[i].dentry))
		scratch->flags[i] |= AA_PATH_DELETED;
}

/*
 * A descriptor that is closed names nothing at the return: what it named at the entry counts, if a probe below the call
 * says the same or no other thread can have come between: this very close began before the look at the entry, and ended
 * before this one.
 */
static __always_inline void aa_resolve_closed(struct aa_call_state *state, struct task_struct *task,
					      const volatile struct aa_call_spec *spec, struct aa_scratch *scratch)
{
	struct files_struct *files = aa_read(task, files);
	const struct aa_identity *closed = state->used[0].file ? &state->used[0] : &state->object[0];
	struct dentry *dentry = (void *)(long)closed->dentry;

	if (spec->closes > 1 || !dentry)
		return;
	/*
	 * The last close may have freed the entry: its memory then still tells its name, or that of another one.
	 * Another one of the same name in the same directory would do no harm.
	 */
	if (!aa_identity_equal(closed, &state->object[0]) ||
	    (__u64)(long)aa_read(dentry, d_parent) != state->closed_parent ||
	    aa_read(dentry, d_name.hash_len) != state->closed_hash ||
	    (!state->used[0].file && aa_read(files, count.counter) > 1 && !state->change.is_lone)) {
		scratch->source[0] = AA_PATH_SOURCE_FD_CHANGED;
		return;
	}
	scratch->place[0].dentry = dentry;
	scratch->place[0].vfsmount = (void *)(long)closed->mount;
	scratch->source[0] = AA_PATH_SOURCE_FILE;
	scratch->walk[0] = AA_WALK_OBJECT;
	scratch->flags[0] |= state->closed_flags;
	scratch->facts[0] = state->closed;
	scratch->kind[0] = state->closed.kind;
}

/* The directory that a call by name has made the current one: what the thread has now, if no other can have set it. */
static __always_inline void aa_resolve_pwd(struct aa_call_state *state, struct task_struct *task,
					   struct aa_scratch *scratch)
{
	struct fs_struct *fs = aa_read(task, fs);
	struct aa_identity now;

	aa_start_from(scratch, 0, task, AT_FDCWD, false);
	aa_identify_start(task, AT_FDCWD, &now);
	if (aa_read(fs, users) > 1 && aa_chdirs_of(fs) != state->changes[0] + 1) {
		scratch->source[0] = AA_PATH_SOURCE_RACED;
		return;
	}
	aa_take_object(scratch, 0, &now, AA_PATH_SOURCE_DENTRY);
}

/* An exec has closed what was to be closed then; nobody else could have. The entry's look holds if that is still there.
 */
static __always_inline void aa_look_after_exec(const struct aa_call_state *state, __u32 i, struct aa_identity *now)
{
	struct dentry *dentry = (void *)(long)state->object[i].dentry;

	if (state->operation == AA_OPERATION_EXEC && !now->dentry && dentry &&
	    (__u64)(long)aa_read(dentry, d_inode) == state->object[i].inode)
		*now = state->object[i];
}

/* The object of a call by descriptor. */
static __always_inline void aa_resolve_descriptor(struct aa_call_state *state, struct task_struct *task,
						  const volatile struct aa_call_spec *spec, __u32 i,
						  struct aa_scratch *scratch)
{
	struct aa_identity now;
	__u8 source = AA_PATH_SOURCE_FILE;

	if (spec->closes) {
		aa_resolve_closed(state, task, spec, scratch);
		return;
	}
	if (state->operation == AA_OPERATION_EXEC && state->used[i].file && scratch->result >= 0) {
		aa_take_object(scratch, i, &state->used[i], AA_PATH_SOURCE_FILE);
		return;
	}
	aa_start_from(scratch, i, task, state->fd[i], state->changes[i] != 0);
	aa_identify_start(task, state->fd[i], &now);
	aa_look_after_exec(state, i, &now);
	/* What was submitted was looked at then. */
	if (aa_config.exit_only && spec->fd && state->call < AA_CALL_COUNT) {
		source = AA_PATH_SOURCE_FD_AT_RETURN;
	} else if (state->used[i].file) {
		if (!aa_identity_equal(&state->used[i], &now))
			source = AA_PATH_SOURCE_FD_CHANGED;
	} else if (!state->has_no_look && (!aa_identity_equal(&state->object[i], &now) ||
					   !aa_is_settled(state->changes[i], scratch->changes[i]))) {
		source = AA_PATH_SOURCE_FD_CHANGED;
	}
	scratch->source[i] = source;
	if (source == AA_PATH_SOURCE_FD_CHANGED)
		return;
	if (!now.dentry) {
		scratch->source[i] = AA_PATH_SOURCE_NONE;
		return;
	}
	aa_take_object(scratch, i, &now, source);
}

/* The object behind a new descriptor. */
static __always_inline void aa_resolve_opened(struct aa_call_state *state, struct task_struct *task,
					      struct aa_scratch *scratch)
{
	struct files_struct *files = aa_read(task, files);
	__s32 fd = scratch->opened;
	__u8 source = AA_PATH_SOURCE_FILE;
	struct aa_identity now;
	__u64 begun;

	aa_start_from(scratch, 0, task, fd, false);
	aa_identify_start(task, fd, &now);
	if (state->used[0].file) {
		if (!aa_identity_equal(&state->used[0], &now)) {
			scratch->source[0] = AA_PATH_SOURCE_FD_CHANGED;
			return;
		}
	} else if (aa_read(files, count.counter) > 1) {
		if (aa_is_fresh(&state->newcomer, files, fd, &begun))
			aa_note_given(files, fd, aa_file_identity(now.file, now.dentry, now.mount), begun);
		else
			source = AA_PATH_SOURCE_RACED; /* Likely right, not certain. */
	}
	if (now.dentry)
		aa_take_object(scratch, 0, &now, source);
}

/* A name that the kernel itself told, below the call. */
static __always_inline bool aa_resolve_acted(const struct aa_acted_side *acted, __u32 i, struct aa_scratch *scratch)
{
	struct dentry *directory = (void *)(long)acted->directory, *dentry = (void *)(long)acted->dentry;
	struct inode *inode;

	if (!acted->is_set)
		return false;
	scratch->place[i].vfsmount = (void *)(long)acted->mount;
	scratch->walk[i] = AA_WALK_OBJECT;
	scratch->source[i] = AA_PATH_SOURCE_DENTRY;
	if (acted->is_whole) {
		scratch->place[i].dentry = dentry;
	} else {
		scratch->place[i].dentry = directory;
		bpf_probe_read_kernel(scratch->leaf[i], AA_NAME_BYTES, acted->leaf);
		scratch->has_leaf[i] = 1;
	}
	/* Nothing holds the directory any more: that it is the same says that the memory was not given to another. */
	if ((__u64)(long)aa_read(directory, d_inode) != acted->directory_inode)
		scratch->source[i] = AA_PATH_SOURCE_RACED;
	scratch->facts[i] = acted->facts;
	if (acted->facts.is_known)
		return true;
	/* Made by this call: its inode was not there before. */
	inode = aa_read(dentry, d_inode);
	if (inode && (__u64)(long)aa_read(dentry, d_parent) == acted->directory &&
	    aa_read(dentry, d_name.hash_len) == acted->name_hash) {
		scratch->inode[i] = inode;
		scratch->kind[i] = aa_kind_of(inode, scratch->place[i].vfsmount);
	}
	return true;
}

/* What the kernel kept of a name after it: the file of a program, and the one that a bound socket made. */
static __always_inline bool aa_resolve_used(struct aa_call_state *state, struct task_struct *task,
					    const volatile struct aa_call_spec *spec, __u32 i,
					    struct aa_scratch *scratch)
{
	bool is_bound = spec->when == AA_WHEN_UNIX_PATH;

	if (i || scratch->result < 0 || !state->used[0].file || (!is_bound && state->operation != AA_OPERATION_EXEC))
		return false;
	/* The socket holds the file that it made. */
	if (is_bound)
		aa_start_from(scratch, 0, task, (__s32)state->args[0], state->socket_changes != 0);
	aa_take_object(scratch, 0, &state->used[0], AA_PATH_SOURCE_DENTRY);
	return true;
}

/* After a chdir that failed. By a tracepoint its own beginning and end are counted, by a probe below it nothing is. */
static __always_inline bool aa_pwd_stayed(const struct aa_call_state *state, struct task_struct *task)
{
	struct fs_struct *fs = aa_read(task, fs);

	return aa_read(fs, users) < 2 || aa_chdirs_of(fs) == state->changes[0] + (aa_config.has_below ? 0 : 1);
}

/* A name that was not resident at the entry: the kernel has touched it since. Only now does an empty one show. */
static __always_inline void aa_read_again(struct aa_call_state *state, const volatile struct aa_call_spec *spec,
					  __u32 i, __u8 path)
{
	if (!path || state->by_fd[i] || state->name_bytes[i] >= 0)
		return;
	aa_read_argument(state, spec, i, path, false);
	state->name_is_late[i] = 1;
	if (state->name_bytes[i] == 0 && aa_is_empty_meant(spec, state, i))
		state->by_fd[i] = 1;
}

/* The directory that a name starts from. One that was removed has no entries, and no name leads to it. */
static __always_inline void aa_begin_at(struct aa_scratch *scratch, __u32 i, const struct aa_identity *start)
{
	scratch->place[i].dentry = (void *)(long)start->dentry;
	scratch->place[i].vfsmount = (void *)(long)start->mount;
	if (aa_is_deleted(scratch->place[i].dentry))
		scratch->flags[i] |= AA_PATH_DELETED | AA_PATH_UNREACHABLE;
	if (i == 0)
		aa_fill_object(&scratch->facts[0], (void *)(long)start->inode, AA_KIND_OF_START);
}

/* A name as passed: the place it starts from when it is relative. */
static __always_inline void aa_resolve_name(struct aa_call_state *state, struct task_struct *task,
					    const volatile struct aa_call_spec *spec, __u32 i,
					    const struct aa_acted *acted, bool has_kernel_name,
					    struct aa_scratch *scratch)
{
	struct aa_identity now;
	char first = 0;

	if (has_kernel_name) {
		if (state->name_bytes[i] < 0)
			scratch->flags[i] |= AA_PATH_UNREADABLE;
		return;
	}
	if ((acted && aa_resolve_acted(&acted->side[i & 1], i, scratch)) ||
	    aa_resolve_used(state, task, spec, i, scratch)) {
		if (state->name_bytes[i] < 0)
			scratch->flags[i] |= AA_PATH_UNREADABLE;
		return;
	}
	if (state->name_bytes[i] < 0) {
		scratch->flags[i] |= AA_PATH_UNREADABLE;
		return;
	}
	if (state->name_bytes[i] == 0)
		return;
	first = state->name[i][0]; /* a long name's beginning is here too */
	scratch->walk[i] = AA_WALK_DIRECTORY;
	if (spec->how && state->resolve & RESOLVE_IN_ROOT) {
		scratch->walk[i] = AA_WALK_OWN_ROOT;
	} else if (first == '/') {
		scratch->walk[i] = AA_WALK_NONE;
		scratch->source[i] = AA_PATH_SOURCE_AS_PASSED;
		return;
	}
	aa_start_from(scratch, i, task, state->fd[i], !spec->sets_pwd && state->changes[i] != 0);
	aa_identify_start(task, state->fd[i], &now);
	aa_look_after_exec(state, i, &now);
	if (!now.dentry && !state->object[i].dentry)
		return;
	if (now.dentry != state->object[i].dentry || now.mount != state->object[i].mount ||
	    !(spec->sets_pwd ? aa_pwd_stayed(state, task) : aa_is_settled(state->changes[i], scratch->changes[i]))) {
		/* An absolute name below a root that nobody knows is no path. */
		scratch->source[i] =
			scratch->walk[i] == AA_WALK_OWN_ROOT ? AA_PATH_SOURCE_FD_CHANGED : AA_PATH_SOURCE_RACED;
		return;
	}
	scratch->source[i] = AA_PATH_SOURCE_DIR_AND_NAME;
	aa_begin_at(scratch, i, &now);
}

/* A name that is known is the process's own: by another root it may be another file. */
static __always_inline void aa_flag_root(struct aa_scratch *scratch, __u32 i, struct task_struct *task)
{
	struct dentry *dentry;
	struct vfsmount *vfsmount;

	if (scratch->source[i] == AA_PATH_SOURCE_NONE || scratch->source[i] == AA_PATH_SOURCE_FD_CHANGED ||
	    scratch->kind[i] & AA_KIND_PLACELESS)
		return;
	dentry = scratch->root_mount ? scratch->root_dentry : aa_read(task, fs, root.dentry);
	vfsmount = scratch->root_mount ? scratch->root_mount : aa_read(task, fs, root.mnt);
	if ((__u64)(long)dentry != aa_control.reader_root_dentry ||
	    (__u64)(long)vfsmount != aa_control.reader_root_mount)
		scratch->flags[i] |= AA_PATH_OTHER_ROOT;
}

/* A reader is woken once, and one that is awake not at all. */
static __always_inline __u64 aa_wake_flags(void)
{
	switch (aa_control.reader_waits) {
	case AA_READER_IS_AWAKE:
		return BPF_RB_NO_WAKEUP;
	case AA_READER_NAPS:
		if (bpf_ringbuf_query(&aa_ring, BPF_RB_AVAIL_DATA) <= aa_config.wake_bytes)
			return BPF_RB_NO_WAKEUP;
	}
	aa_control.reader_waits = AA_READER_IS_AWAKE;
	return BPF_RB_FORCE_WAKEUP;
}

static __always_inline struct aa_record aa_record_of(__u8 type, __u8 operation, __u32 tid)
{
	return (struct aa_record){ .version = AA_ABI_VERSION, .type = type, .operation = operation, .thread = tid };
}

/* Looks who the thread is; false if that is not what was told last. */
static __always_inline bool aa_note_thread(struct aa_call_state *state, __u32 tid, struct task_struct *task)
{
	struct aa_process_facts *told = &state->thread.process;
	struct task_struct *view = aa_view(task, task_struct), *parent = aa_of(view, real_parent);
	__u64 comm[2] = {}, cgroup_id;
	__u32 uid;

	_Static_assert(AA_COMM_BYTES == sizeof(comm), "two words are compared");
#ifdef AA_DIRECT
	comm[0] = *(__u64 *)&view->comm[0];
	comm[1] = *(__u64 *)&view->comm[sizeof(__u64)];
	cgroup_id = view->cgroups->dfl_cgrp->kn->id;
	uid = view->cred->uid.val;
#else
	bpf_get_current_comm(comm, sizeof(comm));
	cgroup_id = bpf_get_current_cgroup_id();
	uid = bpf_get_current_uid_gid();
#endif
	if (state->is_thread_told && state->parent == (__u64)(long)parent && told->cgroup_id == cgroup_id &&
	    told->uid == uid && ((__u64 *)told->comm)[0] == comm[0] && ((__u64 *)told->comm)[1] == comm[1])
		return true;
	state->is_thread_told = 0;
	state->thread.record = aa_record_of(AA_RECORD_THREAD, 0, tid);
	/* They stay as they are until an exec by another thread than the first. */
	if (!state->has_numbers) {
		state->thread.pid = aa_process_number(task);
		state->thread.tid = aa_thread_number(task);
		state->has_numbers = 1;
	}
	/* A parent that is the same task has the same number. */
	state->parent = (__u64)(long)parent;
	told->ppid = aa_process_number(parent);
	told->uid = uid;
	told->cgroup_id = cgroup_id;
	((__u64 *)told->comm)[0] = comm[0];
	((__u64 *)told->comm)[1] = comm[1];
	state->thread.is_new = !state->was_thread_told;
	return false;
}

/* Tells who the thread is, if that is not what was told last; false: the ring is full, and nothing may follow. */
static __always_inline bool aa_tell_thread(struct aa_call_state *state, __u32 tid, struct task_struct *task)
{
	if (aa_note_thread(state, tid, task))
		return true;
	if (bpf_ringbuf_output(&aa_ring, &state->thread, sizeof(state->thread), aa_wake_flags()))
		return false;
	state->is_thread_told = 1;
	state->was_thread_told = 1;
	return true;
}

/* Nothing more will come of it. Where the ring is full, its reader remembers it until the number comes again. */
static __always_inline void aa_tell_end(__u32 tid)
{
	struct aa_record record = aa_record_of(AA_RECORD_THREAD_END, 0, tid);

	bpf_ringbuf_output(&aa_ring, &record, sizeof(record), BPF_RB_NO_WAKEUP);
}

/*
 * What a name that was told is known again by: all that told it. The dentries of the whole path, each with its sequence
 * count, which a rename raises, and a hash of its name; the inode; whose root it was named from; whether it was
 * unlinked. A memory that was given to another dentry or inode has another number, name or count.
 */
static __always_inline __u64 aa_file_key(__u64 checksum, struct dentry *root, struct vfsmount *root_mount,
					 struct inode *inode, __u32 is_deleted)
{
	struct aa_inode_facts facts = {};
	__u64 key;

	aa_inode_read(inode, &facts);
	/* Products that do not wait for one another, each by an odd number that no other and no walk has. */
	key = checksum * 0x9fb21c651e98df25ULL + (__u64)(long)inode * 0x9e3779b185ebca87ULL +
	      facts.number * 0xd6e8feb86659fd93ULL + (__u64)(long)facts.super_block * 0x165667b19e3779f9ULL +
	      ((__u64)facts.rdev << 32 | (facts.mode & S_IFMT) | is_deleted) * 0x85ebca77c2b2ae63ULL +
	      (__u64)(long)root * 0x27d4eb2f165667c5ULL + (__u64)(long)root_mount * 0xff51afd7ed558ccdULL;
	aa_mix_into(key, key >> 32);
	return key;
}

static __always_inline __u32 aa_known_slot(__u64 key)
{
	return key >> 60 & (AA_THREAD_FILES - 1);
}

/* In place of a number: what is done with the file by its descriptor is left out by path rules. */
#define AA_FILE_LEFT_OUT (1u << 31)

/* The number under which the thread will speak of the event's file; 0: of such a one it will not. */
static __always_inline __u32 aa_number_file(struct aa_call_state *state, struct aa_scratch *scratch)
{
	__u32 slot;

	if (!scratch->name_key || !scratch->inode[0] || scratch->has_leaf[0] || scratch->walk[0] != AA_WALK_OBJECT ||
	    (scratch->source[0] != AA_PATH_SOURCE_FILE && scratch->source[0] != AA_PATH_SOURCE_FD_AT_RETURN) ||
	    scratch->flags[0] & (AA_PATH_TRUNCATED | AA_PATH_UNREADABLE | AA_PATH_UNREACHABLE))
		return 0;
	scratch->name_key = aa_file_key(scratch->name_key, scratch->name_root_dentry, scratch->name_root_mount,
					scratch->inode[0], scratch->flags[0] & AA_PATH_DELETED);
	slot = aa_known_slot(scratch->name_key);
	state->files_told += AA_THREAD_FILES;
	return ((__u32)state->files_told & ~AA_FILE_LEFT_OUT) | slot;
}

static __always_inline void aa_fill_flags(struct aa_scratch *scratch, __u64 flags)
{
	scratch->event.flags = flags;
	scratch->more.flags_above = flags >> 32;
}

static __always_inline void aa_fill_facts(struct aa_call_state *state, __u32 tid,
					  const volatile struct aa_call_spec *spec, struct aa_scratch *scratch)
{
	struct aa_event *event = &scratch->event;

	event->record = aa_record_of(AA_RECORD_EVENT, state->operation, tid);
	event->file = 0;
	event->call = state->call;
	event->blocks = 0;
	if (state->has_no_count)
		event->blocks |= AA_MARK_NO_COUNT;
	if (state->has_no_flags)
		event->blocks |= AA_MARK_NO_FLAGS;
	if (scratch->is_early)
		event->blocks |= AA_MARK_NO_RESULT;
	event->timestamp_ns = scratch->now_ns;
	event->duration_ns =
		aa_config.no_latency || scratch->is_early ? AA_NO_DURATION : scratch->now_ns - state->entry_ns;
	event->result = scratch->result;
	event->fd = spec->when == AA_WHEN_GIVES ? state->fd[0] :
		    !spec->fd			? scratch->opened :
		    spec->path			? (__s32)aa_argument(spec->fd, state->args) :
						  state->fd[0];
	event->dirfd = aa_dirfd(spec->dirfd, state->args);
	scratch->more.count = state->count;
	scratch->more.offset = state->position;
	aa_fill_flags(scratch, spec->how ? state->flags : aa_flags_argument(spec, state->args) | spec->implied);
	event->mode = spec->how ? state->mode : spec->mode ? aa_argument(spec->mode, state->args) : 0;
}

/* A name as it was passed, of `bytes`; < 0: there is none to tell. `is_long`: it is in `text`, if that was kept. */
static __always_inline void aa_fill_raw(struct aa_scratch *scratch, __u32 i, __s32 name_bytes, const char *text,
					bool is_long)
{
	__u64 bytes = name_bytes, at = scratch->fill;

	scratch->name[i].has_raw = name_bytes >= 0;
	/* A long name whose place is gone is not what lies in the record from another one. */
	if (is_long && !text) {
		scratch->name[i].has_raw = 0;
		scratch->flags[i] |= AA_PATH_UNREADABLE;
		return;
	}
	if (name_bytes <= 0)
		return;
	aa_mask(at, AA_PATH_BYTES - 1);
	aa_mask(bytes, AA_PATH_BYTES - 1);
	if (!is_long)
		aa_mask(bytes, AA_NAME_BYTES - 1);
	if (text)
		bpf_probe_read_kernel(scratch->data + at, bytes, text);
	scratch->name[i].raw_bytes = bytes;
	scratch->fill = at + bytes;
}

static __always_inline void aa_append_block(struct aa_scratch *scratch, __u32 block, const void *from, __u32 bytes)
{
	__u64 at = scratch->fill;

	if (at > AA_DATA_BYTES - bytes)
		return;
	bpf_probe_read_kernel(scratch->data + at, bytes, from);
	scratch->event.blocks |= block;
	scratch->fill = at + bytes;
}

/* The event is whole: what stands behind its fixed part, in bytes. `has_other`: what a second descriptor names. */
static __always_inline __u64 aa_close_record(struct aa_scratch *scratch, bool has_other)
{
	const struct aa_file_facts none = {};
	__u64 bytes;

	scratch->name[0].source = scratch->source[0];
	scratch->name[0].flags = scratch->flags[0];
	scratch->event.object = scratch->facts[0];
	/* The second object is told of descriptors only; that it is a rule's file, of names too. */
	scratch->event.object.is_known |= scratch->facts[1].is_known & ~AA_FILE_IS_KNOWN;
	scratch->event.name = scratch->name[0];
	scratch->name[1].source = scratch->source[1];
	scratch->name[1].flags = scratch->flags[1];
	scratch->second.name = scratch->name[1];
	if (has_other || *(const __u64 *)&scratch->second.name) {
		scratch->second.object = has_other ? scratch->facts[1] : none;
		aa_append_block(scratch, AA_BLOCK_SECOND, &scratch->second, sizeof(scratch->second));
	}
	if (scratch->more.count || scratch->more.offset != AA_NO_OFFSET || scratch->more.flags_above)
		aa_append_block(scratch, AA_BLOCK_MORE, &scratch->more, sizeof(scratch->more));
	if ((scratch->flags[0] | scratch->flags[1]) & AA_PATH_TRUNCATED)
		aa_count(path_truncated, 1);
	if ((scratch->flags[0] | scratch->flags[1]) & AA_PATH_UNREADABLE)
		aa_count(path_unreadable, 1);
	bytes = scratch->fill;
	aa_mask(bytes, 0x7fff);
	return bytes;
}

/* Into the ring of events. */
static __always_inline void aa_send_event(struct aa_call_state *state, __u32 tid, struct task_struct *task,
					  struct aa_scratch *scratch, __u64 bytes, __u32 number, bool is_left_out)
{
	__u32 slot = number & (AA_THREAD_FILES - 1);

	scratch->event.file = number;
	/* Until it is told, the number that this one takes the place of means nothing any more. */
	if (number)
		state->files[slot].number = 0;
	if (is_left_out) {
		aa_count(filtered, 1);
		if (number) {
			state->files[slot].key = scratch->name_key;
			state->files[slot].number = AA_FILE_LEFT_OUT;
		}
		return;
	}
	if (!aa_tell_thread(state, tid, task) ||
	    bpf_ringbuf_output(&aa_ring, &scratch->event, sizeof(struct aa_event) + bytes, aa_wake_flags())) {
		aa_count(ring_full, 1);
		return;
	}
	if (number) {
		state->files[slot].key = scratch->name_key;
		state->files[slot].number = number;
	}
}

/* Counts the event, and tells of what its row is if that is new. Where there is no room, the next one tells it. */
static __always_inline void aa_send_total(struct aa_call_state *state, __u32 tid, struct task_struct *task,
					  struct aa_scratch *scratch, __u64 bytes, __s32 row, bool moves)
{
	struct aa_total *total = aa_total_at(row < 0 ? aa_config.total_rows + state->operation : (__u32)row);

	if (!total)
		return;
	aa_total_add(total, moves ? scratch->result : 0, scratch->result < 0,
		     scratch->is_early ? 0 : scratch->event.duration_ns);
	if (row < 0 || total->is_told)
		return;
	aa_note_thread(state, tid, task);
	scratch->told.thread = state->thread;
	scratch->told.thread.record.type = AA_RECORD_TOLD;
	scratch->told.row = row;
	if (!bpf_ringbuf_output(&aa_names, &scratch->told, sizeof(scratch->told) + sizeof(struct aa_event) + bytes,
				aa_wake_flags()))
		total->is_told = 1;
}

static __always_inline void aa_send(struct aa_call_state *state, __u32 tid, struct task_struct *task,
				    struct aa_scratch *scratch, const volatile struct aa_call_spec *spec, __u32 number,
				    __s32 row, bool is_left_out)
{
	__u64 bytes;

	bytes = aa_close_record(scratch, state->by_fd[1]);
	if (bytes > AA_DATA_BYTES) {
		aa_count(state_full, 1);
		return;
	}
	if (aa_config.total_rows)
		aa_send_total(state, tid, task, scratch, bytes, row, spec->moves);
	if (aa_config.no_events)
		aa_count(counted, 1);
	else
		aa_send_event(state, tid, task, scratch, bytes, number, is_left_out);
}

/* --- an event that says by itself whose it is: struct aa_told --- */

static __always_inline void aa_fill_thread(struct aa_thread *thread, __u32 tid, struct task_struct *task)
{
	thread->record = aa_record_of(AA_RECORD_TOLD, 0, tid);
	thread->pid = aa_process_number(task);
	thread->tid = aa_thread_number(task);
	thread->process.ppid = aa_process_number(aa_read(task, real_parent));
	thread->process.uid = bpf_get_current_uid_gid();
	thread->process.cgroup_id = bpf_get_current_cgroup_id();
	bpf_get_current_comm(thread->process.comm, sizeof(thread->process.comm));
}

/* Counts it under the name that `scratch` has by now. */
static __always_inline void aa_send_whole_total(struct aa_scratch *scratch, __u64 bytes, __u32 operation, __u32 tgid,
						__u64 started_ns, __s64 moved, __u64 duration_ns)
{
	__s32 row = aa_total_find_of(scratch->total_name, operation, true, tgid, started_ns);
	struct aa_total *total = aa_total_at(row < 0 ? aa_config.total_rows + operation : (__u32)row);

	if (!total)
		return;
	aa_total_add(total, moved, scratch->event.result < 0, duration_ns);
	if (row < 0 || total->is_told)
		return;
	scratch->told.row = row;
	if (!bpf_ringbuf_output(&aa_names, &scratch->told, sizeof(scratch->told) + sizeof(struct aa_event) + bytes,
				aa_wake_flags()))
		total->is_told = 1;
}

static __always_inline void aa_send_whole(struct aa_scratch *scratch, __u64 bytes, bool is_left_out)
{
	if (aa_config.no_events)
		aa_count(counted, 1);
	else if (is_left_out)
		aa_count(filtered, 1);
	else if (bpf_ringbuf_output(&aa_ring, &scratch->told, sizeof(scratch->told) + sizeof(struct aa_event) + bytes,
				    aa_wake_flags()))
		aa_count(ring_full, 1);
}

#define AA_OF_SELECTED_RULES                                                                                           \
	(AA_FILE_OF_RULES(AA_RULE_BIT(WATCH) | AA_RULE_BIT(SENSITIVE)) |                                               \
	 AA_FILE_MAY_BE_OF_RULES(AA_RULE_BIT(WATCH) | AA_RULE_BIT(SENSITIVE)))

/* Of a selected kind, or the very file that a rule is of, which selects it whatever its kind. */
static __always_inline bool aa_is_kind_selected(const struct aa_scratch *scratch, __u32 i)
{
	if (aa_config.kinds >> (scratch->kind[i] & AA_KIND_NUMBER) & 1)
		return true;
	if (!aa_config.rule_files)
		return false;
	return (scratch->facts[i].is_known | aa_rules_of_inode((__u64)(long)scratch->inode[i])) & AA_OF_SELECTED_RULES;
}

/* Neither side's object is of a kind that was asked for. What was found a moment ago may be gone: then it counts. */
static __always_inline bool aa_is_filtered(const struct aa_scratch *scratch, struct task_struct *task)
{
	if ((!scratch->inode[0] && !scratch->facts[0].is_known) || aa_is_kind_selected(scratch, 0) ||
	    !aa_start_stayed(scratch, 0, task))
		return false;
	if (scratch->walk[1] == AA_WALK_NONE)
		return true;
	return scratch->inode[1] && !aa_is_kind_selected(scratch, 1) && aa_start_stayed(scratch, 1, task);
}

/* A FIFO, a socket or a device that was not there when the rules were looked at: by its name it may be one of theirs.
 */
static __always_inline bool aa_may_be_named(const struct aa_call_state *state, const struct aa_scratch *scratch)
{
	return aa_config.rules_name && !state->by_fd[1] && scratch->place[0].dentry &&
	       !(scratch->kind[0] & AA_KIND_PLACELESS);
}

/*
 * Of an operation of which only what changes something was selected, a call that changes nothing: see changes.h. Of a
 * copy the kind of what it goes to is looked at.
 */
static __always_inline bool aa_changes_nothing(const struct aa_scratch *scratch, __u8 operation, __u64 flags,
					       __u32 mode)
{
	__u8 kind = scratch->kind[1] & AA_KIND_NUMBER;

	if (!(aa_config.only_changes >> (operation & 63) & 1))
		return false;
	if (operation == AA_OPERATION_OPEN)
		return !AA_OPEN_CHANGES(flags);
	if (operation == AA_OPERATION_MAP)
		return !AA_MAP_CHANGES(flags, mode);
	return operation == AA_OPERATION_COPY && scratch->inode[1] && AA_KIND_IS_NO_FILE(kind);
}

static __always_inline bool aa_call_changes_nothing(const struct aa_call_state *state,
						    const volatile struct aa_call_spec *spec,
						    const struct aa_scratch *scratch)
{
	if (!aa_config.only_changes || state->has_no_flags)
		return false;
	return aa_changes_nothing(scratch, state->operation,
				  spec->how ? state->flags : aa_flags_argument(spec, state->args) | spec->implied,
				  spec->mode ? aa_argument(spec->mode, state->args) : 0);
}

/* What a call has left in other maps, for the next call of its thread to find empty. */
static __always_inline void aa_end(struct aa_call_state *state, __u32 tid)
{
	if (state->has_acted) {
		state->has_acted = 0;
		bpf_map_delete_elem(&aa_acted, &tid);
	}
	aa_count_ended(state);
	if (state->is_stranger) {
		if (state->was_thread_told)
			aa_tell_end(tid);
		aa_state_drop(tid);
	}
}

/* Nobody asked for calls that end so. */
static __always_inline bool aa_is_left_out(const struct aa_call_state *state, __s64 result)
{
	if (state->operation == AA_OPERATION_BLIND_SPOT)
		return result < 0;
	if (aa_config.errors_only && result >= 0)
		return true;
	return aa_config.min_duration_ns && bpf_ktime_get_boot_ns() - state->entry_ns < aa_config.min_duration_ns &&
	       (__u32)bpf_get_current_pid_tgid() != aa_control.canary_tid;
}

/* As deep as a name that is spoken of by number may be: this walk has no bpf_loop(). */
#define AA_AGAIN_STEPS 24

/*
 * At the return of a call by descriptor alone: if the thread has told this very file, under this very name, a short
 * record says the rest. False: not so, or it cannot be known, and nothing has been done.
 */
AA_DEFINE_FIRST_STEP(aa_finish_again, __s64 result)
{
	AA_FIRST_STEP_BEGINS
	struct task_struct *task = (void *)bpf_get_current_task();
	struct files_struct *files = aa_read(task, files);
	const volatile struct aa_call_spec *spec;
	struct aa_walker *walker;
	__u64 changes = 0, now_ns, duration_ns, key;
	__u8 source = AA_PATH_SOURCE_FILE;
	struct aa_total *total = NULL;
	struct aa_identity now;
	struct aa_again *again;
	struct dentry *dentry;
	__u32 slot;

	if (!state || !(spec = aa_spec_of(state->call)) || !state->is_plain ||
	    (!aa_config.no_events && !aa_config.rule_lists && !state->is_thread_told) || state->has_no_count ||
	    (__s32)result != result || state->count >> 32 || aa_flags_argument(spec, state->args))
		return false;
	if (!state->has_no_look)
		changes = state->changes[0] ? aa_changes_if_shared(task, state->fd[0]) :
					      aa_changes_of_start(task, state->fd[0]);
	aa_identify(aa_file_of(files, state->fd[0]), &now);
	if (!now.inode)
		return false;
	if (aa_config.exit_only)
		source = AA_PATH_SOURCE_FD_AT_RETURN;
	else if (state->used[0].file ? !aa_identity_equal(&state->used[0], &now) :
				       !state->has_no_look && (!aa_identity_equal(&state->object[0], &now) ||
							       !aa_is_settled(state->changes[0], changes)))
		return false;
	dentry = (void *)(long)now.dentry;
	walker = &state->walker;
	aa_walk_start(walker, dentry, (void *)(long)now.mount, aa_read(task, fs));
	aa_mounts_note(walker, (void *)(long)now.mount);
	if (!aa_walk_bounded(walker, NULL, AA_AGAIN_STEPS) || walker->end < AA_WALK_AT_ROOT || walker->sequences & 1 ||
	    !aa_mounts_stayed(walker, (void *)(long)now.mount))
		return false;
	key = aa_file_key(walker->checksum, walker->root_dentry, walker->root_mount, (void *)(long)now.inode,
			  aa_is_deleted(dentry) ? AA_PATH_DELETED : 0);
	slot = aa_known_slot(key);
	if (!aa_config.no_events && (state->files[slot].key != key || !state->files[slot].number))
		return false;
	if (aa_config.total_rows) {
		total = aa_total_at(aa_total_find(aa_total_name_of(key, source), state->operation, false));
		if (!total || !total->is_told)
			return false;
	}
	/* As aa_check_start() asks. */
	if (!state->has_no_look && !aa_is_still_settled(changes, task, state->fd[0]))
		return false;
	now_ns = bpf_ktime_get_boot_ns();
	duration_ns = aa_config.no_latency ? (__u32)AA_NO_DURATION : now_ns - state->entry_ns;
	if (duration_ns > (__u32)AA_NO_DURATION - !aa_config.no_latency)
		return false;
	if (total)
		aa_total_add(total, spec->moves ? result : 0, result < 0, duration_ns);
	if (aa_config.no_events) {
		aa_count(counted, 1);
		return true;
	}
	if (state->files[slot].number == AA_FILE_LEFT_OUT) {
		aa_count(filtered, 1);
		return true;
	}
	again = aa_tell_thread(state, tid, task) ? bpf_ringbuf_reserve(&aa_ring, sizeof(*again), 0) : NULL;
	if (!again) {
		aa_count(ring_full, 1);
		return true;
	}
	again->record = aa_record_of(AA_RECORD_AGAIN, state->operation, tid);
	again->timestamp_ns = now_ns;
	again->duration_ns = duration_ns;
	again->file = state->files[slot].number;
	again->offset = state->position;
	again->result = result;
	again->count = state->count;
	again->fd = state->fd[0];
	again->call = state->call;
	again->source = source;
	again->reserved = 0;
	bpf_ringbuf_submit(again, aa_wake_flags());
	return true;
}

/*
 * Names of sockets whose owners do work for others, as their owners bound them; "*" stands for a number in
 * /run/user/NUMBER. The core fills it in.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, AA_MANAGERS_MAX);
	__type(key, struct aa_manager_name);
	__type(value, __u32);
} aa_managers SEC(".maps");

/* Volatile, so that it is in .rodata: in the section of strings libbpf 1.1.2 does not find it, and drops all BTF. */
static const volatile char aa_managers_of_users[] = "/run/user/*";

/*
 * Whether a file is a socket that is connected to one of those: by the name that the other end was bound to, whatever
 * this one called it. `name` is room for it.
 */
static __always_inline bool aa_leads_to_manager(struct file *file, struct aa_manager_name *name)
{
	struct unix_address *address;
	struct unix_sock *peer;
	struct sock *sock;
	const char *text;
	__u32 i, j;

	if ((aa_read(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return false;
	sock = aa_read((struct file___socket *)file, private_data, sk);
	if (aa_read(sock, __sk_common.skc_family) != AF_UNIX)
		return false;
	peer = (void *)aa_read((struct unix_sock *)sock, peer);
	address = peer ? aa_read(peer, addr) : NULL;
	if (!address)
		return false;
	text = (void *)address + bpf_core_field_offset(struct unix_address, name) + sizeof(__u16);
	__builtin_memset(name, 0, sizeof(*name));
	bpf_probe_read_kernel_str(name->text, sizeof(name->text), text);
	if (bpf_map_lookup_elem(&aa_managers, name))
		return true;
	for (i = 0; i < sizeof(aa_managers_of_users) - 2; i++)
		if (name->text[i] != aa_managers_of_users[i])
			return false;
	for (; i < AA_MANAGER_NUMBER_END; i++)
		if (name->text[i] < '0' || name->text[i] > '9')
			break;
	__builtin_memset(name, 0, sizeof(*name));
	for (j = 0; j < sizeof(aa_managers_of_users) - 1; j++)
		name->text[j] = aa_managers_of_users[j];
	bpf_probe_read_kernel_str(name->text + sizeof(aa_managers_of_users) - 1,
				  sizeof(name->text) - sizeof(aa_managers_of_users) + 1, text + i);
	return bpf_map_lookup_elem(&aa_managers, name) != NULL;
}

/* Of a descriptor. The second name of the call, which it has not, is the room. */
__noinline int aa_is_managers(__u32 tid, __u32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct file *file = aa_file_of(aa_read(task, files), (__s32)fd);
	struct aa_call_state *state = aa_state_of(tid);

	_Static_assert(sizeof(struct aa_manager_name) <= sizeof(state->name[1]), "it has room there");
	return state && file && aa_leads_to_manager(file, (void *)state->name[1]);
}

#include "decided.bpf.h"

static __always_inline bool aa_has_opened(const volatile struct aa_call_spec *spec, const struct aa_scratch *scratch)
{
	return scratch->opened >= 0;
}

static __always_inline bool aa_has_set_pwd(const volatile struct aa_call_spec *spec, const struct aa_scratch *scratch)
{
	return spec->sets_pwd && scratch->result >= 0;
}

/* The object of one side, where there is one before any name. */
AA_DEFINE_STEP(aa_step_object, , __u32 i)
{
	AA_STEP_BEGINS
	struct task_struct *task = (void *)bpf_get_current_task();
	const volatile struct aa_call_spec *spec;

	if (!state || !scratch || !(spec = aa_spec_told(state->call)))
		return 0;
	aa_mask(i, 1);
	aa_read_again(state, spec, i, i ? spec->path2 : spec->path);
	if (!i && aa_has_opened(spec, scratch))
		aa_resolve_opened(state, task, scratch);
	else if (!i && state->by_null[0] && scratch->result == -EFAULT)
		/* This kernel knows no such meaning of NULL, or not here. */
		scratch->flags[0] |= AA_PATH_UNREADABLE;
	else if (state->by_fd[i] && !(state->by_null[i] && state->fd[i] == AT_FDCWD && scratch->result == -EBADF))
		/* To fanotify_mark() the current directory is no descriptor. */
		aa_resolve_descriptor(state, task, spec, i, scratch);
	return 0;
}

/* The name of one side, as it was passed and where it starts from. */
AA_DEFINE_STEP(aa_step_name, , __u32 i)
{
	AA_STEP_BEGINS
	struct task_struct *task = (void *)bpf_get_current_task();
	const volatile struct aa_call_spec *spec;
	struct aa_acted *acted = NULL;

	if (!state || !scratch || !(spec = aa_spec_told(state->call)))
		return 0;
	aa_mask(i, 1);
	if (state->has_acted && scratch->result >= 0)
		acted = bpf_map_lookup_elem(&aa_acted, &tid);
	if ((i ? spec->path2 : spec->path) && !state->by_fd[i])
		aa_resolve_name(state, task, spec, i, acted,
				!i && (aa_has_opened(spec, scratch) || aa_has_set_pwd(spec, scratch)), scratch);
	if (!i && aa_has_set_pwd(spec, scratch))
		aa_resolve_pwd(state, task, scratch);
	if (!state->name_is_long[i])
		aa_fill_raw(scratch, i, state->name_bytes[i], state->name[i], false);
	return 0;
}

/* What the event's row of the totals is called by: the rest of it, from `at` on. A loop, and so a function of its own.
 */
AA_DEFINE_STEP(aa_step_hash, , __u32 at)
{
	AA_STEP_BEGINS

	if (aa_config.total_rows && state && scratch)
		aa_total_hash_data(scratch, at);
	return 0;
}

/* What was found is checked once more, and sent. */
AA_DEFINE_STEP(aa_step_send)
{
	AA_STEP_BEGINS
	struct task_struct *task = (void *)bpf_get_current_task();
	const volatile struct aa_call_spec *spec;
	__u32 number, is_left_out;
	__s32 row = -1;

	if (!state || !scratch || !(spec = aa_spec_told(state->call)))
		return 0;
	/*
	 * After the walk, so that between the call's beginning and this the name was in force: whoever puts events in
	 * order must not find a name that a rename made only later. (A walk can be preempted for long.)
	 */
	scratch->now_ns = bpf_ktime_get_boot_ns();
	aa_fill_facts(state, tid, spec, scratch);
	aa_check_start(scratch, 0, task);
	aa_check_start(scratch, 1, task);
	aa_flag_root(scratch, 0, task);
	aa_flag_root(scratch, 1, task);
	if (!scratch->facts[0].is_known)
		aa_fill_object(&scratch->facts[0], scratch->inode[0], scratch->kind[0]);
	if (state->by_fd[1])
		aa_fill_object(&scratch->facts[1], scratch->inode[1], scratch->kind[1]);
	is_left_out =
		(aa_config.rule_lists || scratch->is_unasked) && !state->by_fd[1] && aa_rules_leave_out(scratch->slot);
	if (scratch->is_unasked && is_left_out) {
		aa_count(filtered, 1);
		return 0;
	}
	number = aa_number_file(state, scratch);
	if (aa_config.total_rows) {
		/* A number stands for the first name alone. */
		if (number && scratch->walk[1] == AA_WALK_NONE && !scratch->name[1].has_raw)
			scratch->total_name = aa_total_name_of(scratch->name_key, scratch->source[0]);
		else
			aa_step(aa_step_hash, , aa_total_hash_begin(scratch));
		row = aa_total_find(scratch->total_name, state->operation, true);
	}
	aa_send(state, tid, task, scratch, spec, number, row, is_left_out);
	return 0;
}

static __always_inline void aa_render(__u32 slot, __u64 i, bool loops)
{
	if (loops)
		aa_render_looped(slot, i);
	else
		aa_render_bounded(slot, i);
}

static __always_inline void aa_scratch_reset(struct aa_scratch *scratch, __s64 result)
{
	__builtin_memset(&scratch->place, 0, sizeof(scratch->place));
	__builtin_memset(&scratch->name, 0, sizeof(scratch->name));
	__builtin_memset(&scratch->facts, 0, sizeof(scratch->facts));
	scratch->inode[0] = scratch->inode[1] = NULL;
	scratch->result = result;
	scratch->opened = -1;
	scratch->fill = 0;
	scratch->source[0] = scratch->source[1] = AA_PATH_SOURCE_NONE;
	scratch->flags[0] = scratch->flags[1] = 0;
	scratch->walk[0] = scratch->walk[1] = AA_WALK_NONE;
	scratch->has_start[0] = scratch->has_start[1] = 0;
	scratch->has_leaf[0] = scratch->has_leaf[1] = 0;
	scratch->kind[0] = scratch->kind[1] = 0;
	scratch->name_key = 0;
	scratch->is_early = 0;
	scratch->root_mount = NULL;
	scratch->is_unasked = 0;
}

/* At the return of a call that began. `loops`: bpf_loop() may be used (a constant). */
static __always_inline void aa_finish(struct aa_call_state *state, __u32 tid, __s64 result, bool loops)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	const volatile struct aa_call_spec *spec;
	struct aa_scratch *scratch;
	__u32 call = state->call, slot;

	spec = aa_spec_of(call);
	if (!spec)
		return;
	state->phase = AA_PHASE_IDLE;
	if (state->is_late) {
		aa_count_begun(state);
		if (!aa_first_step(aa_is_meant_at_last, result)) {
			aa_count(performed, -1);
			aa_end(state, tid);
			return;
		}
	} else if (state->is_undecided && !aa_first_step(aa_is_meant_after, result)) {
		/* It is none of ours, and was counted only for safety. */
		aa_count(performed, -1);
		aa_end(state, tid);
		return;
	}
	/* What was not done is no blind spot; it may be another operation that was asked for. */
	if (result < 0 && spec->then_operation == AA_OPERATION_BLIND_SPOT &&
	    state->operation == AA_OPERATION_BLIND_SPOT && aa_is_asked(spec->operation))
		state->operation = spec->operation;
	if (aa_is_left_out(state, result)) {
		aa_count(filtered, 1);
		aa_end(state, tid);
		return;
	}
	if (state->operation == AA_OPERATION_BLIND_SPOT)
		aa_count(blind_spots, 1);
	if (aa_first_step(aa_finish_again, result)) {
		aa_end(state, tid);
		return;
	}
	/* Not resident at the entry; the kernel has touched them since. */
	if (spec->how)
		aa_first_step(aa_confirm_how, result);
	if (spec->when == AA_WHEN_BLOCKS && (__u32)state->args[1] != FICLONE && state->operation == spec->operation)
		aa_first_step(aa_confirm_clone, 0);
	if (state->has_no_count)
		aa_count_parts(state, aa_argument(spec->iovec, state->args), aa_argument(spec->count, state->args));
	scratch = aa_scratch_claim(&slot);
	if (!scratch) {
		aa_count(state_full, 1);
		aa_end(state, tid);
		return;
	}
	aa_scratch_reset(scratch, result);
	if (spec->when == AA_WHEN_RECEIVES)
		scratch->opened = state->fd[0];
	else if (spec->returns_fd && result >= 0)
		scratch->opened = (__s32)result;
	aa_step(aa_step_object, , 0);
	if (spec->path2 || state->by_fd[1])
		aa_step(aa_step_object, , 1);
	if (state->operation != AA_OPERATION_BLIND_SPOT)
		scratch->is_unasked = aa_is_filtered(scratch, task);
	if ((scratch->is_unasked && !aa_may_be_named(state, scratch)) ||
	    aa_call_changes_nothing(state, spec, scratch)) {
		aa_count(filtered, 1);
	} else {
		aa_step(aa_step_name, , 0);
		if (aa_is_to_confirm(state, scratch, 0))
			aa_step(aa_step_confirm, , 0);
		if (spec->path2) {
			aa_step(aa_step_name, , 1);
			if (aa_is_to_confirm(state, scratch, 1))
				aa_step(aa_step_confirm, , 1);
		}
		if (spec->how && state->is_unsure && scratch->source[0] == AA_PATH_SOURCE_FILE)
			scratch->source[0] = AA_PATH_SOURCE_RACED;
		if (scratch->place[0].dentry)
			aa_render(slot, 0, loops);
		if (scratch->place[1].dentry)
			aa_render(slot, 1, loops);
		aa_step(aa_step_send);
	}
	aa_scratch_release(scratch);
	aa_end(state, tid);
}

/* At the exit of a thread: what it had under way will not return. */
static __always_inline void aa_abandon(__u32 tid)
{
	struct aa_call_state *state = aa_state_of(tid);

	aa_change_ends(state ? &state->change : NULL, tid);
	if (!state)
		return;
	/* What it waited for did not come. */
	if (state->phase == AA_PHASE_IN_CALL && !state->is_late)
		aa_settle_missed(state);
	if (state->has_acted)
		bpf_map_delete_elem(&aa_acted, &tid);
	if (state->was_thread_told)
		aa_tell_end(tid);
	aa_state_drop(tid);
}

#endif

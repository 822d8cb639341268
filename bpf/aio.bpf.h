/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The requests of one io_submit(): an event for each that the kernel took, as if it were a call of its own.
 *
 * They are read at the entry, and their descriptors looked at: by the return another thread may have taken their
 * completions and used their memory for others. How many of them were taken is known at the return; what came of them
 * is not, for a program finds that in memory that it shares with the kernel. They wait in a map under the thread's
 * number and their place.
 */
#ifndef AA_AIO_BPF_H
#define AA_AIO_BPF_H

#include "kernel.bpf.h"
#include "operation.bpf.h"

#define AA_AIO_REQUESTS_MAX 2048 /* of one call */
#define AA_AIO_REQUESTS_ROUND 32
#define AA_AIO_PLACES 4096

struct aa_aio_request {
	__u64 entry_ns; /* of the call */
	__u64 args[5];	/* see aio_operations.h */
	struct aa_identity object;
	__u64 changes;
	__u64 count;
	__u32 call;
	__u8 is_unread; /* at the entry */
	__u8 has_no_count;
	__u8 reserved[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, AA_AIO_PLACES);
	__type(key, __u64);
	__type(value, struct aa_aio_request);
} aa_aio_requests SEC(".maps");

static const struct aa_aio_request aa_new_aio_request = {};

/* The beginning of struct iocb (include/uapi/linux/aio_abi.h), which is the same for 32-bit programs. */
struct aa_iocb {
	__u64 data;
	__u32 key, rw_flags;
	__u16 command;
	__u16 priority;
	__u32 fd;
	__u64 buffer, bytes, offset;
};

/* Row + 1 of a command; 0: not listed. */
#define AA_X(command, number, ...) [number] = AA_AIO_##command##_ROW + 1,
static const volatile __u8 aa_aio_row_by_command[AA_AIO_COMMANDS] = { AA_AIOS(AA_X) };
#undef AA_X

static __always_inline __u64 aa_aio_key(__u32 tid, __u32 i)
{
	return (__u64)tid << 32 | i;
}

static __always_inline bool aa_aio_read(const struct aa_call_state *state, __u32 i, struct aa_iocb *ret_iocb)
{
	__u64 bytes = state->compat ? sizeof(__u32) : sizeof(__u64), at = 0;

	if (state->compat ? bpf_probe_read_user(&at, sizeof(__u32), (void *)state->aio_array + i * bytes) :
			    bpf_probe_read_user(&at, sizeof(__u64), (void *)state->aio_array + i * bytes))
		return false;
	return !bpf_probe_read_user(ret_iocb, sizeof(*ret_iocb), (void *)at);
}

/* `call` of such a request's event; 0: it is none of those that were asked for. */
static __always_inline __u32 aa_aio_call_of(const struct aa_iocb *iocb)
{
	const volatile struct aa_call_spec *spec;
	__u64 command = iocb->command;
	__u32 call;
	__u8 row;

	if (command >= AA_AIO_COMMANDS)
		return 0;
	aa_mask(command, AA_AIO_COMMANDS - 1);
	row = aa_aio_row_by_command[command];
	if (!row)
		return 0;
	call = AA_CALL_COUNT + row - 1;
	spec = aa_spec_told(call);
	return spec && aa_is_asked(spec->operation) ? call : 0;
}

static __always_inline void aa_aio_take(const struct aa_call_state *state, const struct aa_iocb *iocb, __u32 call,
					struct aa_aio_request *request)
{
	const volatile struct aa_call_spec *spec = aa_spec_told(call);

	request->call = call;
	request->args[0] = iocb->fd;
	request->args[1] = iocb->buffer;
	request->args[2] = iocb->bytes;
	request->args[3] = iocb->offset;
	request->args[4] = iocb->rw_flags;
	request->count = spec && spec->count ? iocb->bytes : 0;
	if (spec && spec->iovec) {
		request->count = aa_sum_parts(iocb->buffer, iocb->bytes, state->compat);
		request->has_no_count = request->count == AA_PARTS_UNREAD;
	}
}

/* A request as the kernel will find it; not 0: there is no place to note it. */
AA_DEFINE_FIRST_STEP(aa_aio_note, __u32 i)
{
	AA_FIRST_STEP_BEGINS
	__u64 key = aa_aio_key(tid, i);
	struct aa_aio_request *request;
	struct aa_iocb iocb = {};
	__u32 call = 0;
	bool is_read;

	if (!state || aa_config.aio != AA_AIO_SEEN)
		return 1;
	is_read = aa_aio_read(state, i, &iocb);
	if (is_read && !(call = aa_aio_call_of(&iocb)))
		return 0;
	if (bpf_map_update_elem(&aa_aio_requests, &key, &aa_new_aio_request, BPF_ANY) ||
	    !(request = bpf_map_lookup_elem(&aa_aio_requests, &key)))
		return 1;
	state->requests++;
	request->entry_ns = state->entry_ns;
	request->is_unread = !is_read;
	if (is_read)
		aa_aio_take(state, &iocb, call, request);
	return 0;
}

/* What its descriptor names, where another thread can change that. Beside aa_aio_note() for the sake of the stack. */
AA_DEFINE_FIRST_STEP(aa_aio_look, __u32 i)
{
	AA_FIRST_STEP_BEGINS
	struct task_struct *task = (void *)bpf_get_current_task();
	__u64 key = aa_aio_key(tid, i);
	struct aa_aio_request *request;
	__s32 fd;

	if (!state || aa_config.aio != AA_AIO_SEEN)
		return 0;
	request = bpf_map_lookup_elem(&aa_aio_requests, &key);
	if (!request || request->is_unread)
		return 0;
	fd = (__s32)request->args[0];
	request->changes = aa_changes_if_shared(task, fd);
	aa_identify_start(task, fd, &request->object);
	return 0;
}

AA_DEFINE_FIRST_STEP(aa_aio_note_round, __u32 from)
{
	AA_FIRST_STEP_BEGINS
	__u32 i;

	if (!state)
		return 1;
	for (i = 0; i < AA_AIO_REQUESTS_ROUND; i++) {
		if (from + i >= state->aio_number || aa_first_step(aa_aio_note, from + i))
			return 1;
		if (!state->aio_is_alone)
			aa_first_step(aa_aio_look, from + i);
		state->aio_noted = from + i + 1;
	}
	return 0;
}

/* What was noted and is no longer needed. */
static __always_inline void aa_aio_forget_round(__u32 tid, __u32 from, __u32 until)
{
	__u32 i;

	for (i = 0; i < AA_AIO_REQUESTS_ROUND && from + i < until; i++) {
		__u64 key = aa_aio_key(tid, from + i);

		bpf_map_delete_elem(&aa_aio_requests, &key);
	}
}

__noinline int aa_aio_forget(__u32 tid, __u32 from, __u32 until)
{
	if (aa_config.aio == AA_AIO_SEEN)
		aa_aio_forget_round(tid, from, until);
	return 0;
}

__noinline int aa_aio_forget_all(__u32 tid, __u32 number)
{
	__u32 round;

	for (round = 0; round < AA_AIO_REQUESTS_MAX / AA_AIO_REQUESTS_ROUND; round++) {
		if (round * AA_AIO_REQUESTS_ROUND >= number)
			break;
		aa_aio_forget(tid, round * AA_AIO_REQUESTS_ROUND, number);
	}
	return 0;
}

/* At the exit of a thread, or before its next call. */
static __always_inline void aa_aio_drop(struct aa_call_state *state, __u32 tid)
{
	if (aa_config.aio != AA_AIO_SEEN || !state || !state->aio_noted)
		return;
	aa_aio_forget_all(tid, state->aio_noted);
	state->aio_noted = 0;
}

/* The context is one of the process's, as lookup_ioctx() finds it. */
static __always_inline bool aa_aio_has_context(__u64 context)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct mm_struct *mm = aa_read(task, mm);
	struct kioctx_table *table = aa_read(mm, ioctx_table);
	struct kioctx *found;
	__u32 id = 0;

	if (bpf_probe_read_user(&id, sizeof(id), (void *)context) || !table || id >= aa_read(table, nr))
		return false;
	found = aa_read_pointer((void *)table + bpf_core_field_offset(struct kioctx_table, table) + (__u64)id * 8);
	return found && aa_read(found, user_id) == context;
}

/* At the entry of io_submit(context, number, array). */
AA_DEFINE_FIRST_STEP(aa_aio_begin, __u32 call)
{
	AA_FIRST_STEP_BEGINS
	struct task_struct *task = (void *)bpf_get_current_task();
	__s64 number;
	__u32 round;

	if (!state || aa_config.aio != AA_AIO_SEEN)
		return 0;
	aa_settle_missed(state);
	aa_aio_drop(state, tid);
	number = state->compat ? (__s32)state->args[1] : (__s64)state->args[1];
	state->call = call;
	state->operation = AA_OPERATION_BLIND_SPOT;
	state->is_undecided = 0;
	state->is_late = 0;
	state->has_acted = 0;
	state->requests = 0;
	state->aio_number = number < 0 ? 0 : number > AA_AIO_REQUESTS_MAX ? AA_AIO_REQUESTS_MAX : number;
	state->aio_array = state->args[2];
	/* Of a context that is none nothing is taken, and nothing was refused. */
	state->aio_context = aa_aio_has_context(state->args[0]) ? state->args[0] : 0;
	state->aio_is_alone = aa_read(task, files, count.counter) < 2;
	state->entry_ns = bpf_ktime_get_boot_ns();
	for (round = 0; round < AA_AIO_REQUESTS_MAX / AA_AIO_REQUESTS_ROUND; round++)
		if (aa_first_step(aa_aio_note_round, round * AA_AIO_REQUESTS_ROUND))
			break;
	aa_count(performed, state->requests);
	aa_count(in_flight, state->requests);
	state->phase = AA_PHASE_IN_CALL;
	return 0;
}

/* A request that was not resident at the entry; false: nor is it now. */
AA_DEFINE_FIRST_STEP(aa_aio_read_again, __u32 i)
{
	AA_FIRST_STEP_BEGINS
	__u64 key = aa_aio_key(tid, i);
	struct aa_aio_request *request;
	struct aa_iocb iocb = {};

	if (!state || aa_config.aio != AA_AIO_SEEN)
		return 0;
	request = bpf_map_lookup_elem(&aa_aio_requests, &key);
	if (!request || !aa_aio_read(state, i, &iocb))
		return 0;
	/* Whoever shares the table may have changed it meanwhile: what the descriptor named then is not known. */
	request->changes = AA_UNSETTLED;
	request->call = aa_aio_call_of(&iocb);
	if (request->call)
		aa_aio_take(state, &iocb, request->call, request);
	return 1;
}

enum aa_aio_load { AA_AIO_IS_NONE, AA_AIO_IS_COUNTED, AA_AIO_IS_TOLD };

/* Puts one request in the place of the call that submitted it. */
AA_DEFINE_FIRST_STEP(aa_aio_load, __u32 i)
{
	AA_FIRST_STEP_BEGINS
	__u64 key = aa_aio_key(tid, i);
	const volatile struct aa_call_spec *spec;
	struct aa_aio_request *request;

	if (!state || aa_config.aio != AA_AIO_SEEN)
		return AA_AIO_IS_NONE;
	request = bpf_map_lookup_elem(&aa_aio_requests, &key);
	if (!request || request->entry_ns != state->entry_ns)
		return AA_AIO_IS_NONE;
	if (request->is_unread && !aa_first_step(aa_aio_read_again, i)) {
		/* The kernel could not read it either; or it did, and we cannot. */
		if (state->aio_error)
			return AA_AIO_IS_NONE;
		aa_count(no_entry, 1);
		return AA_AIO_IS_COUNTED;
	}
	if (!request->call || !(spec = aa_spec_told(request->call)))
		return AA_AIO_IS_NONE;
	state->call = request->call;
	state->operation = spec->operation;
	state->args[0] = request->args[0];
	state->args[1] = request->args[1];
	state->args[2] = request->args[2];
	state->args[3] = request->args[3];
	state->args[4] = request->args[4];
	state->fd[0] = (__s32)request->args[0];
	state->object[0] = request->object;
	state->changes[0] = state->aio_is_alone ? 0 : request->changes;
	state->used[0].file = 0;
	state->used[1].file = 0;
	state->count = request->count;
	state->position = spec->offset ? (__s64)request->args[3] : AA_NO_OFFSET;
	state->has_no_count = request->has_no_count;
	state->has_no_flags = 0;
	state->has_no_look = state->aio_is_alone;
	state->is_plain = 0;
	state->by_fd[0] = 1;
	state->by_fd[1] = 0;
	state->by_null[0] = 0;
	state->by_null[1] = 0;
	state->name_bytes[0] = -1;
	state->name_bytes[1] = -1;
	/* Not resident at the entry; the kernel has touched them since. */
	if (state->has_no_count)
		aa_count_parts(state, state->args[1], state->args[2]);
	if (state->aio_error ? aa_is_left_out(state, state->aio_error) : aa_config.errors_only) {
		aa_count(filtered, 1);
		return AA_AIO_IS_COUNTED;
	}
	return AA_AIO_IS_TOLD;
}

/*
 * As aa_finish(), of what has one descriptor and no name. What is to be sent is told by its scratch record's slot, for
 * the 512 bytes of stack that a program has are not enough to call aa_step_send() from here on every kernel.
 */
static __always_inline int aa_aio_tell(struct aa_call_state *state, __u32 tid, __u32 i, bool loops)
{
	struct aa_scratch *scratch;
	__u32 slot;
	int found;

	if (!state || aa_config.aio != AA_AIO_SEEN)
		return AA_AIO_IS_NONE;
	found = aa_first_step(aa_aio_load, i);
	if (found != AA_AIO_IS_TOLD)
		return found;
	scratch = aa_scratch_claim(&slot);
	if (!scratch) {
		aa_count(state_full, 1);
		return AA_AIO_IS_COUNTED;
	}
	aa_scratch_reset(scratch, state->aio_error);
	scratch->is_early = !state->aio_error;
	aa_step(aa_step_object, , 0);
	if (aa_is_filtered(scratch, (void *)bpf_get_current_task())) {
		aa_count(filtered, 1);
		aa_scratch_release(scratch);
		return AA_AIO_IS_COUNTED;
	}
	if (scratch->place[0].dentry)
		aa_render(slot, 0, loops);
	return AA_AIO_IS_TOLD + slot;
}

static __always_inline void aa_aio_send(struct aa_call_state *state, __u32 tid, __u32 slot)
{
	struct aa_scratch *scratch = aa_scratch_at(slot);

	if (!scratch)
		return;
	aa_step(aa_step_send);
	aa_scratch_release(scratch);
}

/* Two of each, as of aa_render: one is used where the kernel has bpf_loop(). */
#define AA_DEFINE_AIO_TELL(suffix, loops)                                                                              \
	AA_DEFINE_FIRST_STEP(aa_aio_tell_##suffix, __u32 i)                                                            \
	{                                                                                                              \
		AA_FIRST_STEP_BEGINS                                                                                   \
                                                                                                                       \
		return aa_aio_tell(state, tid, i, loops);                                                              \
	}                                                                                                              \
                                                                                                                       \
	/* 0: these were the last. */                                                                                  \
	AA_DEFINE_FIRST_STEP(aa_aio_tell_round_##suffix, __u32 from)                                                   \
	{                                                                                                              \
		AA_FIRST_STEP_BEGINS                                                                                   \
		__u32 i;                                                                                               \
		int found;                                                                                             \
                                                                                                                       \
		if (!state)                                                                                            \
			return 0;                                                                                      \
		for (i = 0; i < AA_AIO_REQUESTS_ROUND; i++) {                                                          \
			if (from + i >= state->aio_until)                                                              \
				return 0;                                                                              \
			found = aa_first_step(aa_aio_tell_##suffix, from + i);                                         \
			if (found >= AA_AIO_IS_TOLD)                                                                   \
				aa_aio_send(state, tid, found - AA_AIO_IS_TOLD);                                       \
			state->aio_told += found != AA_AIO_IS_NONE;                                                    \
		}                                                                                                      \
		return 1;                                                                                              \
	}
AA_DEFINE_AIO_TELL(bounded, false)
AA_DEFINE_AIO_TELL(looped, true)

/* At the return of io_submit(): how many of its requests are to be told. */
AA_DEFINE_FIRST_STEP(aa_aio_end_begins, __s64 result)
{
	AA_FIRST_STEP_BEGINS
	bool is_refused;

	if (!state || aa_config.aio != AA_AIO_SEEN)
		return 0;
	/* Nothing is refused of a context that is none. */
	is_refused =
		result < 0 && (result != -EINVAL || (state->aio_context && aa_aio_has_context(state->aio_context)));
	state->phase = AA_PHASE_IDLE;
	state->aio_error = is_refused ? result : 0;
	state->aio_told = 0;
	state->aio_until = result < 0 ? is_refused : result < state->aio_noted ? result : state->aio_noted;
	return 0;
}

/* And what is counted of them. */
AA_DEFINE_FIRST_STEP(aa_aio_end_ends, __s64 result)
{
	AA_FIRST_STEP_BEGINS
	__s64 lost;

	if (!state || aa_config.aio != AA_AIO_SEEN)
		return 0;
	/* Taken, and there was no place to note them. */
	lost = result > state->aio_noted ? result - state->aio_noted : 0;
	if (lost)
		aa_count(state_full, lost);
	aa_count(performed, (__s64)state->aio_told + lost - (__s64)state->requests);
	aa_count(in_flight, -(__s64)state->requests);
	aa_aio_drop(state, tid);
	state->call = AA_CALL_io_submit;
	return 0;
}

/* At the entry of any call, whose arguments are in the state. */
#define aa_call_begins(state, tid, row)                                                                                \
	do {                                                                                                           \
		if (AA_IS_PREPARED(row))                                                                               \
			aa_first_step(aa_prepare, row);                                                                \
		if (aa_config.aio == AA_AIO_SEEN && (row) == AA_CALL_io_submit)                                        \
			aa_first_step(aa_aio_begin, row);                                                              \
		else                                                                                                   \
			aa_first_step(aa_begin, row);                                                                  \
	} while (0)

/* At the return of any call that began. `loops`: see aa_finish(). */
static __always_inline void aa_call_ends(struct aa_call_state *state, __u32 tid, __s64 result, bool loops)
{
	__u32 round;

	if (aa_config.aio != AA_AIO_SEEN || state->call != AA_CALL_io_submit) {
		aa_finish(state, tid, result, loops);
		return;
	}
	aa_first_step(aa_aio_end_begins, result);
	for (round = 0; round < AA_AIO_REQUESTS_MAX; round += AA_AIO_REQUESTS_ROUND)
		if (!(loops ? aa_first_step(aa_aio_tell_round_looped, round) :
			      aa_first_step(aa_aio_tell_round_bounded, round)))
			break;
	aa_first_step(aa_aio_end_ends, result);
}

#endif

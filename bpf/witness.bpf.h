/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * A second witness. Every file that is opened, but for a mere place (O_PATH), passes security_file_open(), whoever
 * asked for it; and, where that is to be seen too (witness_io), what is read or written security_file_permission().
 * What comes there in a watched thread is explained by the call or the request that it is inside, or was done by an
 * exec, or nothing that is traced explains it: then it is told and counted (`bypass`).
 */
#ifndef AA_WITNESS_BPF_H
#define AA_WITNESS_BPF_H

#include "kernel.bpf.h"
#include "openers.h"
#include "operation.bpf.h"

#define AA_IO_SUBMIT 209
#define AA_IO_SUBMIT_COMPAT 248
#define AA_IO_URING_ENTER 426 /* in both tables of calls */
#define AA_IO_URING_REGISTER 427
#define AA_FSCONFIG 431
#define AA_THREAD_BYTES (4 * 4096) /* THREAD_SIZE of arch/x86; twice that with CONFIG_KASAN */

/* Rows of openers.h, or: */
#define AA_OPENER_ASKED AA_OPENER_COUNT

/* The registers with which the thread came from its program, where there is bpf_task_pt_regs() (5.15) and where not. */
static __always_inline struct pt_regs *aa_user_registers(struct task_struct *task, bool loops)
{
	if (loops)
		return (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
	return aa_read(task, stack) + AA_THREAD_BYTES - bpf_core_type_size(struct pt_regs);
}

/*
 * A request of a ring opens it: in a thread of the kernel's for that, in the call that submits, or, if it had to wait
 * for another one, on the way back to the program. A process that dumps core opens for that.
 */
static __always_inline bool aa_is_ring_work(struct task_struct *task, bool is_inside, __u64 number)
{
	if (!aa_config.has_ring_requests)
		return false;
	if (aa_read(task, flags) & PF_IO_WORKER)
		return true;
	if (is_inside)
		return number == AA_IO_URING_ENTER || number == AA_IO_URING_REGISTER;
	if (!bpf_core_field_exists(task->io_uring) || !aa_read(task, io_uring))
		return false;
	return !bpf_core_field_exists(((struct signal_struct *)0)->core_state) || !aa_read(task, signal, core_state);
}

/* Operations in the course of which a file is opened; or one is read, written or otherwise filled or emptied. */
#define AA_BIT(operation) (1ULL << AA_OPERATION_##operation)
#define AA_OPENING AA_BIT(OPEN)
#define AA_MOVING (AA_BIT(READ) | AA_BIT(WRITE) | AA_BIT(COPY) | AA_BIT(LIST) | AA_BIT(ALLOCATE) | AA_BIT(EXEC))

static __always_inline bool aa_is_one_of(__u32 operation, __u64 operations)
{
	return operations >> (operation & 63) & 1;
}

/* What is mounted may look into the directories that it is made of: ovl_check_d_type_supported() does. */
static __always_inline bool aa_is_mount_work(const volatile struct aa_call_spec *spec, __u64 number, __u32 kind)
{
	return kind == AA_KIND_DIR && ((spec && spec->operation == AA_OPERATION_MOUNT) || number == AA_FSCONFIG);
}

/*
 * Who is at work on the file. Asked of the registers and not only of our own state: a call that was entered before we
 * attached, or that nobody asked for, has none. `explaining`: the operations that say all of it; `opener`: who it is
 * where nothing does.
 */
static __always_inline __u32 aa_opener_of(const struct aa_call_state *state, __u32 kind, __u64 explaining, __u32 opener,
					  bool loops)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	const volatile struct aa_call_spec *spec;
	struct pt_regs *user;
	__u64 number;
	bool is_inside, is_compat;

	if (state && state->phase == AA_PHASE_IN_CALL && state->operation == AA_OPERATION_EXEC)
		return AA_OPENER_EXEC;
	user = aa_user_registers(task, loops);
	number = aa_read(user, orig_ax);
	/* Put there at the entry (entry_64.S, entry_64_compat.S); once the call is done it is the result. */
	is_inside = (__s32)aa_read(user, ax) == -ENOSYS;
	if (is_inside) {
		is_compat = aa_is_compat();
		spec = aa_spec_of(is_compat ? aa_compat_row_of(number, (__u32)aa_read(user, bx)) : aa_row_of(number));
		if (spec && spec->when == AA_WHEN_BLOCKS &&
		    !aa_is_of_blocks(is_compat ? aa_read(user, cx) : aa_read(user, si)))
			spec = NULL;
		if (spec && aa_is_one_of(spec->operation, explaining & ~AA_BIT(EXEC)))
			return AA_OPENER_ASKED;
		/* A request of Linux AIO is an event of its own, or the call is a blind spot. */
		if (explaining & AA_MOVING && number == (is_compat ? AA_IO_SUBMIT_COMPAT : AA_IO_SUBMIT))
			return AA_OPENER_ASKED;
		if (spec && spec->operation == AA_OPERATION_EXEC)
			return AA_OPENER_EXEC;
		if (aa_is_mount_work(spec, number, kind))
			return AA_OPENER_ASKED;
	}
	return aa_is_ring_work(task, is_inside, number) ? AA_OPENER_ASKED : opener;
}

/*
 * A file system that keeps its files in another one (overlayfs) opens these, too, for itself: without counting them, or
 * by a mount of its own (clone_private_mount()); and on 7.2 acct(2) opens its file anew by such a mount
 * (mnt_clone_internal()). They are in no namespace; nor are those that the kernel makes for files without a place
 * (memfd_create()), which have a mark.
 */
static __always_inline bool aa_is_opened_below(struct file *file)
{
	struct vfsmount *vfsmount = aa_read(file, f_path.mnt);
	struct mount *mount = aa_real_mount(vfsmount);

	if (aa_read(file, f_mode) & FMODE_NOACCOUNT)
		return true;
	return ((long)aa_read(mount, mnt_ns) == MNT_NS_INTERNAL || aa_read(vfsmount, mnt_flags) & MNT_INTERNAL) &&
	       !(aa_read(file, f_inode, i_sb, s_flags) & SB_KERNMOUNT);
}

/* No call of the table makes such objects (pidfd_open(2), mq_open(3)); they are no files. */
static __always_inline bool aa_is_no_file(struct file *file, __u32 kind)
{
	return (kind & AA_KIND_NUMBER) == AA_KIND_ANON || aa_read(file, f_inode, i_sb, s_magic) == MQUEUE_MAGIC;
}

/* As aa_step_hash(), of plain numbers. */
__noinline int aa_witness_hash(__u32 slot, __u32 at)
{
	struct aa_scratch *scratch = aa_scratch_at(slot);

	if (aa_config.total_rows && scratch)
		aa_total_hash_data(scratch, at);
	return 0;
}

/* The name is there: the rest of the event, and on its way. */
__noinline int aa_witness_send(__u32 slot, __u32 opener, __u32 operation, __u32 flags)
{
	struct aa_scratch *scratch = aa_scratch_at(slot);
	struct task_struct *task = (void *)bpf_get_current_task();
	__u64 pid_tgid = bpf_get_current_pid_tgid(), bytes, duration_ns = 0;
	struct aa_event *event;

	if (!scratch)
		return 0;
	event = &scratch->event;
	event->record = aa_record_of(AA_RECORD_EVENT, operation, (__u32)pid_tgid);
	event->timestamp_ns = bpf_ktime_get_boot_ns();
	event->duration_ns = AA_NO_DURATION;
	event->result = 0;
	scratch->more.count = 0;
	scratch->more.offset = AA_NO_OFFSET;
	aa_fill_flags(scratch, flags);
	event->mode = 0;
	event->fd = -1;
	event->dirfd = AT_FDCWD;
	event->file = 0;
	event->call = AA_OPENERS_FIRST + opener;
	/* The kernel has not decided yet whether it may be done. */
	event->blocks = AA_MARK_NO_RESULT;
	aa_fill_thread(&scratch->told.thread, (__u32)pid_tgid, task);
	scratch->told.row = 0;
	aa_flag_root(scratch, 0, task);
	aa_fill_object(&scratch->facts[0], scratch->inode[0], scratch->kind[0]);
	if (aa_config.total_rows)
		aa_witness_hash(slot, aa_total_hash_begin(scratch));
	bytes = aa_close_record(scratch, false);
	if (bytes > AA_DATA_BYTES)
		return 0;
	if (aa_config.total_rows) {
		/* Of a known 0 clang makes an atomic or, which came with 5.12. */
		asm volatile("" : "+r"(duration_ns));
		aa_send_whole_total(scratch, bytes, operation, pid_tgid >> 32,
				    aa_read(task, group_leader, start_boottime), 0, duration_ns);
	}
	aa_send_whole(scratch, bytes, aa_config.rule_lists && opener == AA_OPENER_EXEC && aa_rules_leave_out(slot));
	return 0;
}

/* The file, as the first name of what the scratch record will tell. */
AA_OWN_STACK int aa_witness_take(struct file *file, __u32 slot)
{
	struct aa_scratch *scratch = aa_scratch_at(slot);
	struct aa_identity opened;

	if (!scratch)
		return 0;
	aa_identify(file, &opened);
	aa_take_object(scratch, 0, &opened, AA_PATH_SOURCE_FILE);
	return 0;
}

/* Tells the file that is about to be opened, read or written. No state of the thread's is touched: it may be inside a
 * call. */
static __always_inline void aa_witness_tell(struct file *file, __u32 opener, __u32 operation, bool loops)
{
	struct aa_scratch *scratch;
	__u32 slot;

	scratch = aa_scratch_claim(&slot);
	if (!scratch) {
		aa_count(state_full, 1);
		return;
	}
	aa_scratch_reset(scratch, 0);
	aa_witness_take(file, slot);
	if (loops)
		aa_render_looped(slot, 0);
	else
		aa_render_short(slot, 0);
	aa_witness_send(slot, opener, operation, aa_read(file, f_flags) & ~KERNEL_OPEN_FLAGS);
	aa_scratch_release(scratch);
}

/* Who opens it, and what kind of file it is. */
#define AA_FOUND(opener, kind) ((__u64)(kind) << 32 | (opener))
#define AA_DEFINE_WITNESS_LOOK(suffix, loops)                                                                          \
	AA_OWN_STACK __u64 aa_witness_look_##suffix(struct file *file, const struct aa_call_state *state,              \
						    __u64 explaining, __u32 opener)                                    \
	{                                                                                                              \
		__u32 kind = aa_kind_of(aa_read(file, f_inode), aa_read(file, f_path.mnt));                            \
		__u32 found = aa_opener_of(state, kind, explaining, opener, loops);                                    \
                                                                                                                       \
		return AA_FOUND(found == AA_OPENER_ASKED || aa_is_opened_below(file) ? AA_OPENER_ASKED : found, kind); \
	}
AA_DEFINE_WITNESS_LOOK(bounded, false)
AA_DEFINE_WITNESS_LOOK(looped, true)

/*
 * Of `operation`, which those of `explaining` explain; `opener`: who it is where nothing does. What an exec does itself
 * is told where it opens a file, and not what it reads there.
 */
static __always_inline void aa_witness(struct file *file, __u32 operation, __u64 explaining, __u32 opener, bool loops)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct aa_call_state *state;
	__u64 found;
	__u32 kind;
	bool is_asked;

	if (!aa_is_watched_with(aa_presence_of((__u32)pid_tgid), pid_tgid, &state) || !aa_control.gate)
		return;
	if (state && state->phase == AA_PHASE_IN_CALL && aa_is_one_of(state->operation, explaining))
		return;
	if (operation == AA_OPERATION_OPEN && aa_config.only_changes >> AA_OPERATION_OPEN & 1 &&
	    !AA_OPEN_CHANGES(aa_read(file, f_flags)))
		return;
	found = loops ? aa_witness_look_looped(file, state, explaining, opener) :
			aa_witness_look_bounded(file, state, explaining, opener);
	kind = found >> 32;
	found = (__u32)found;
	if (found == AA_OPENER_ASKED)
		return;
	is_asked = aa_config.kinds >> (kind & AA_KIND_NUMBER) & 1;
	if (found == opener) {
		if (!is_asked || aa_is_no_file(file, kind))
			return;
		aa_count(bypass, 1);
	} else if (operation != AA_OPERATION_OPEN) {
		return;
	}
	aa_count(performed, 1);
	/* As a request whose end is not known. What shows that the trace is not complete is never left out. */
	if (found == AA_OPENER_EXEC && (!is_asked || aa_config.errors_only)) {
		aa_count(filtered, 1);
		return;
	}
	aa_witness_tell(file, found, operation, loops);
}

/* At security_file_open(file). */
static __always_inline void aa_witness_open(struct file *file, bool loops)
{
	aa_witness(file, AA_OPERATION_OPEN, AA_OPENING, AA_OPENER_KERNEL, loops);
}

/* At security_file_permission(file, mask). */
static __always_inline void aa_witness_moved(struct file *file, __u64 mask, bool loops)
{
	bool writes = mask & MAY_WRITE;

	if (aa_is_asked(writes ? AA_OPERATION_WRITE : AA_OPERATION_READ))
		aa_witness(file, writes ? AA_OPERATION_WRITE : AA_OPERATION_READ, AA_MOVING, AA_OPENER_MOVER, loops);
}

#endif

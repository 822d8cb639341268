/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Calls that do many things: whether one is of its row's kind, at the entry. Arguments in registers decide at once.
 * What stands in memory, or behind a descriptor that others may exchange, is noted here and decided on at the return:
 * see decided.bpf.h.
 *
 * Included by operation.bpf.h, behind the state of a call.
 */
#ifndef AA_DECIDE_BPF_H
#define AA_DECIDE_BPF_H

/*
 * Descriptors in the control data of a message, which is in user memory: what the kernel has put there, or is given. In
 * the first message of several that has any, and its number above the descriptor.
 */
#define AA_NO_DESCRIPTOR (-1)
#define AA_UNREAD (-2)
#define AA_BEYOND (-3) /* there are more parts than are looked at: one of them may have it */
#define AA_CONTROL_PARTS 8

/* The first one of control data. */
static __always_inline int aa_descriptor_at(__u64 control, __u64 left, __u32 word)
{
	__u32 head = word + 8, fd, i;
	__u64 length;
	__s64 rest;
	struct {
		__u32 level, type;
	} of;

	/* The kernel refuses what is longer. */
	if (left > INT_MAX)
		return AA_NO_DESCRIPTOR;
	/* Times, credentials, a pidfd and a security label come before (scm_recv()). */
	for (i = 0; i < AA_CONTROL_PARTS; i++) {
		length = 0;
		if (left < head + sizeof(fd))
			return AA_NO_DESCRIPTOR;
		if (bpf_probe_read_user(&length, word, (void *)control) ||
		    bpf_probe_read_user(&of, sizeof(of), (void *)control + word))
			return AA_UNREAD;
		if (of.level == SOL_SOCKET && of.type == SCM_RIGHTS && length >= head + sizeof(fd))
			return bpf_probe_read_user(&fd, sizeof(fd), (void *)control + head) ? AA_UNREAD : (int)fd;
		if (length < head || length > INT_MAX)
			return AA_NO_DESCRIPTOR;
		length = (length + word - 1) & ~(__u64)(word - 1);
		/*
		 * Two numbers of which the verifier knows bits and bounds are not compared with one another: where both
		 * cannot be, 6.18 reports "REG INVARIANTS VIOLATION" in the kernel's log.
		 */
		rest = (__s64)(left - length);
		asm volatile("" : "+r"(rest));
		if (rest < 0)
			return AA_NO_DESCRIPTOR;
		control += length;
		left = rest;
	}
	return left < head + sizeof(fd) ? AA_NO_DESCRIPTOR : AA_BEYOND;
}

/* Where a message (struct user_msghdr, struct compat_msghdr) has its control data; false: it could not be read. */
static __always_inline bool aa_control_of(__u64 message, __u32 word, __u64 *ret_at, __u64 *ret_bytes)
{
	*ret_at = *ret_bytes = 0;
	/* msg_name, msg_namelen, msg_iov, msg_iovlen, msg_control, msg_controllen */
	return !bpf_probe_read_user(ret_bytes, word, (void *)message + 5 * word) &&
	       !bpf_probe_read_user(ret_at, word, (void *)message + 4 * word);
}

/* Whether there is room for a descriptor. */
static __always_inline bool aa_has_room(__u64 bytes, __u32 word)
{
	return bytes >= word + 8 + sizeof(__u32);
}

/* The first one of a message. */
__noinline int aa_descriptor_in(__u64 message, __u32 is_compat)
{
	__u32 word = is_compat ? sizeof(__u32) : sizeof(__u64);
	__u64 control, left;

	if (!aa_control_of(message, word, &control, &left))
		return AA_UNREAD;
	return aa_descriptor_at(control, left, word);
}

__noinline __s64 aa_descriptor_in_round(__u64 messages, __u32 number, __u32 is_compat)
{
	__u32 i;
	int fd;

	for (i = 0; i < AA_PARTS_ROUND; i++) {
		if (i >= number)
			break;
		fd = aa_descriptor_in(messages + i * (is_compat ? 32 : 64), is_compat);
		if (fd >= 0)
			return (__s64)i << 32 | fd;
		if (fd != AA_NO_DESCRIPTOR)
			return fd;
	}
	return AA_NO_DESCRIPTOR;
}

/* The same of an array of messages (struct mmsghdr). */
__noinline __s64 aa_descriptor_in_any(__u64 messages, __u32 number, __u32 is_compat)
{
	__s64 found;
	__u32 i;

	for (i = 0; i < AA_PARTS_MAX / AA_PARTS_ROUND; i++) {
		if (i * AA_PARTS_ROUND >= number)
			break;
		found = aa_descriptor_in_round(messages + i * AA_PARTS_ROUND * (is_compat ? 32 : 64),
					       number - i * AA_PARTS_ROUND, is_compat);
		if (found >= 0)
			return found + ((__s64)i * AA_PARTS_ROUND << 32);
		if (found != AA_NO_DESCRIPTOR)
			return found;
	}
	return AA_NO_DESCRIPTOR;
}

/* Of a call's one message, or of so many. */
static __always_inline __s64 aa_descriptor_of(const volatile struct aa_call_spec *spec,
					      const struct aa_call_state *state, __u32 number)
{
	return spec->count ? aa_descriptor_in_any(state->args[1], number, state->compat) :
			     aa_descriptor_in(state->args[1], state->compat);
}

/* --- sockets --- */

/* The family of a socket; 0: it is none. */
static __always_inline __u16 aa_socket_family(struct file *file)
{
	struct sock *sock;

	if (!file || (aa_read(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	sock = aa_read((struct file___socket *)file, private_data, sk);
	return aa_read(sock, __sk_common.skc_family);
}

/* The address names a file; *ret_unread: it cannot be read. */
static __always_inline bool aa_is_unix_path(const __u64 *args, bool *ret_unread)
{
	struct {
		__u16 family;
		char first;
	} address = {};

	if ((__u32)args[2] <= sizeof(address.family))
		return false;
	*ret_unread = bpf_probe_read_user(&address, 3, (void *)args[1]) != 0;
	return address.family == AF_UNIX && address.first;
}

/* The control data of a message, to see whether it changes. */
static __always_inline void aa_note_control(const struct aa_call_state *state, struct aa_control_data *ret_control)
{
	__u32 word = state->compat ? sizeof(__u32) : sizeof(__u64);

	__builtin_memset(ret_control, 0, sizeof(*ret_control));
	if (aa_control_of(state->args[1], word, &ret_control->at, &ret_control->bytes) &&
	    ret_control->bytes >= sizeof(ret_control->head))
		bpf_probe_read_user(ret_control->head, sizeof(ret_control->head), (void *)ret_control->at);
}

/* Which descriptors are taken, of the first ones. */
static __always_inline void aa_read_open_fds(struct task_struct *task, __u64 *ret_words)
{
	struct files_struct *files = aa_read(task, files);
	struct fdtable *table = aa_read(files, fdt);
	unsigned long *words = aa_read(table, open_fds);
	__u32 limit = aa_read(table, max_fds), i;

	for (i = 0; i < AA_OPEN_FDS_WORDS; i++)
		ret_words[i] = (i + 1) * 64 <= limit ? (__u64)(long)aa_read_pointer(words + i) : 0;
}

/* Rows from connect() on, and bind(): what they are decided by is more than their arguments. */
#define AA_IS_PREPARED(row) ((row) >= AA_CALL_connect || (row) == AA_CALL_bind)

/*
 * Before such a call begins: what its return compares, then what it is decided by now. A step of its own, because the
 * one that begins a call leaves no stack for it.
 */
AA_DEFINE_FIRST_STEP(aa_prepare, __u32 call)
{
	AA_FIRST_STEP_BEGINS
	struct task_struct *task = (void *)bpf_get_current_task();
	const volatile struct aa_call_spec *spec;
	bool ignored;

	if (!state || !(spec = aa_spec_of(call)))
		return 0;
	state->socket_changes = aa_changes_of_start(task, (__s32)state->args[0]);
	if (spec->when == AA_WHEN_UNIX_PATH)
		state->was_meant = aa_is_unix_path(state->args, &ignored);
	if (spec->when != AA_WHEN_RECEIVES && spec->when != AA_WHEN_GIVES)
		return 0;
	aa_note_control(state, &state->control);
	aa_read_open_fds(task, state->newcomer.open_fds);
	state->given = spec->when == AA_WHEN_GIVES ? aa_descriptor_of(spec, state, state->args[2]) : AA_NO_DESCRIPTOR;
	return 0;
}

/* At the entry of a call that may give a descriptor away; false: it does not, and nobody can change that. */
static __always_inline bool aa_begin_given(struct aa_call_state *state, struct task_struct *task)
{
	state->given_in = state->given >= 0 ? state->given >> 32 : AA_NOT_FOUND_YET;
	state->fd[0] = state->given >= 0 ? (__s32)state->given : -1;
	return state->given != AA_NO_DESCRIPTOR || state->socket_changes || aa_memory_is_shared(task);
}

/* An ioctl() by which descriptors come or go unseen, or calls are held while their memory changes. */
static __always_inline bool aa_is_announced(__u32 command)
{
	return command == USERFAULTFD_IOC_NEW || command == SECCOMP_IOCTL_NOTIF_ADDFD;
}

/*
 * A mapping of a file that others may put behind the descriptor meanwhile, or whose arguments stand in memory that they
 * can write to (the 32-bit mmap() of old): the return decides.
 */
static __always_inline bool aa_is_mapping_undecided(const struct aa_call_state *state, struct task_struct *task)
{
	return aa_read(task, files, count.counter) > 1 ||
	       (state->compat == AA_COMPAT_IN_MEMORY && aa_memory_is_shared(task));
}

/* Is it one of the row's kind? *ret_undecided: the return says so. *ret_operation may be another one of the row's. */
static __always_inline bool aa_is_meant(struct aa_call_state *state, const volatile struct aa_call_spec *spec,
					struct task_struct *task, __u8 *ret_operation, bool *ret_undecided)
{
	const __u64 *args = state->args;
	__u32 command = args[1];

	switch (spec->when) {
	case AA_WHEN_REMOVE:
		return args[2] == MADV_REMOVE;
	case AA_WHEN_UNIX_PATH:
		if ((__u32)args[2] <= sizeof(__u16))
			return false;
		*ret_undecided = true;
		return false;
	case AA_WHEN_HANDS_OVER:
		return (__u32)args[2] > sizeof(__u16);
	case AA_WHEN_GIVES:
		return aa_begin_given(state, task);
	case AA_WHEN_BLOCKS:
		if (aa_is_announced(command))
			*ret_operation = AA_OPERATION_BLIND_SPOT;
		return aa_is_of_blocks(command) || aa_is_announced(command);
	case AA_WHEN_OF_FILE:
		*ret_undecided = aa_is_mapping_undecided(state, task) &&
				 (*ret_operation != spec->operation || state->compat == AA_COMPAT_IN_MEMORY);
		if (*ret_undecided)
			*ret_operation = AA_OPERATION_BLIND_SPOT;
		else if (*ret_operation != spec->operation && !aa_is_memory_of_file(args[4]))
			*ret_operation = spec->operation;
		if (args[3] & MAP_ANONYMOUS)
			*ret_undecided = false;
		return !(args[3] & MAP_ANONYMOUS);
	case AA_WHEN_DUPLICATES:
		return command == F_DUPFD || command == F_DUPFD_CLOEXEC;
	case AA_WHEN_SEIZES:
		return args[0] == PTRACE_ATTACH || args[0] == PTRACE_SEIZE;
	case AA_WHEN_RINGS_HIDE:
		return !aa_config.has_ring_requests;
	case AA_WHEN_MARKS:
		return !(command & FAN_MARK_FLUSH);
	case AA_WHEN_AIO_HIDES:
		return aa_config.aio == AA_AIO_HIDDEN;
	case AA_WHEN_TAKES:
		*ret_undecided = state->is_stranger && !state->was_meant;
		return !*ret_undecided;
	case AA_WHEN_LISTENS:
		return args[0] == SECCOMP_SET_MODE_FILTER && args[1] & SECCOMP_FILTER_FLAG_NEW_LISTENER;
	default:
		return true;
	}
}

#endif

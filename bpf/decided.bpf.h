/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Calls that do many things: what the return decides of them. The kernel's own objects decide where they can be had:
 * the address that a socket is bound to, its peer, descriptors that are new. Where what they are found by may have been
 * exchanged, or memory may have been written over, the answer is "not known", and the call is announced.
 *
 * Included by operation.bpf.h.
 */
#ifndef AA_DECIDED_BPF_H
#define AA_DECIDED_BPF_H

enum aa_socket_kind {
	AA_SOCKET_OTHER,
	AA_SOCKET_UNIX,
	AA_SOCKET_UNKNOWN, /* the descriptor was exchanged meanwhile */
};

static __always_inline enum aa_socket_kind aa_socket_kind_of(const struct aa_call_state *state,
							     struct task_struct *task)
{
	__s32 fd = (__s32)state->args[0];
	__u16 family = aa_socket_family(aa_file_of(aa_read(task, files), fd));

	if (!aa_is_still_settled(state->socket_changes, task, fd))
		return AA_SOCKET_UNKNOWN;
	return family == AF_UNIX ? AA_SOCKET_UNIX : AA_SOCKET_OTHER;
}

/* --- bind() --- */

/* Whether the call has made a file; what it made is in used[0]. A look that failed says what the address says. */
static __always_inline bool aa_has_bound(struct aa_call_state *state, struct task_struct *task, __s64 result)
{
	__s32 fd = (__s32)state->args[0];
	struct file *file = aa_file_of(aa_read(task, files), fd);
	struct unix_address *address = NULL;
	struct unix_sock *sock = NULL;
	struct aa_identity made = {};
	bool ignored, is_path;
	struct dentry *dentry;
	__u16 family;
	char first = 0;

	is_path = aa_is_unix_path(state->args, &ignored) || state->was_meant || state->has_acted;
	if (result < 0)
		return is_path;
	family = aa_socket_family(file);
	if (family == AF_UNIX) {
		sock = (void *)aa_read((struct file___socket *)file, private_data, sk);
		address = aa_read(sock, addr);
		bpf_probe_read_kernel(
			&first, 1, (void *)address + bpf_core_field_offset(struct unix_address, name) + sizeof(__u16));
		dentry = aa_read(sock, path.dentry);
		made.file = (__u64)(long)file;
		made.dentry = (__u64)(long)dentry;
		made.mount = (__u64)(long)aa_read(sock, path.mnt);
		made.inode = (__u64)(long)aa_read(dentry, d_inode);
	}
	if (!aa_is_still_settled(state->socket_changes, task, fd)) {
		state->is_unsure = 1;
		return is_path || !family || (address && first);
	}
	if (!address || !first)
		return false;
	if (made.dentry)
		state->used[0] = made;
	return true;
}

/* --- mmap() --- */

/* Whether the mapping is announced, as each one is of a table that was seen to change under such a call; else it is an
 * ordinary one, which somebody may have asked for. */
static __always_inline bool aa_has_mapped(struct aa_call_state *state, const volatile struct aa_call_spec *spec,
					  struct task_struct *task)
{
	struct files_struct *files = aa_read(task, files);
	__s32 fd = (__s32)state->args[4];
	bool is_memory = aa_is_memory_of_file((__u32)fd) || state->compat == AA_COMPAT_IN_MEMORY;

	if (!aa_is_still_settled(state->changes[0], task, fd))
		aa_note_unsteady(files);
	if (is_memory || aa_is_unsteady(files))
		return true;
	state->operation = spec->operation;
	return aa_is_asked(state->operation);
}

/* At the return of a call that was counted for safety. */
AA_DEFINE_FIRST_STEP(aa_is_meant_after, __s64 result)
{
	AA_FIRST_STEP_BEGINS
	struct task_struct *task = (void *)bpf_get_current_task();
	const volatile struct aa_call_spec *spec;

	if (!state || !(spec = aa_spec_of(state->call)))
		return false;
	if (spec->when == AA_WHEN_UNIX_PATH)
		return aa_has_bound(state, task, result);
	if (spec->when == AA_WHEN_TAKES)
		return aa_pidfd_is_watched(state->args[0]) ||
		       !aa_is_still_settled(state->socket_changes, task, (__s32)state->args[0]);
	return aa_has_mapped(state, spec, task);
}

/* --- messages --- */

static __always_inline bool aa_control_is_same(const struct aa_control_data *a, const struct aa_control_data *b)
{
	return a->at == b->at && a->bytes == b->bytes && a->head[0] == b->head[0] && a->head[1] == b->head[1];
}

/*
 * Whether a message that was sent has given a descriptor away. Control data that others could write over meanwhile may
 * have had one, whatever it has now; and so may each message behind the first, which the kernel reads later.
 */
static __always_inline bool aa_has_given(struct aa_call_state *state, const volatile struct aa_call_spec *spec,
					 struct task_struct *task, __s64 result)
{
	__u32 word = state->compat ? sizeof(__u32) : sizeof(__u64);
	struct aa_control_data now;
	bool has_room;
	__s64 found;

	if (state->given_in != AA_NOT_FOUND_YET)
		return !spec->count || result > state->given_in;
	if (aa_socket_kind_of(state, task) == AA_SOCKET_OTHER)
		return false;
	found = aa_descriptor_of(spec, state, result);
	state->fd[0] = found >= 0 ? (__s32)found : -1;
	if (found != AA_NO_DESCRIPTOR)
		return true;
	aa_note_control(state, &now);
	has_room = aa_has_room(state->control.bytes, word) || aa_has_room(now.bytes, word);
	if (state->has_shared_memory)
		return has_room || (spec->count && result > 1);
	return !spec->count && has_room && !aa_control_is_same(&state->control, &now);
}

/* The number of the lowest bit of a word that is not 0: how many ones lie below it. Without a branch to verify. */
static __always_inline __s32 aa_lowest_bit(__u64 word)
{
	__u64 below = (word & -word) - 1;

	below -= below >> 1 & 0x5555555555555555ULL;
	below = (below & 0x3333333333333333ULL) + (below >> 2 & 0x3333333333333333ULL);
	below = (below + (below >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
	return below * 0x0101010101010101ULL >> 56;
}

/* The first descriptor that is taken now and was not at the entry; < 0: there is none, or AA_BEYOND. */
static __always_inline __s32 aa_new_descriptor(const struct aa_call_state *state, struct task_struct *task)
{
	__u64 words[AA_OPEN_FDS_WORDS], fresh, full = ~0ULL;
	__u32 i;

	aa_read_open_fds(task, words);
	for (i = 0; i < AA_OPEN_FDS_WORDS; i++) {
		full &= state->newcomer.open_fds[i];
		fresh = words[i] & ~state->newcomer.open_fds[i];
		if (!fresh)
			continue;
		return i * 64 + aa_lowest_bit(fresh);
	}
	return full == ~0ULL ? AA_BEYOND : AA_NO_DESCRIPTOR;
}

/*
 * Whether a descriptor has come with a message: where the message says so, or the place that it named at the entry;
 * else because there is a new one. In a table that others share a new one may be theirs: it counts where it could have
 * come.
 */
static __always_inline bool aa_has_received(struct aa_call_state *state, const volatile struct aa_call_spec *spec,
					    struct task_struct *task, __s64 result)
{
	__u32 word = state->compat ? sizeof(__u32) : sizeof(__u64);
	bool is_shared = state->socket_changes != 0, is_moved = false, has_room = spec->count;
	__s64 found = aa_descriptor_of(spec, state, result);
	__u64 at, bytes;
	__s32 fresh;

	if (found < 0 && !spec->count) {
		is_moved = !aa_control_of(state->args[1], word, &at, &bytes) || at != state->control.at;
		if (is_moved)
			found = aa_descriptor_at(state->control.at, state->control.bytes, word);
		has_room = is_moved || aa_has_room(state->control.bytes, word);
	}
	state->fd[0] = found >= 0 ? (__s32)found : -1;
	if (found >= 0)
		return true;
	if (aa_socket_kind_of(state, task) == AA_SOCKET_OTHER)
		return false;
	fresh = aa_new_descriptor(state, task);
	if (fresh >= 0 && (!is_shared || has_room)) {
		state->fd[0] = fresh;
		return true;
	}
	if (is_moved || found == AA_BEYOND)
		return true;
	/* Not to be seen: the table is too large, or the message can no longer be read. */
	return has_room && ((fresh == AA_BEYOND && state->has_shared_memory) || (found == AA_UNREAD && fresh >= 0));
}

/* At the return of a call of which nothing before tells whether it is one of its row's. */
AA_DEFINE_FIRST_STEP(aa_is_meant_at_last, __s64 result)
{
	AA_FIRST_STEP_BEGINS
	struct task_struct *task = (void *)bpf_get_current_task();
	const volatile struct aa_call_spec *spec;
	enum aa_socket_kind kind;
	bool is_meant;

	if (!state || result < 0 || !(spec = aa_spec_of(state->call)))
		return false;
	if (spec->when == AA_WHEN_GIVES) {
		is_meant = aa_has_given(state, spec, task, result);
	} else if (spec->when == AA_WHEN_RECEIVES) {
		is_meant = aa_has_received(state, spec, task, result);
	} else {
		kind = aa_socket_kind_of(state, task);
		is_meant = kind == AA_SOCKET_UNKNOWN ||
			   (kind == AA_SOCKET_UNIX && aa_is_managers(tid, aa_argument(spec->fd, state->args)));
	}
	/* What stays in the tree is not handed over. */
	return is_meant && !aa_first_step(aa_peer_is_watched, state->args[0]);
}

#endif

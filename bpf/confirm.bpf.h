/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What an entry read is looked at again at the return, or confirmed by what the kernel acted on.
 *
 * Between our look at the entry and the kernel's own, another thread can write over the caller's memory or put another
 * file behind a descriptor. Where the kernel keeps what it acted on (an opened file's flags, a bound socket's address,
 * the file of a program), that decides. Elsewhere both looks must agree, or the name is `raced`. A writer that restores
 * the memory before the return is noticed sooner or later: from then on no name from this memory is taken for certain.
 *
 * Included by operation.bpf.h, behind the state of a call.
 */
#ifndef AA_CONFIRM_BPF_H
#define AA_CONFIRM_BPF_H

/* What was seen to change under a call: memory and tables of descriptors, by address of the kernel's structure. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u8);
} aa_unsteady SEC(".maps");
__u32 aa_unsteady_count = 0; /* of additions: while there is none, nothing is looked for */

static __always_inline void aa_note_unsteady(const void *object)
{
	__u64 key = (__u64)(long)object;
	__u8 one = 1;

	if (!bpf_map_update_elem(&aa_unsteady, &key, &one, BPF_NOEXIST))
		__sync_fetch_and_add(&aa_unsteady_count, 1);
}

static __always_inline bool aa_is_unsteady(const void *object)
{
	__u64 key = (__u64)(long)object;

	return *(volatile __u32 *)&aa_unsteady_count && bpf_map_lookup_elem(&aa_unsteady, &key);
}

/* --- names --- */

/* The name is what the caller's memory said. */
static __always_inline bool aa_is_of_memory(__u8 source)
{
	return source == AA_PATH_SOURCE_AS_PASSED || source == AA_PATH_SOURCE_DIR_AND_NAME;
}

/* A long name goes behind the data; true: it is what it was at the entry. */
static __always_inline bool aa_long_name_is_same(struct aa_call_state *state, struct aa_scratch *scratch, __u32 i)
{
	const void *user = (void *)state->name_from[i];
	__u32 start = scratch->fill;
	bool is_same, is_cut = false;
	__u64 at = start;
	char beyond = 0;
	long bytes;

	aa_mask(at, AA_PATH_BYTES - 1);
	bytes = bpf_probe_read_user_str(scratch->data + at, AA_PATH_BYTES, user);
	if (bytes <= 0) {
		/* What the entry found of it. */
		bpf_probe_read_kernel(scratch->data + at, AA_NAME_BYTES, state->name[i]);
		bytes = AA_NAME_BYTES;
		is_cut = true;
		is_same = !state->has_shared_memory;
	} else {
		if (bytes == AA_PATH_BYTES)
			is_cut = bpf_probe_read_user(&beyond, 1, user + AA_PATH_BYTES - 1) || beyond;
		scratch->fill = start + bytes;
		/* Without a hash it counts as late. */
		is_same = !state->name_hash[i] || aa_hash_of(scratch->slot, start) == state->name_hash[i];
	}
	/* A name of the kernel's own is whole. */
	if (is_cut && (aa_is_of_memory(scratch->source[i]) || scratch->source[i] == AA_PATH_SOURCE_RACED))
		scratch->flags[i] |= AA_PATH_TRUNCATED;
	scratch->fill = start + bytes - 1;
	scratch->name[i].has_raw = 1;
	scratch->name[i].raw_bytes = bytes - 1;
	return is_same;
}

/* How long a name may be that ends where an address ends; of others the most that there is. */
static __always_inline __s32 aa_name_limit(const struct aa_call_state *state, const volatile struct aa_call_spec *spec)
{
	bool is_address = spec->when == AA_WHEN_UNIX_PATH || spec->when == AA_WHEN_HANDS_OVER;

	return is_address ? (__s32)state->args[2] - 2 : AA_NAME_BYTES;
}

/* Verified once, for all looks. */
AA_DEFINE_STEP(aa_short_name_is_same, , __u32 i, __s32 limit)
{
	AA_STEP_BEGINS
	const __u64 *before, *again;
	__s32 bytes, word;
	__u64 differs = 0;

	if (!state || !scratch)
		return true;
	aa_mask(i, 1);
	before = (const __u64 *)state->name[i];
	again = (const __u64 *)scratch->leaf[i];
	bytes = bpf_probe_read_user_str(scratch->leaf[i], AA_NAME_BYTES, (void *)state->name_from[i]);
	/* Not there any more: others have taken it away, or the kernel needed the room. */
	if (bytes < 0)
		return !state->has_shared_memory;
	if (bytes > 0)
		bytes--;
	if (bytes > limit)
		bytes = limit;
	if (bytes != state->name_bytes[i])
		return false;
	for (word = 0; word < AA_NAME_BYTES / 8; word++) {
		__s32 left = bytes - word * 8;

		if (left <= 0)
			break;
		differs = before[word] ^ again[word];
		if (left < 8)
			differs <<= 64 - left * 8;
		if (differs)
			return false;
	}
	return true;
}

/* How often a name in memory that others can write to is looked at again: a fast writer is met by one of them. */
#define AA_NAME_LOOKS 6

/* The call itself writes its answer over its name, as readlink(name, name, …) does. */
static __always_inline bool aa_is_own_answer(const struct aa_call_state *state,
					     const volatile struct aa_call_spec *spec, __u32 i)
{
	__u32 argument, own = i ? spec->path2 : spec->path;

	if (state->operation != AA_OPERATION_STAT || !spec->moves)
		return false;
	for (argument = 0; argument < 4; argument++)
		if (argument + 1 != own && state->args[argument] == state->name_from[i])
			return true;
	return false;
}

/* The name of one side, after it was resolved: raced, unless it is known to be what the kernel took. */
AA_DEFINE_STEP(aa_step_confirm, , __u32 i)
{
	AA_STEP_BEGINS
	struct task_struct *task = (void *)bpf_get_current_task();
	const volatile struct aa_call_spec *spec;
	bool is_same = true;
	__u32 look;
	__s32 limit;

	if (!state || !scratch || !(spec = aa_spec_told(state->call)))
		return 0;
	aa_mask(i, 1);
	limit = aa_name_limit(state, spec);
	if (state->name_is_long[i])
		is_same = aa_long_name_is_same(state, scratch, i);
	else
		for (look = 0; look < AA_NAME_LOOKS && is_same; look++) {
			is_same = aa_step(aa_short_name_is_same, , i, limit);
			if (!state->has_shared_memory)
				break;
		}
	if (state->name_is_kernels && !i)
		return 0;
	if (!is_same && aa_is_own_answer(state, spec, i))
		return 0;
	if (!is_same)
		aa_note_unsteady(aa_read(task, mm));
	if (!aa_is_of_memory(scratch->source[i]))
		return 0;
	if (!is_same || state->is_unsure || (state->name_is_late[i] && state->has_shared_memory) ||
	    aa_is_unsteady(aa_read(task, mm)))
		scratch->source[i] = AA_PATH_SOURCE_RACED;
	return 0;
}

/* Whether that is to be asked: of a name that comes from memory, and of one that is still to be read. */
static __always_inline bool aa_is_to_confirm(const struct aa_call_state *state, const struct aa_scratch *scratch,
					     __u32 i)
{
	return state->name_is_long[i] || aa_is_of_memory(scratch->source[i]);
}

/* --- struct open_how --- */

#define AA_HOW_KEPT                                                                                                    \
	(O_ACCMODE | O_DIRECTORY | O_PATH) /* that a file keeps as it was opened, whatever is done with it */

static __always_inline void aa_read_how(struct aa_call_state *state, const volatile struct aa_call_spec *spec)
{
	struct {
		__u64 flags, mode, resolve;
	} how = {};

	state->has_no_flags = bpf_probe_read_user(&how, sizeof(how), (void *)aa_argument(spec->how, state->args)) != 0;
	state->flags = how.flags;
	state->mode = how.mode;
	state->resolve = how.resolve;
}

/*
 * The flags once more, and what the opened file has of them. The file's decide between two that differ; neither a
 * truncation nor a creation leaves a trace there, so that an event whose flags have differed says `raced`.
 */
AA_DEFINE_FIRST_STEP(aa_confirm_how, __s64 result)
{
	AA_FIRST_STEP_BEGINS
	struct task_struct *task = (void *)bpf_get_current_task();
	const volatile struct aa_call_spec *spec;
	struct file *file;
	__u64 flags, mode, resolve;
	__u32 of_file;

	if (!state || !(spec = aa_spec_of(state->call)) || !spec->how)
		return 0;
	flags = state->flags;
	mode = state->mode;
	resolve = state->resolve;
	if (state->has_no_flags) {
		aa_read_how(state, spec);
		state->is_unsure = state->has_shared_memory;
		return 0;
	}
	aa_read_how(state, spec);
	if (!state->has_no_flags && (state->flags != flags || state->mode != mode || state->resolve != resolve)) {
		state->is_unsure = 1;
		aa_note_unsteady(aa_read(task, mm));
	}
	file = aa_file_of(aa_read(task, files), (__s32)result);
	of_file = result < 0 ? flags : aa_read(file, f_flags);
	if (state->has_no_flags || !((flags ^ of_file) & AA_HOW_KEPT) || (state->flags ^ of_file) & AA_HOW_KEPT) {
		state->flags = flags;
		state->mode = mode;
		state->resolve = resolve;
	}
	state->has_no_flags = 0;
	if ((flags ^ of_file) & AA_HOW_KEPT || aa_is_unsteady(aa_read(task, mm)))
		state->is_unsure = 1;
	return 0;
}

/* --- the argument of a clone --- */

/* At the return: of a side whose descriptor is another one in the structure by now, or may be, nothing is certain. */
AA_DEFINE_FIRST_STEP(aa_confirm_clone, __u32 ignored)
{
	AA_FIRST_STEP_BEGINS
	struct task_struct *task = (void *)bpf_get_current_task();
	__s32 fd[2];
	__u32 i;

	aa_use(ignored);

	if (!state)
		return 0;
	fd[0] = state->fd[0];
	fd[1] = state->fd[1];
	aa_clone_descriptors(state);
	for (i = 0; i < 2; i++) {
		if (fd[i] != state->fd[i])
			aa_note_unsteady(aa_read(task, mm));
		else if (!aa_is_unsteady(aa_read(task, mm)))
			continue;
		state->changes[i] = AA_SHARED | AA_UNSETTLED;
		state->has_no_look = 0;
	}
	return 0;
}

#endif

/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The kernel's own name of a file: from its dentry up to the watched task's root, over mounts.
 *
 * The walk is made twice: first to copy, then to look again. Equal checksums say that both walks met the same dentries
 * with the same sequence counts, which each rename raises (d_move()), hence that the name was true between the two;
 * unequal ones, that a rename went on meanwhile. Names alone would not do: renamed to and fro they are the same again.
 * Components are copied leaf first, so what does not fit is the beginning. The checksum is also what a name that was
 * told once is known again by, in one walk without a copy: see aa_finish_again().
 *
 * What a walk means that does not come to the task's root, and how a move of a mount is noticed, is in mounts.bpf.h.
 *
 * Everything a walk remembers lives in a map value: what is read back from a map is unknown to
 * the verifier, so its states converge. In registers or on the stack each round would be another state.
 */
#ifndef AA_PATH_BPF_H
#define AA_PATH_BPF_H

#include "kernel.bpf.h"
#include "fileio_abi.h"
#include "filter.bpf.h"
#include "mounts.bpf.h"

struct aa_place {
	struct dentry *dentry;
	struct vfsmount *vfsmount;
};

#define AA_HASHED_BYTES 64

/* Everything that is gathered before a record is sent, and the record. */
struct aa_scratch {
	__u64 users;
	__u32 slot; /* its own */
	struct aa_place place[2];
	struct aa_walker walker;
	/* Of whoever asked for the work, where the running task has another root or none; NULL: the running task's. */
	struct dentry *root_dentry;
	struct vfsmount *root_mount;
	__u32 start;
	__u32 is_early;			 /* of a request that has not ended */
	__u32 is_unasked;		 /* of a kind that was not selected: only its name can save it */
	__u64 name_key;			 /* checksum of the first name's walk, if it came to its end; or 0 */
	struct dentry *name_root_dentry; /* and whose root that was */
	struct vfsmount *name_root_mount;
	__u64 total_name; /* see totals.bpf.h */
	/* the call, and its two sides */
	__s64 result;
	__u64 now_ns;
	__u64 changes[2]; /* of what the names start from */
	struct inode *inode[2];
	struct aa_file_facts facts[2];
	__s32 start_fd[2];
	__u32 fill;   /* bytes of data */
	__s32 opened; /* the descriptor that came of the call; -1: none did */
	__u8 source[2], flags[2];
	__u8 kind[2], walk[2]; /* enum aa_kind, enum aa_walk */
	__u8 has_start[2], has_leaf[2];
	struct aa_rule_name rule; /* what is looked for: 5.10's stack has no room for it */
	struct aa_name_facts name[2];
	struct aa_second second; /* as they are appended */
	struct aa_more more;
	char leaf[2][AA_NAME_BYTES]; /* the last component, where it is no longer the entry's name */
	/* the record, contiguous as it is sent: from `told` on into the ring of names */
	struct aa_told told;
	struct aa_event event;
	unsigned char data[AA_DATA_BYTES];
	unsigned char beyond[AA_HASHED_BYTES]; /* of the data, for whoever reads it in such pieces */
};

/*
 * A few scratch records for each CPU, each owned by one program at a time. A program cannot change its CPU, but it can
 * be preempted or interrupted by another of ours there, so a record is claimed before it is touched: add one, then
 * look; whoever does not see exactly one steps back and tries the next. (An atomic exchange would need 5.12.)
 */
#define AA_SCRATCH_SLOTS 4

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, AA_SCRATCH_SLOTS);
	__type(key, __u32);
	__type(value, struct aa_scratch);
} aa_scratches SEC(".maps");

static __always_inline struct aa_scratch *aa_scratch_at(__u32 slot)
{
	return bpf_map_lookup_elem(&aa_scratches, &slot);
}

static __always_inline struct aa_scratch *aa_scratch_claim(__u32 *ret_slot)
{
	__u32 slot;

	for (slot = 0; slot < AA_SCRATCH_SLOTS; slot++) {
		struct aa_scratch *scratch = aa_scratch_at(slot);

		if (!scratch)
			return NULL;
		__sync_fetch_and_add(&scratch->users, 1);
		if (*(volatile __u64 *)&scratch->users == 1) {
			*ret_slot = scratch->slot = slot;
			return scratch;
		}
		__sync_fetch_and_add(&scratch->users, -1);
	}
	return NULL;
}

static __always_inline void aa_scratch_release(struct aa_scratch *scratch)
{
	__sync_fetch_and_add(&scratch->users, -1);
}

#define AA_MOUNT_HEAD_BYTES 64

/* What a walk asks of a mount, in one copy: see AA_IN_HEAD. */
static __always_inline void aa_walk_enter(struct aa_walker *walker, struct mount *mount)
{
	unsigned char head[AA_MOUNT_HEAD_BYTES] __attribute__((aligned(8)));

	walker->mount = mount;
	if (AA_IN_HEAD(struct mount, mnt_parent, AA_MOUNT_HEAD_BYTES) &&
	    AA_IN_HEAD(struct mount, mnt_mountpoint, AA_MOUNT_HEAD_BYTES) &&
	    AA_IN_HEAD(struct mount, mnt.mnt_root, AA_MOUNT_HEAD_BYTES)) {
		bpf_probe_read_kernel(head, sizeof(head), mount);
		walker->mount_parent = AA_OF_HEAD(head, struct mount *, struct mount, mnt_parent);
		walker->mountpoint = AA_OF_HEAD(head, struct dentry *, struct mount, mnt_mountpoint);
		walker->mount_root = AA_OF_HEAD(head, struct dentry *, struct mount, mnt.mnt_root);
	} else {
		struct mount *view = aa_view(mount, mount);

		walker->mount_parent = aa_of(view, mnt_parent);
		walker->mountpoint = aa_of(view, mnt_mountpoint);
		walker->mount_root = aa_of(view, mnt.mnt_root);
	}
}

static __always_inline void aa_walk_start(struct aa_walker *walker, struct dentry *dentry, struct vfsmount *vfsmount,
					  struct fs_struct *fs)
{
	struct fs_struct *view = aa_view(fs, fs_struct);

	walker->dentry = dentry;
	walker->root_dentry = aa_of(view, root.dentry);
	walker->root_mount = aa_of(view, root.mnt);
	walker->checksum = 0;
	walker->end = AA_WALK_UNDER_WAY;
	walker->sequences = 0;
	aa_walk_enter(walker, aa_real_mount(vfsmount));
}

/* What a step asks of a dentry, in one copy: see AA_IN_HEAD. */
#define AA_DENTRY_HEAD_BYTES 64
#define AA_DENTRY_HAS_HEAD                                                                                             \
	(AA_IN_HEAD(struct dentry, d_seq.seqcount.sequence, AA_DENTRY_HEAD_BYTES) &&                                   \
	 AA_IN_HEAD(struct dentry, d_parent, AA_DENTRY_HEAD_BYTES) &&                                                  \
	 AA_IN_HEAD(struct dentry, d_name.name, AA_DENTRY_HEAD_BYTES))

struct aa_dentry_facts {
	struct dentry *parent;
	const unsigned char *name;
	__u64 hash_len; /* of the name */
	__u32 sequence;
};

static __always_inline void aa_dentry_read(struct dentry *dentry, struct aa_dentry_facts *ret_facts)
{
	unsigned char head[AA_DENTRY_HEAD_BYTES] __attribute__((aligned(8)));

	if (AA_DENTRY_HAS_HEAD) {
		bpf_probe_read_kernel(head, sizeof(head), dentry);
		ret_facts->sequence = AA_OF_HEAD(head, __u32, struct dentry, d_seq.seqcount.sequence);
		ret_facts->parent = AA_OF_HEAD(head, struct dentry *, struct dentry, d_parent);
		ret_facts->name = AA_OF_HEAD(head, const unsigned char *, struct dentry, d_name.name);
		ret_facts->hash_len = AA_OF_HEAD(head, __u64, struct dentry, d_name.hash_len);
	} else {
		struct dentry *view = aa_view(dentry, dentry);

		ret_facts->sequence = aa_of(view, d_seq.seqcount.sequence);
		ret_facts->parent = aa_of(view, d_parent);
		ret_facts->name = aa_of(view, d_name.name);
		ret_facts->hash_len = aa_read(dentry, d_name.hash_len); /* of a union: not through the view */
	}
}

/*
 * One step up; true at the end. A component is copied to data[fill] of `scratch`, if there is one.
 * A file system that is mounted nowhere (memfd, anonymous inodes) has a root that is the file itself: its name counts.
 */
static __always_inline bool aa_walk_step(struct aa_walker *walker, struct aa_scratch *scratch)
{
	/* Locals: an access macro takes each member it is given for the kernel's. */
	struct dentry *dentry = walker->dentry, *parent;
	struct mount *mount = walker->mount;
	struct mnt_namespace *namespace;
	struct aa_dentry_facts facts;
	__u32 at;
	long copied;

	if (!dentry || (dentry == walker->root_dentry &&
			(void *)mount + bpf_core_field_offset(struct mount, mnt) == (void *)walker->root_mount)) {
		walker->end = dentry ? AA_WALK_AT_ROOT : AA_WALK_OF_NO_PLACE;
		return true;
	}
	aa_dentry_read(dentry, &facts);
	/* Without a branch, which would double what there is to verify of every step after this one. */
	walker->sequences |= facts.sequence;
	parent = facts.parent;
	if (dentry == walker->mount_root || dentry == parent) {
		/* A directory that its mount does not show has no mountpoint above it. */
		if (dentry == walker->mount_root && walker->mount_parent != mount) {
			if (walker->mountpoint == dentry)
				walker->sequences |= aa_mount_is_torn(mount, dentry);
			walker->dentry = walker->mountpoint;
			aa_walk_enter(walker, walker->mount_parent);
			walker->checksum += (__u64)(long)walker->mount * 0x94d049bb133111ebULL;
			return false;
		}
		namespace = aa_read(mount, mnt_ns);
		if ((long)namespace != MNT_NS_INTERNAL) {
			walker->end_namespace = namespace;
			walker->checksum += (__u64)(long)namespace + 0xbf58476d1ce4e5b9ULL;
			walker->end = AA_WALK_ELSEWHERE;
			return true;
		}
		parent = NULL;
	}
	if (scratch) {
		at = scratch->fill;
		if (at > AA_DATA_BYTES - AA_NAME_BYTES || at - scratch->start > AA_WALK_BYTES - AA_NAME_BYTES)
			return true;
		copied = bpf_probe_read_kernel_str(scratch->data + at, AA_NAME_BYTES, facts.name);
		if (copied <= 0)
			return true;
		scratch->fill = at + copied;
	}
	walker->checksum = (walker->checksum << 7 | walker->checksum >> 57) * 31 + (__u64)(long)dentry +
			   facts.sequence * 0x9e3779b97f4a7c15ULL + facts.hash_len * 0xc2b2ae3d27d4eb4fULL;
	walker->dentry = parent;
	return false;
}

/* The rounds of steps: a bounded loop, true if it came to an end; and bpf_loop() where the kernel has it (5.17). */
#define aa_walk_bounded(walker, scratch, steps)                                                                        \
	({                                                                                                             \
		bool has_ended_ = false;                                                                               \
		int round_;                                                                                            \
                                                                                                                       \
		for (round_ = 0; round_ < (steps) && !has_ended_; round_++)                                            \
			has_ended_ = aa_walk_step(walker, scratch);                                                    \
		has_ended_;                                                                                            \
	})

/* Deeper names are rare, and a round of bpf_loop() is a call through a pointer. */
#define AA_WALK_STEPS_AT_ONCE 10

/* Functions of their own for the sake of the stack: it is then theirs or that of a round below, not both. */
__noinline int aa_copy_at_once(__u32 slot)
{
	struct aa_scratch *scratch = aa_scratch_at(slot);

	return !scratch || aa_walk_bounded(&scratch->walker, scratch, AA_WALK_STEPS_AT_ONCE);
}

__noinline int aa_check_at_once(__u32 slot)
{
	struct aa_scratch *scratch = aa_scratch_at(slot);

	return !scratch || aa_walk_bounded(&scratch->walker, NULL, AA_WALK_STEPS_AT_ONCE);
}

static long aa_copy_round(__u32 round, void *slot)
{
	struct aa_scratch *scratch = aa_scratch_at(*(__u32 *)slot);

	return !scratch || aa_walk_step(&scratch->walker, scratch);
}

static long aa_check_round(__u32 round, void *slot)
{
	struct aa_scratch *scratch = aa_scratch_at(*(__u32 *)slot);

	return !scratch || aa_walk_step(&scratch->walker, NULL);
}

static __always_inline void aa_copy_leaf(struct aa_scratch *scratch, __u64 i)
{
	__u32 at = scratch->fill;
	long copied;

	if (at > AA_DATA_BYTES - AA_NAME_BYTES)
		return;
	copied = bpf_probe_read_kernel_str(scratch->data + at, AA_NAME_BYTES, scratch->leaf[i & 1]);
	if (copied > 0)
		scratch->fill = at + copied;
}

static __always_inline void aa_render_starts(struct aa_scratch *scratch, __u64 i, struct fs_struct *fs)
{
	aa_walk_start(&scratch->walker, scratch->place[i].dentry, scratch->place[i].vfsmount, fs);
	if (scratch->root_mount) {
		scratch->walker.root_dentry = scratch->root_dentry;
		scratch->walker.root_mount = scratch->root_mount;
	}
}

/* Before the walks of side i of a scratch record, and what they make known of it. */
static __always_inline void aa_render_begins(struct aa_scratch *scratch, __u64 i, struct fs_struct *fs)
{
	scratch->start = scratch->fill;
	aa_render_starts(scratch, i, fs);
	aa_mounts_note(&scratch->walker, scratch->place[i].vfsmount);
	if (scratch->has_leaf[i])
		aa_copy_leaf(scratch, i);
}

/* After the first walk; false: it came to no end, and there is nothing to look at again. */
static __always_inline bool aa_render_goes_on(struct aa_scratch *scratch, __u64 i, struct fs_struct *fs)
{
	struct aa_walker *walker = &scratch->walker;
	__u32 sequences = walker->sequences;

	scratch->name[i].has_walk = scratch->walk[i];
	scratch->name[i].walk_bytes = scratch->fill - scratch->start;
	if (!walker->end) {
		scratch->flags[i] |= AA_PATH_TRUNCATED;
		return false;
	}
	if (walker->end == AA_WALK_ELSEWHERE)
		scratch->flags[i] |= AA_PATH_UNREACHABLE;
	walker->first_checksum = walker->checksum;
	aa_render_starts(scratch, i, fs);
	walker->sequences = sequences;
	return true;
}

/* After the second one. */
static __always_inline void aa_render_ends(struct aa_scratch *scratch, __u64 i)
{
	struct aa_walker *walker = &scratch->walker;

	if (walker->checksum != walker->first_checksum || walker->sequences & 1 ||
	    !aa_mounts_stayed(walker, scratch->place[i].vfsmount)) {
		scratch->source[i] = AA_PATH_SOURCE_RACED;
	} else if (walker->end == AA_WALK_OF_NO_PLACE && scratch->walk[i] != AA_WALK_OBJECT) {
		/* No name starts from what is no directory. */
		scratch->source[i] = AA_PATH_SOURCE_NONE;
	} else if (!i && walker->end != AA_WALK_ELSEWHERE) {
		scratch->name_key = walker->checksum;
		scratch->name_root_dentry = walker->root_dentry;
		scratch->name_root_mount = walker->root_mount;
	}
}

/*
 * Global functions of plain numbers: the verifier takes each once, for any argument, instead of once for every state
 * that reaches it (in one piece the walks alone pass its 1,000,000 instructions).
 */
#define AA_DEFINE_RENDER(suffix, COPY_ROUNDS, CHECK_ROUNDS)                                                            \
	__noinline int aa_render_##suffix(__u32 slot, __u64 i)                                                         \
	{                                                                                                              \
		struct aa_scratch *scratch = aa_scratch_at(slot);                                                      \
		struct task_struct *task = (void *)bpf_get_current_task();                                             \
		struct fs_struct *fs = aa_read(task, fs);                                                              \
                                                                                                                       \
		if (!scratch)                                                                                          \
			return 0;                                                                                      \
		aa_mask(i, 1);                                                                                         \
		aa_render_begins(scratch, i, fs);                                                                      \
		COPY_ROUNDS;                                                                                           \
		if (!aa_render_goes_on(scratch, i, fs))                                                                \
			return 0;                                                                                      \
		CHECK_ROUNDS;                                                                                          \
		aa_render_ends(scratch, i);                                                                            \
		return 0;                                                                                              \
	}
AA_DEFINE_RENDER(bounded, (void)aa_walk_bounded(&scratch->walker, scratch, AA_WALK_STEPS),
		 (void)aa_walk_bounded(&scratch->walker, NULL, AA_WALK_STEPS))
AA_DEFINE_RENDER(short, (void)aa_walk_bounded(&scratch->walker, scratch, AA_WALK_STEPS_SHORT),
		 (void)aa_walk_bounded(&scratch->walker, NULL, AA_WALK_STEPS_SHORT))
AA_DEFINE_RENDER(looped, if (!aa_copy_at_once(slot)) bpf_loop(AA_WALK_STEPS_LOOPED, aa_copy_round, &slot, 0),
		 if (!aa_check_at_once(slot)) bpf_loop(AA_WALK_STEPS_LOOPED, aa_check_round, &slot, 0))

#endif

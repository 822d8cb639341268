/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The kernel's own name of a file: from its dentry up to the watched task's root, over mounts.
 *
 * The walk is made twice: first to copy, then to look again. Equal checksums say that both walks met the same dentries
 * with the same sequence counts, which each rename raises (d_move()), hence that the name was true between the two;
 * unequal ones, that a rename went on meanwhile. Names alone would not do: renamed to and fro they are the same again.
 * Components are copied leaf first, so what does not fit is the beginning.
 *
 * Everything the walk remembers lives in the scratch record, a map value: what is read back from a map is unknown to
 * the verifier, so its states converge. In registers or on the stack each round would be another state.
 */
#ifndef AA_PATH_BPF_H
#define AA_PATH_BPF_H

#include "kernel.bpf.h"
#include "fileio_abi.h"
#include "filter.bpf.h"

struct aa_place {
	struct dentry *dentry;
	struct vfsmount *vfsmount;
};

/* Everything that is gathered before a record is sent, and the record. */
struct aa_scratch {
	__u64 users;
	struct aa_place place[2];
	/* the walk under way */
	struct dentry *dentry, *mount_root, *root_dentry;
	struct mount *mount;
	struct vfsmount *root_mount;
	__u64 checksum;
	__u32 is_done;
	__u32 is_torn;
	__u32 start;
	__u32 reserved;
	/* the call, and its two sides */
	__s64 result;
	__u64 now_ns;
	__u64 changes[2]; /* of what the names start from */
	struct inode *inode[2];
	struct aa_file_facts facts[2];
	__s32 start_fd[2];
	__u32 fill; /* bytes of data */
	__u8 source[2], flags[2];
	__u8 kind[2], walk[2]; /* enum aa_kind, enum aa_walk */
	__u8 has_start[2], has_leaf[2];
	char leaf[2][AA_NAME_BYTES]; /* the last component, where it is no longer the entry's name */
	/* the record, contiguous as it is sent */
	struct aa_event event;
	struct aa_process_facts process;
	struct aa_file_facts object;
	struct aa_name_facts names;
	unsigned char data[AA_DATA_BYTES];
};

#define AA_RECORD_FIXED                                                                                                \
	(sizeof(struct aa_event) + sizeof(struct aa_process_facts) + sizeof(struct aa_file_facts) +                    \
	 sizeof(struct aa_name_facts))

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
			*ret_slot = slot;
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

static __always_inline struct mount *aa_real_mount(struct vfsmount *vfsmount)
{
	return (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
}

static __always_inline void aa_walk_start(struct aa_scratch *scratch, __u64 i, struct fs_struct *fs)
{
	struct vfsmount *vfsmount = scratch->place[i].vfsmount;

	scratch->dentry = scratch->place[i].dentry;
	scratch->mount = aa_real_mount(vfsmount);
	scratch->mount_root = BPF_CORE_READ(vfsmount, mnt_root);
	scratch->root_dentry = BPF_CORE_READ(fs, root.dentry);
	scratch->root_mount = BPF_CORE_READ(fs, root.mnt);
	scratch->checksum = 0;
	scratch->is_done = 0;
	scratch->start = scratch->fill;
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
	} else {
		ret_facts->sequence = BPF_CORE_READ(dentry, d_seq.seqcount.sequence);
		ret_facts->parent = BPF_CORE_READ(dentry, d_parent);
		ret_facts->name = BPF_CORE_READ(dentry, d_name.name);
	}
}

/*
 * One step up; true at the end. A component is copied to data[fill] (or only looked at, when `copies` is false).
 * A file system that is mounted nowhere (memfd, anonymous inodes) has a root that is the file itself: its name counts.
 */
static __always_inline bool aa_walk_step(struct aa_scratch *scratch, bool copies)
{
	/* Locals: an access macro takes each member it is given for the kernel's. */
	struct dentry *dentry = scratch->dentry, *parent;
	struct mount *mount = scratch->mount;
	struct aa_dentry_facts facts;
	__u32 at;
	long copied;

	if (!dentry || (dentry == scratch->root_dentry &&
			(void *)mount + bpf_core_field_offset(struct mount, mnt) == (void *)scratch->root_mount)) {
		scratch->is_done = 1;
		return true;
	}
	aa_dentry_read(dentry, &facts);
	if (facts.sequence & 1)
		scratch->is_torn = 1;
	parent = facts.parent;
	if (dentry == scratch->mount_root || dentry == parent) {
		struct mount *up = BPF_CORE_READ(mount, mnt_parent);

		if (up != mount) {
			scratch->dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			scratch->mount = up;
			scratch->mount_root = BPF_CORE_READ(up, mnt.mnt_root);
			return false;
		}
		if ((long)BPF_CORE_READ(mount, mnt_ns) != MNT_NS_INTERNAL) {
			scratch->is_done = 1;
			return true;
		}
		parent = NULL;
	}
	if (copies) {
		at = scratch->fill;
		if (at > AA_DATA_BYTES - AA_NAME_BYTES || at - scratch->start > AA_WALK_BYTES - AA_NAME_BYTES)
			return true;
		copied = bpf_probe_read_kernel_str(scratch->data + at, AA_NAME_BYTES, facts.name);
		if (copied <= 0)
			return true;
		scratch->fill = at + copied;
	}
	scratch->checksum = (scratch->checksum << 7 | scratch->checksum >> 57) * 31 + (__u64)(long)dentry +
			    facts.sequence * 0x9e3779b97f4a7c15ULL;
	scratch->dentry = parent;
	return false;
}

/* The two rounds of steps: a bounded loop, and bpf_loop() where the kernel has it (5.17), which goes deeper. */
static __always_inline void aa_walk_bounded(struct aa_scratch *scratch, bool copies)
{
	int i;

	for (i = 0; i < AA_WALK_STEPS; i++)
		if (aa_walk_step(scratch, copies))
			break;
}

static long aa_copy_round(__u32 round, void *slot)
{
	struct aa_scratch *scratch = aa_scratch_at(*(__u32 *)slot);

	return !scratch || aa_walk_step(scratch, true);
}

static long aa_check_round(__u32 round, void *slot)
{
	struct aa_scratch *scratch = aa_scratch_at(*(__u32 *)slot);

	return !scratch || aa_walk_step(scratch, false);
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

/*
 * Global functions of plain numbers: the verifier takes each once, for any argument, instead of once for every state
 * that reaches it (in one piece the walks alone pass its 1,000,000 instructions).
 */
#define AA_DEFINE_RENDER(suffix, COPY_ROUNDS, CHECK_ROUNDS)                                                            \
	__noinline int aa_render_##suffix(__u32 slot, __u64 i)                                                         \
	{                                                                                                              \
		struct aa_scratch *scratch = aa_scratch_at(slot);                                                      \
		struct task_struct *task = (void *)bpf_get_current_task();                                             \
		struct fs_struct *fs = BPF_CORE_READ(task, fs);                                                        \
		__u64 checksum;                                                                                        \
		__u32 is_done;                                                                                         \
                                                                                                                       \
		if (!scratch)                                                                                          \
			return 0;                                                                                      \
		aa_mask(i, 1);                                                                                         \
		scratch->is_torn = 0;                                                                                  \
		aa_walk_start(scratch, i, fs);                                                                         \
		if (scratch->has_leaf[i])                                                                              \
			aa_copy_leaf(scratch, i);                                                                      \
		COPY_ROUNDS;                                                                                           \
		scratch->names.has_walk[i] = scratch->walk[i];                                                         \
		scratch->names.walk_bytes[i] = scratch->fill - scratch->start;                                         \
		is_done = scratch->is_done;                                                                            \
		if (!is_done) {                                                                                        \
			scratch->flags[i] |= AA_PATH_TRUNCATED;                                                        \
			return 0;                                                                                      \
		}                                                                                                      \
		checksum = scratch->checksum;                                                                          \
		aa_walk_start(scratch, i, fs);                                                                         \
		CHECK_ROUNDS;                                                                                          \
		if (scratch->checksum != checksum || scratch->is_torn)                                                 \
			scratch->source[i] = AA_PATH_SOURCE_RACED;                                                     \
		return 0;                                                                                              \
	}
AA_DEFINE_RENDER(bounded, aa_walk_bounded(scratch, true), aa_walk_bounded(scratch, false))
AA_DEFINE_RENDER(looped, bpf_loop(AA_WALK_STEPS_LOOPED, aa_copy_round, &slot, 0),
		 bpf_loop(AA_WALK_STEPS_LOOPED, aa_check_round, &slot, 0))

#endif

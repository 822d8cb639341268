/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Where a walk ends (path.bpf.h), and whether mounts were moved during it.
 *
 * A walk that is at the task's root has found the name. One that comes to the root of a mount without a parent, or of a
 * file system, has not: prepend_path() calls these outside of the root, detached, and escaped, and getcwd(2) says
 * "(unreachable)". The mount is then the first one of a namespace, or in none.
 *
 * A mount that is moved (MS_MOVE, pivot_root) is without a parent for a moment, too, and is not the first one of its
 * namespace. Or it has a parent, and its own root for a mountpoint: compilers store the two in any order. A move
 * between two reads is shown by the number of the namespace's last change: a mount is moved with mount_lock held, and
 * each such section changes the number (touch_mnt_namespace()). If the number is the same before the first walk and
 * after the second, at most one section has fallen into that time, and both walks found what was there before it, or
 * both what was there after it. mount_lock's own sequence would say the same; but it can only be found by name, where a
 * kernel lists its data (CONFIG_KALLSYMS_ALL).
 */
#ifndef AA_MOUNTS_BPF_H
#define AA_MOUNTS_BPF_H

#include "kernel.bpf.h"

enum aa_walk_end {
	AA_WALK_UNDER_WAY,
	AA_WALK_ELSEWHERE,   /* not at the task's root */
	AA_WALK_AT_ROOT,     /* there is a name */
	AA_WALK_OF_NO_PLACE, /* of a file system that is mounted nowhere: the object's own name */
};

static __always_inline struct mount *aa_real_mount(struct vfsmount *vfsmount)
{
	return (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
}

/* A walk under way. */
struct aa_walker {
	struct dentry *dentry, *root_dentry;
	struct mount *mount;
	struct vfsmount *root_mount;
	/* of the mount it is in */
	struct dentry *mount_root, *mountpoint;
	struct mount *mount_parent;
	__u64 checksum;
	__u32 end;			     /* enum aa_walk_end */
	__u32 sequences;		     /* of all that was walked, ored: odd where one was torn */
	struct mnt_namespace *end_namespace; /* of the mount that it ended in, where that was not at the root */
	/* As they were before the first walk. */
	struct mnt_namespace *root_namespace;
	__u64 root_event;
	__u64 first_checksum; /* of the first walk */
};

/*
 * Of one whose mountpoint is its own root, which is also so where a directory is bound to itself: 1 if it is being
 * moved. Its struct mountpoint is taken away after the place has gone, and given to it after the new one has come, or
 * in between.
 */
static __always_inline __u32 aa_mount_is_torn(struct mount *mount, struct dentry *mountpoint)
{
	struct mountpoint *of = aa_read(mount, mnt_mp);

	return aa_read(of, m_dentry) != mountpoint;
}

/* After aa_walk_start() of the first walk. One that is in the root's mount already crosses none. */
static __always_inline void aa_mounts_note(struct aa_walker *walker, struct vfsmount *vfsmount)
{
	struct mount *root = aa_real_mount(walker->root_mount);
	struct mnt_namespace *namespace;

	if (vfsmount == walker->root_mount)
		return;
	namespace = aa_read(root, mnt_ns);
	walker->root_namespace = namespace;
	walker->root_event = aa_read(namespace, event);
}

/* After the last walk: what it found of mounts was true at one time. */
static __always_inline bool aa_mounts_stayed(const struct aa_walker *walker, struct vfsmount *vfsmount)
{
	struct mnt_namespace *namespace = walker->root_namespace;

	if (walker->mount != aa_real_mount(vfsmount) && aa_read(namespace, event) != walker->root_event)
		return false;
	namespace = walker->end_namespace;
	return walker->end != AA_WALK_ELSEWHERE || walker->dentry != walker->mount_root || !namespace ||
	       aa_read(namespace, root) == walker->mount;
}

#endif

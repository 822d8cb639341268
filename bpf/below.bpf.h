/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What the probes of below.h do with the arguments of their functions, by whatever backend they came. */
#ifndef AA_BELOW_BPF_H
#define AA_BELOW_BPF_H

#include "below.h"
#include "operation.bpf.h"
#include "witness.bpf.h"

/* The first arguments of a kernel function; what below.h does not promise is 0. */
struct aa_arguments {
	__u64 at[4];
};

/* The state of a watched thread inside a call of our table, and the row; or NULL. */
static __always_inline struct aa_call_state *aa_state_below(const volatile struct aa_call_spec **ret_spec)
{
	/* Only a watched thread has one. */
	struct aa_call_state *state = aa_state_of((__u32)bpf_get_current_pid_tgid());

	if (!state || state->phase != AA_PHASE_IN_CALL)
		return NULL;
	*ret_spec = aa_spec_of(state->call);
	return *ret_spec ? state : NULL;
}

/* The file of a call that moves bytes, which the descriptor may no longer name at the return. */
static __always_inline void aa_below_moves(struct file *file, bool writes)
{
	const volatile struct aa_call_spec *spec;
	struct aa_call_state *state = aa_state_below(&spec);
	__u32 side;

	/* Without a look at the entry none is needed here either: the return finds what the call found. */
	if (!state || state->has_no_look || !spec->moves)
		return;
	/* A copy asks to read the one and to write the other. */
	side = spec->fd2 && writes;
	if (state->by_fd[side])
		aa_note_used(state, side, file);
}

static __always_inline void aa_below_read(const struct aa_arguments *with) /* vfs_read(file, …) */
{
	aa_below_moves((void *)with->at[0], false);
}

static __always_inline void aa_below_written(const struct aa_arguments *with) /* vfs_write(file, …) */
{
	aa_below_moves((void *)with->at[0], false);
}

static __always_inline void aa_below_moved(const struct aa_arguments *with) /* security_file_permission(file, mask) */
{
	aa_below_moves((void *)with->at[0], with->at[1] & MAY_WRITE);
}

static __always_inline void aa_below_opened(const struct aa_arguments *with) /* fd_install(fd, file) */
{
	const volatile struct aa_call_spec *spec;
	struct aa_call_state *state = aa_state_below(&spec);

	if (state && spec->returns_fd)
		aa_note_used(state, 0, (void *)with->at[1]);
}

/* Where a file is taken out of a descriptor table: see aa_changed. */
static __always_inline void aa_below_closed(const struct aa_arguments *with) /* filp_close(file, …) */
{
	struct task_struct *task = (void *)bpf_get_current_task();
	const volatile struct aa_call_spec *spec;
	struct aa_call_state *state = aa_state_below(&spec);
	struct file *file = (void *)with->at[0];

	if (state && spec->closes == 1)
		aa_note_used(state, 0, file);
	if (aa_is_shared(aa_read(task, files), aa_is_watched(bpf_get_current_pid_tgid())))
		aa_changed_now(file);
}

static __always_inline void aa_below_flushed(const struct aa_arguments *with) /* filp_flush(file, …) */
{
	aa_below_closed(with);
}

static __always_inline void aa_below_chdir(const struct aa_arguments *with) /* set_fs_pwd(fs, …) */
{
	aa_changed_now((void *)with->at[0]);
}

/* Where the two sides of the current call are told. */
static __always_inline struct aa_acted *aa_acted_of(struct aa_call_state *state, __u32 tid)
{
	struct aa_acted *both = bpf_map_lookup_elem(&aa_acted, &tid);

	if (!both) {
		if (bpf_map_update_elem(&aa_acted, &tid, &aa_new_acted, BPF_ANY))
			return NULL;
		both = bpf_map_lookup_elem(&aa_acted, &tid);
		if (!both)
			return NULL;
	}
	/* A value of the map that an earlier call left is emptied before the first side is told. */
	if (!state->has_acted) {
		both->side[0].is_set = 0;
		both->side[1].is_set = 0;
		both->side[0].mount = 0;
	}
	state->has_acted = 1;
	return both;
}

/*
 * The entry of a directory that a call acts on. The last one counts: a call whose path was stale looks it up anew.
 * `side` 1 is the second name of a call. A file system that acts on others below itself does so by other functions.
 */
static __always_inline void aa_below_acts(__u32 side, __u64 operations, struct path *directory, struct vfsmount *mount,
					  struct dentry *dentry, bool is_whole)
{
	const volatile struct aa_call_spec *spec;
	struct aa_call_state *state = aa_state_below(&spec);
	__u32 tid = bpf_get_current_pid_tgid();
	struct aa_acted_side *acted;
	struct aa_acted *both;
	struct dentry *parent;
	struct inode *inode;

	if (!state || !(operations >> (state->operation & 63) & 1) || state->by_fd[side])
		return;
	both = aa_acted_of(state, tid);
	if (!both)
		return;
	acted = &both->side[side];
	parent = is_whole ? aa_read(dentry, d_parent) : aa_read(directory, dentry);
	inode = aa_read(dentry, d_inode);
	acted->dentry = (__u64)(long)dentry;
	acted->directory = (__u64)(long)parent;
	acted->directory_inode = (__u64)(long)aa_read(parent, d_inode);
	acted->mount = (__u64)(long)(mount ? mount : aa_read(directory, mnt));
	acted->name_hash = aa_read(dentry, d_name.hash_len);
	acted->is_whole = is_whole;
	aa_fill_object(&acted->facts, inode, inode ? aa_kind_of(inode, (void *)(long)acted->mount) : 0);
	bpf_probe_read_kernel_str(acted->leaf, sizeof(acted->leaf), aa_read(dentry, d_name.name));
	acted->is_set = 1;
}

/* security_path_<what>(const struct path *directory, struct dentry *dentry, …) */
#define AA_DEFINE_ACTED(what, operations)                                                                              \
	static __always_inline void aa_below_##what(const struct aa_arguments *with)                                   \
	{                                                                                                              \
		aa_below_acts(0, operations, (void *)with->at[0], NULL, (void *)with->at[1], false);                   \
	}
AA_DEFINE_ACTED(unlink, AA_DOES(UNLINK))
AA_DEFINE_ACTED(rmdir, AA_DOES(RMDIR))
AA_DEFINE_ACTED(mkdir, AA_DOES(MKDIR))
AA_DEFINE_ACTED(mknod, AA_DOES(MKNOD))
AA_DEFINE_ACTED(symlink, AA_DOES(SYMLINK))

/* security_path_link(old_dentry, const struct path *new_directory, new_dentry) */
static __always_inline void aa_below_link(const struct aa_arguments *with)
{
	struct path *directory = (void *)with->at[1];

	aa_below_acts(0, AA_DOES(LINK), NULL, aa_read(directory, mnt), (void *)with->at[0], true);
	aa_below_acts(1, AA_DOES(LINK), directory, NULL, (void *)with->at[2], false);
}

/* security_path_rename(old_directory, old_dentry, new_directory, new_dentry, …) */
static __always_inline void aa_below_rename(const struct aa_arguments *with)
{
	aa_below_acts(0, AA_DOES(RENAME), (void *)with->at[0], NULL, (void *)with->at[1], false);
	aa_below_acts(1, AA_DOES(RENAME), (void *)with->at[2], NULL, (void *)with->at[3], false);
}

/* security_path_<what>(const struct path *path, …): the file itself */
#define AA_DEFINE_ACTED_WHOLE(what, operations)                                                                        \
	static __always_inline void aa_below_##what(const struct aa_arguments *with)                                   \
	{                                                                                                              \
		struct path *path = (void *)with->at[0];                                                               \
                                                                                                                       \
		aa_below_acts(0, operations, NULL, aa_read(path, mnt), aa_read(path, dentry), true);                   \
	}
AA_DEFINE_ACTED_WHOLE(truncate, AA_DOES(TRUNCATE))
AA_DEFINE_ACTED_WHOLE(chmod, AA_DOES(CHMOD))
AA_DEFINE_ACTED_WHOLE(chown, AA_DOES(CHOWN))
AA_DEFINE_ACTED_WHOLE(utime, AA_DOES(UTIME)) /* vfs_utimes(const struct path *, …) */

/* security_bprm_check(program): of a script first with the script, then with its interpreter; the first one counts. */
static __always_inline void aa_below_executed(const struct aa_arguments *with)
{
	const volatile struct aa_call_spec *spec;
	struct aa_call_state *state = aa_state_below(&spec);
	struct linux_binprm *program = (void *)with->at[0];
	struct file *file;

	if (!state || state->has_acted)
		return;
	file = aa_read(program, file);
	aa_below_acts(0, AA_DOES(EXEC), NULL, aa_read(file, f_path.mnt), aa_read(file, f_path.dentry), true);
}

/* security_sb_mount(device, const struct path *path, …) */
static __always_inline void aa_below_mounted(const struct aa_arguments *with)
{
	struct path *path = (void *)with->at[1];

	aa_below_acts(0, AA_DOES(MOUNT), NULL, aa_read(path, mnt), aa_read(path, dentry), true);
}

/* Where a mount is: the directory it covers. */
static __always_inline void aa_below_acts_on_mount(struct vfsmount *vfsmount)
{
	struct mount *mount = aa_real_mount(vfsmount), *parent = aa_read(mount, mnt_parent);

	if (parent != mount)
		aa_below_acts(0, AA_DOES(MOUNT), NULL, (void *)parent + bpf_core_field_offset(struct mount, mnt),
			      aa_read(mount, mnt_mountpoint), true);
}

static __always_inline void aa_below_unmounted(const struct aa_arguments *with) /* security_sb_umount(mount, …) */
{
	aa_below_acts_on_mount((void *)with->at[0]);
}

/* security_move_mount(const struct path *from, const struct path *to) */
static __always_inline void aa_below_mount_moved(const struct aa_arguments *with)
{
	struct path *from = (void *)with->at[0], *to = (void *)with->at[1];

	aa_below_acts_on_mount(aa_read(from, mnt));
	aa_below_acts(1, AA_DOES(MOUNT), NULL, aa_read(to, mnt), aa_read(to, dentry), true);
}

/*
 * The security functions of extended attributes are told the file but not its mount, which is asked for leave just
 * before. The first pair counts: a file system that sets attributes of others below itself asks their mounts. Asked
 * again, the call looks up its name anew.
 */
static __always_inline void aa_below_to_be_written(const struct aa_arguments *with) /* mnt_want_write(mount) */
{
	const volatile struct aa_call_spec *spec;
	struct aa_call_state *state = aa_state_below(&spec);
	struct aa_acted *both;

	if (!state || state->operation != AA_OPERATION_XATTR || state->by_fd[0])
		return;
	both = aa_acted_of(state, (__u32)bpf_get_current_pid_tgid());
	if (!both || (both->side[0].is_set && both->side[0].mount != with->at[0]))
		return;
	both->side[0].mount = with->at[0];
	both->side[0].is_set = 0;
}

static __always_inline void aa_below_xattr_set(const struct aa_arguments *with)
{
	const volatile struct aa_call_spec *spec;
	struct aa_call_state *state = aa_state_below(&spec);
	__u32 tid = bpf_get_current_pid_tgid();
	struct aa_acted *both;

	if (!state || !state->has_acted)
		return;
	both = bpf_map_lookup_elem(&aa_acted, &tid);
	if (!both || both->side[0].is_set || !both->side[0].mount)
		return;
	/* Since 5.12 the first argument says whose numbers the mount's users have. */
	aa_below_acts(0, AA_DOES(XATTR), NULL, (void *)(long)both->side[0].mount,
		      (void *)with->at[aa_config.xattr_has_mapping ? 1 : 0], true);
}

static __always_inline void aa_below_xattr_removed(const struct aa_arguments *with)
{
	aa_below_xattr_set(with);
}

static __always_inline void aa_below_witnessed(const struct aa_arguments *with) /* security_file_open(file) */
{
	aa_witness_open((void *)with->at[0], false);
}

/* Where bpf_loop() may be used. */
static __always_inline void aa_below_witnessed_looped(const struct aa_arguments *with)
{
	aa_witness_open((void *)with->at[0], true);
}

/* Where reads and writes are witnessed too, instead of aa_below_moved(). */
static __always_inline void aa_below_checked(const struct aa_arguments *with)
{
	aa_below_moved(with);
	aa_witness_moved((void *)with->at[0], with->at[1], false);
}

static __always_inline void aa_below_checked_looped(const struct aa_arguments *with)
{
	aa_below_moved(with);
	aa_witness_moved((void *)with->at[0], with->at[1], true);
}

#endif

/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What a descriptor of a task names, or where a name starts from. */
#ifndef AA_DESCRIPTORS_BPF_H
#define AA_DESCRIPTORS_BPF_H

#include "kernel.bpf.h"

/* What a descriptor named, by address: only ever compared, never followed. */
struct aa_identity {
	__u64 file, dentry, mount, inode;
};

#define AA_FDTABLE_HEAD_BYTES 16

static __always_inline struct file *aa_file_of(struct files_struct *files, __s32 fd)
{
	unsigned char head[AA_FDTABLE_HEAD_BYTES] __attribute__((aligned(8)));
	struct files_struct *view = aa_view(files, files_struct);
	struct fdtable *table = aa_of(view, fdt);
	struct file **slots;
	__u32 limit;

	if (AA_IN_HEAD(struct fdtable, max_fds, AA_FDTABLE_HEAD_BYTES) &&
	    AA_IN_HEAD(struct fdtable, fd, AA_FDTABLE_HEAD_BYTES)) {
		bpf_probe_read_kernel(head, sizeof(head), table);
		limit = AA_OF_HEAD(head, __u32, struct fdtable, max_fds);
		slots = AA_OF_HEAD(head, struct file **, struct fdtable, fd);
	} else {
		limit = aa_of(table, max_fds);
		slots = aa_of(table, fd);
	}
	if (fd < 0 || (__u32)fd >= limit)
		return NULL;
	return aa_read_pointer(slots + fd);
}

#define AA_FILE_HEAD_BYTES 128

struct aa_open_file {
	struct path path;
	struct inode *inode;
	__s64 position;
	__u32 mode;
};

static __always_inline void aa_file_read(struct file *file, struct aa_open_file *ret_open)
{
	unsigned char head[AA_FILE_HEAD_BYTES] __attribute__((aligned(8)));

	if (AA_IN_HEAD(struct file, f_path, AA_FILE_HEAD_BYTES) &&
	    AA_IN_HEAD(struct file, f_inode, AA_FILE_HEAD_BYTES) &&
	    AA_IN_HEAD(struct file, f_pos, AA_FILE_HEAD_BYTES) && AA_IN_HEAD(struct file, f_mode, AA_FILE_HEAD_BYTES)) {
		bpf_probe_read_kernel(head, sizeof(head), file);
		ret_open->path.dentry = AA_OF_HEAD(head, struct dentry *, struct file, f_path.dentry);
		ret_open->path.mnt = AA_OF_HEAD(head, struct vfsmount *, struct file, f_path.mnt);
		ret_open->inode = AA_OF_HEAD(head, struct inode *, struct file, f_inode);
		ret_open->position = AA_OF_HEAD(head, __s64, struct file, f_pos);
		ret_open->mode = AA_OF_HEAD(head, __u32, struct file, f_mode);
	} else {
		ret_open->path.dentry = aa_read(file, f_path.dentry);
		ret_open->path.mnt = aa_read(file, f_path.mnt);
		ret_open->inode = aa_read(file, f_inode);
		ret_open->position = aa_read(file, f_pos);
		ret_open->mode = aa_read(file, f_mode);
	}
}

static __always_inline void aa_identify(struct file *file, struct aa_identity *ret_identity)
{
	struct aa_open_file open = {};

	if (file)
		aa_file_read(file, &open);
	ret_identity->file = (__u64)(long)file;
	ret_identity->dentry = (__u64)(long)open.path.dentry;
	ret_identity->mount = (__u64)(long)open.path.mnt;
	ret_identity->inode = (__u64)(long)open.inode;
}

static __always_inline bool aa_identity_equal(const struct aa_identity *a, const struct aa_identity *b)
{
	return a->file == b->file && a->dentry == b->dentry && a->mount == b->mount && a->inode == b->inode;
}

/* What a descriptor names, or for AT_FDCWD the current directory. */
static __always_inline void aa_identify_start(struct task_struct *task, __s32 fd, struct aa_identity *ret_identity)
{
	struct dentry *dentry;

	if (fd != AT_FDCWD) {
		aa_identify(aa_file_of(aa_read(task, files), fd), ret_identity);
		return;
	}
	dentry = aa_read(task, fs, pwd.dentry);
	ret_identity->file = 0;
	ret_identity->dentry = (__u64)(long)dentry;
	ret_identity->mount = (__u64)(long)aa_read(task, fs, pwd.mnt);
	ret_identity->inode = (__u64)(long)aa_read(dentry, d_inode);
}

#endif

/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Rings of io_uring that somebody else has made. What a watched thread submits by one is an event as by its own. But a
 * ring may have a thread of the kernel's that takes requests out of the shared memory (IORING_SETUP_SQPOLL), and that
 * is a thread of the process which made it: where that one is not watched, a request is written into memory and done by
 * a stranger to the trace. To write it a process needs the memory, and so the mapping of such a ring is announced.
 */
#ifndef AA_RING_MAKERS_BPF_H
#define AA_RING_MAKERS_BPF_H

#include "kernel.bpf.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct io_sq_data {
	int task_tgid; /* 5.12 */
};

struct io_ring_ctx___made {
	struct io_sq_data *sq_data;
};

struct file___ring {
	struct io_ring_ctx___made *private_data;
};

#pragma clang attribute pop

#define AA_RING_NAME_BEGINS 0x6e6972755f6f695bULL /* "[io_urin" */

static __always_inline bool aa_is_ring(struct file *file)
{
	__u64 name = 0;

	if (aa_read(file, f_inode, i_sb, s_magic) != ANON_INODE_FS_MAGIC)
		return false;
	bpf_probe_read_kernel(&name, sizeof(name), aa_read(file, f_path.dentry, d_name.name));
	return name == AA_RING_NAME_BEGINS;
}

/* The process whose thread takes the requests, or 0: none does, and those that submit are seen. */
static __always_inline __u32 aa_ring_server_of(struct file *file)
{
	struct io_sq_data *served;

	if (!bpf_core_field_exists(((struct io_sq_data *)0)->task_tgid) ||
	    !bpf_core_field_exists(((struct io_ring_ctx___made *)0)->sq_data) || !aa_is_ring(file))
		return 0;
	served = aa_read((struct file___ring *)file, private_data, sq_data);
	return served ? aa_read(served, task_tgid) : 0;
}

#endif

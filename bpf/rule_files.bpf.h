/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Whether an inode is that of a path rule's file.
 *
 * stat(2)'s numbers do not say so: its device is not the superblock's on btrfs and overlayfs, two files of one
 * superblock can have one number there, and a number is given again. So the core marks each file with inotify, which
 * keeps the inode in memory under one address until the file is gone or its file system is unmounted, and holds up
 * neither. Address and mark together are the file: whoever has the memory later has no such mark.
 *
 * Where a file system makes several inodes of one file (9p, FUSE, hard links below an overlay) its number counts, too,
 * as long as the marked inode lives; and where the core could not set a mark the number and the generation must do.
 */
#ifndef AA_RULE_FILES_BPF_H
#define AA_RULE_FILES_BPF_H

#include "kernel.bpf.h"
#include "fileio_abi.h"
#include "filter.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* the core makes room where there are rules */
	__type(key, struct aa_rule_key);
	__type(value, struct aa_rule_file);
} aa_rule_files SEC(".maps");

__u32 aa_rule_numbers = 0; /* some count by their number */

static __always_inline __u64 aa_mark_of(__u64 address)
{
	struct inode *inode = (void *)(long)address;

	return (__u64)(long)aa_read(inode, i_fsnotify_marks);
}

/* The bits of struct aa_file_facts.is_known that say of which rules an inode is. A function of its own, for its stack.
 */
__noinline int aa_rules_of_inode(__u64 address)
{
	struct inode *inode = (void *)(long)address;
	const struct aa_rule_file *file;
	struct aa_rule_key key = { .number = address };

	/* Up to 6.7 every global function is verified, also one that nobody calls. */
	if (!aa_config.rule_files || !address)
		return 0;
	file = bpf_map_lookup_elem(&aa_rule_files, &key);
	if (file && file->inode == aa_read(inode, i_ino) && file->mark == aa_mark_of(address))
		return file->known;
	if (!aa_rule_numbers)
		return 0;
	key.number = aa_read(inode, i_ino);
	key.device = aa_read(inode, i_sb, s_dev);
	key.is_number = 1;
	file = bpf_map_lookup_elem(&aa_rule_files, &key);
	if (!file || file->generation != aa_read(inode, i_generation) ||
	    (file->mark && file->mark != aa_mark_of(file->address)))
		return 0;
	return file->known;
}

/* What the kernel has for the files that the reader of this list has open: the core opens those of the rules. */
static __always_inline void aa_list_file_of_reader(struct bpf_iter__task_file *ctx, struct task_struct *task,
						   struct file *file)
{
	struct task_struct *reader = (void *)bpf_get_current_task();
	struct inode *inode = aa_read(file, f_inode);
	struct aa_rule_seen seen = {};

	if (aa_read(task, files) != aa_read(reader, files))
		return;
	seen.address = (__u64)(long)inode;
	seen.inode = aa_read(inode, i_ino);
	seen.mark = aa_mark_of(seen.address);
	seen.device = aa_read(inode, i_sb, s_dev);
	seen.generation = aa_read(inode, i_generation);
	seen.magic = aa_read(inode, i_sb, s_magic);
	seen.fd = ctx->fd;
	bpf_seq_write(ctx->meta->seq, &seen, sizeof(seen));
}

#endif

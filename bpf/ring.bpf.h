/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The life of one request of io_uring, from its submission to its completion: an event as a call's is.
 *
 * Two tracepoints carry the request from 6.1 on; the core asks the kernel's BTF for that. What is known at the
 * submission waits in a map under the request's address. The kernel may work on it in any thread of the process, and
 * complete it in yet another one or in a kernel thread. The event is the submitter's, and so its record says by itself
 * whose it is: the submitter may be inside a call of its own by then, or gone.
 */
#ifndef AA_RING_BPF_H
#define AA_RING_BPF_H

#include "kernel.bpf.h"
#include "ring_operations.h"
#include "operation.bpf.h"

#define AA_REQUESTS_MAX 16384
#define AA_REQUESTS_SILENT_MAX 512
#define AA_REQUESTS_LONG_NAMES_MAX 64

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kiocb {
	long long ki_pos;
};

struct filename {
	const char *name;
};

/* 7.0: the name is the kernel's copy already, and only the audit's part of it comes later. */
struct delayed_filename {
	struct filename *__incomplete_filename;
};

struct io_cmd_data {
	struct file *file;
};

struct io_cqe {
	__u64 user_data;
	__s32 res;
	int fd;
};

struct io_wq_work_node {
	struct io_wq_work_node *next;
};

struct io_wq_work_list {
	struct io_wq_work_node *first, *last;
};

struct io_uring_task {
	struct task_struct *task; /* 6.13 */
};

struct io_submit_link {
	struct io_kiocb *head;
};

struct io_submit_state {
	struct io_wq_work_list compl_reqs; /* done, and not yet completed */
	struct io_submit_link link;
};

struct io_ring_ctx {
	unsigned int flags;
	unsigned int compat : 1; /* until 7.0 or so; then a flag */
	unsigned int int_flags;
	struct io_submit_state submit_state;
};

struct io_kiocb {
	struct file *file;
	struct io_cmd_data cmd;
	__u8 opcode;
	__u32 flags;
	struct io_cqe cqe;
	struct io_ring_ctx *ctx;
	struct io_uring_task *tctx;
	struct io_wq_work_node comp_list;
};

struct io_kiocb___task {
	struct task_struct *task; /* until 6.12 */
};

struct io_rw {
	struct kiocb kiocb;
	__u64 addr;
	__u32 len;
	__u32 flags;
};

struct open_how {
	__u64 flags, mode, resolve;
};

struct io_open {
	int dfd;
	__u32 file_slot;
	struct filename *filename;
	struct open_how how;
};

struct io_open___delayed {
	struct delayed_filename filename;
};

struct io_close {
	int fd;
	__u32 file_slot;
};

struct io_rename {
	int old_dfd, new_dfd;
	struct filename *oldpath, *newpath;
	int flags;
};

struct io_rename___delayed {
	struct delayed_filename oldpath, newpath;
};

struct io_link {
	int old_dfd, new_dfd;
	struct filename *oldpath, *newpath;
	int flags;
};

struct io_link___delayed {
	struct delayed_filename oldpath, newpath;
};

struct io_unlink {
	int dfd, flags;
	struct filename *filename;
};

struct io_unlink___delayed {
	struct delayed_filename filename;
};

struct io_mkdir {
	int dfd;
	__u16 mode;
	struct filename *filename;
};

struct io_mkdir___delayed {
	struct delayed_filename filename;
};

struct io_statx {
	int dfd;
	__u32 flags;
	struct filename *filename;
};

struct io_statx___delayed {
	struct delayed_filename filename;
};

/* The same structure under its name until 6.13 and since. */
struct xattr_ctx {
	unsigned long size;
	__u32 flags;
};

struct kernel_xattr_ctx {
	unsigned long size;
	__u32 flags;
};

struct io_xattr {
	struct xattr_ctx ctx;
	struct filename *filename;
};

struct io_xattr___kernel {
	struct kernel_xattr_ctx ctx;
};

struct io_xattr___delayed {
	struct delayed_filename filename;
};

struct io_sync {
	long long len, off;
	int flags, mode;
};

struct io_ftrunc {
	long long len;
};

struct io_madvise {
	__u64 addr;
	__u64 len;
	__u32 advice;
};

/* 6.12 */
struct io_madvise___short {
	__u32 len;
};

struct io_splice {
	long long off_out, off_in;
	__u64 len;
	int splice_fd_in;
	__u32 flags;
};

struct io_fixed_install {
	__u32 o_flags;
};

struct io_uring_cqe {
	__u64 user_data;
	__s32 res;
};

#pragma clang attribute pop

/* struct io_uring_sqe (include/uapi/linux/io_uring.h): no kernel has it otherwise. */
struct aa_sqe {
	__u8 opcode, flags;
	__u16 ioprio;
	__s32 fd;
	__u64 off; /* addr2 */
	__u64 addr;
	__u32 len;
	__u32 op_flags;
	__u64 user_data;
	__u16 buf_index, personality;
	__s32 splice_fd_in; /* file_index */
	__u64 addr3;
};

/* The first flags of a request are those of its entry (IOSQE_*). */
#define REQ_F_FIXED_FILE 1u
#define REQ_F_IO_DRAIN 2u
#define REQ_F_LINK 4u
#define REQ_F_HARDLINK 8u
#define REQ_F_FORCE_ASYNC 16u
#define REQ_F_CQE_SKIP 64u
#define IORING_SETUP_IOPOLL 1u
#define O_LARGEFILE 0100000
#define SPLICE_F_FD_IN_FIXED (1u << 31)

enum aa_ring_shape {
	AA_RING_SHAPE_none,
	AA_RING_SHAPE_unknown,
	AA_RING_SHAPE_open,
	AA_RING_SHAPE_transfer,
	AA_RING_SHAPE_parts,
	AA_RING_SHAPE_truncate,
	AA_RING_SHAPE_allocate,
	AA_RING_SHAPE_advise,
	AA_RING_SHAPE_rename,
	AA_RING_SHAPE_unlink,
	AA_RING_SHAPE_mkdir,
	AA_RING_SHAPE_symlink,
	AA_RING_SHAPE_link,
	AA_RING_SHAPE_xattr,
	AA_RING_SHAPE_splice,
	AA_RING_SHAPE_sync,
	AA_RING_SHAPE_close,
	AA_RING_SHAPE_install,
	AA_RING_SHAPE_statx,
};

struct aa_ring_row {
	struct aa_call_spec spec;
	__u32 shape; /* enum aa_ring_shape */
};

#define AA_X(opcode, number, operation_, shape_, ...)                                                                  \
	[AA_RING_##opcode##_ROW] = { .spec = { .operation = AA_OPERATION_##operation_, __VA_ARGS__ },                  \
				     .shape = AA_RING_SHAPE_##shape_ },
static const volatile struct aa_ring_row aa_ring_rows[AA_RING_COUNT] = { AA_RINGS(AA_X) };
#undef AA_X

/* Row + 1 of an opcode; 0: not listed. */
#define AA_RING_NO_FILE 255
#define AA_X(opcode, number, ...) [number] = AA_RING_##opcode##_ROW + 1,
#define AA_OTHER(opcode, number) [number] = AA_RING_NO_FILE,
static const volatile __u8 aa_ring_row_by_opcode[256] = { AA_RINGS(AA_X) AA_RING_OTHERS(AA_OTHER) };
#undef AA_OTHER
#undef AA_X

/* What is known of a request at its submission. */
struct aa_request {
	__u64 submitted_ns;
	__u64 ring, user_data;
	__u64 files, fs; /* the submitter's, by address: only ever compared */
	__u64 root_dentry, root_mount;
	__u64 started_ns;
	struct aa_newcomer newcomer;
	struct aa_change change;      /* of what it closes */
	struct aa_identity object[2]; /* what the descriptors named, or where the names start from */
	__u64 changes[2];	      /* of them, counted before that look */
	__u64 count, flags;
	__s64 position;
	__u64 closed_parent, closed_hash;
	struct aa_file_facts closed;
	struct aa_thread thread;
	__u32 tgid, tid;
	__u32 mode;
	__u32 row;
	__s32 fd[2];   /* descriptors, or those that the names start from */
	__s32 file_fd; /* of the request itself */
	__u8 operation;
	__u8 by_fd[2];
	__u8 is_fixed;	    /* the file is in the ring's own table */
	__u8 is_slot;	    /* what is opened or closed is there */
	__u8 is_issued_now; /* by this very call, before anything else of this thread */
	__u8 is_unasked;    /* noted for what it does to the table of descriptors alone */
	__u8 is_told;	    /* done and told; its completion will come */
	__u8 closed_flags;
	__u8 has_no_count;
	__u8 has_no_flags;
	__u8 is_in_root; /* RESOLVE_IN_ROOT */
	__u8 name_is_long[2];
	__u8 name_is_cut[2];
	__s32 name_bytes[2]; /* without NUL; < 0: not readable, or no name at all */
	char name[2][AA_NAME_BYTES];
};

/*
 * Not allocated beforehand: a kernel that has what these programs need allocates in any context (fba1a1c6c912, 6.1),
 * and most of what is watched never makes a ring.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, AA_REQUESTS_MAX);
	__type(key, __u64);
	__type(value, struct aa_request);
} aa_requests SEC(".maps");

struct aa_request_names {
	char name[2][AA_PATH_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, AA_REQUESTS_LONG_NAMES_MAX);
	__type(key, __u64);
	__type(value, struct aa_request_names);
} aa_request_names SEC(".maps");

/*
 * Requests that ask for no completion when they succeed (IOSQE_CQE_SKIP_SUCCESS): told at their submission, for nothing
 * tells when they succeed. One that fails is completed, and told again.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, AA_REQUESTS_SILENT_MAX);
	__type(key, __u64);
	__type(value, struct aa_request);
} aa_silent_requests SEC(".maps");

/*
 * Requests that complete again and again: all but the last completion come without the request, and are known by what
 * the program called it. Two of a ring that it calls the same cannot be told apart.
 */
#define AA_SEVERAL_REQUESTS 0
struct aa_completion_key {
	__u64 ring, user_data;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct aa_completion_key);
	__type(value, __u64);
} aa_multishots SEC(".maps");

/* Rings that watched processes have used. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u32);
} aa_rings_used SEC(".maps");

static const struct aa_request aa_new_request = {};
static const struct aa_request_names aa_new_request_names = {};

static __always_inline const volatile struct aa_ring_row *aa_ring_row_of(__u32 number)
{
	const volatile struct aa_ring_row *found;
	__u64 row = number;

	/* As aa_spec_of() does. */
	asm volatile("" : "+r"(row));
	if (row >= AA_RING_COUNT)
		return NULL;
	found = &aa_ring_rows[row];
	asm volatile("" : "+r"(found));
	return found;
}

/* Row of an opcode, or AA_RING_COUNT: it works on no file. */
static __always_inline __u32 aa_ring_row_by(__u8 opcode)
{
	__u8 row = aa_ring_row_by_opcode[opcode];

	if (row == AA_RING_NO_FILE)
		return AA_RING_COUNT;
	return row ? row - 1 : AA_RING_UNKNOWN_ROW;
}

static __always_inline void *aa_ring_data(struct io_kiocb *req)
{
	return (void *)req + bpf_core_field_offset(struct io_kiocb, cmd);
}

/* The kernel's copy of a name, as the request has it; NULL: an empty name. */
#define aa_ring_filename(type, data, member)                                                                           \
	({                                                                                                             \
		struct filename *name_ = NULL;                                                                         \
		void *at_ = (data);                                                                                    \
                                                                                                                       \
		if (bpf_core_field_exists(struct type, member)) {                                                      \
			asm volatile("" : "+r"(at_));                                                                  \
			name_ = aa_read((struct type *)at_, member);                                                   \
		} else {                                                                                               \
			asm volatile("" : "+r"(at_)::"memory");                                                        \
			name_ = aa_read((struct type##___delayed *)at_, member.__incomplete_filename);                 \
		}                                                                                                      \
		name_;                                                                                                 \
	})

static __always_inline long aa_read_text(char *to, __u32 bytes, const void *from, bool is_user)
{
	return is_user ? bpf_probe_read_user_str(to, bytes, from) : bpf_probe_read_kernel_str(to, bytes, from);
}

/* A name of the request, from the kernel's copy or the caller's memory. */
static __always_inline void aa_request_name(struct aa_request *request, __u64 key, __u32 i, const void *from,
					    bool is_user)
{
	struct aa_request_names *names;
	char beyond = 0;
	long bytes = aa_read_text(request->name[i], AA_NAME_BYTES, from, is_user);

	request->name_bytes[i] = bytes < 0 ? -1 : bytes ? bytes - 1 : 0;
	if (bytes < AA_NAME_BYTES)
		return;
	bpf_map_update_elem(&aa_request_names, &key, &aa_new_request_names, BPF_NOEXIST);
	names = bpf_map_lookup_elem(&aa_request_names, &key);
	bytes = names ? aa_read_text(names->name[i], AA_PATH_BYTES, from, is_user) : -1;
	if (bytes <= 0) {
		request->name_is_cut[i] = 1;
		return;
	}
	request->name_is_long[i] = 1;
	request->name_bytes[i] = bytes - 1;
	/* What the kernel has a copy of is not longer. */
	if (is_user && bytes == AA_PATH_BYTES && (bpf_probe_read_user(&beyond, 1, from + AA_PATH_BYTES - 1) || beyond))
		request->name_is_cut[i] = 1;
}

/* Two names of plain numbers, so that they are looked at by the verifier once. */
__noinline int aa_ring_kernel_name(struct aa_request *request, __u64 key, __u64 name, __u32 i)
{
	struct filename *filename = (void *)name;

	if (!request)
		return 0;
	aa_mask(i, 1);
	if (!filename)
		request->name_bytes[i] = 0;
	else
		aa_request_name(request, key, i, aa_read(filename, name), false);
	return 0;
}

__noinline int aa_ring_user_name(struct aa_request *request, __u64 key, __u64 name, __u32 i)
{
	if (!request)
		return 0;
	aa_mask(i, 1);
	aa_request_name(request, key, i, (void *)name, true);
	return 0;
}

/*
 * The ring of a 32-bit program has vectors of that program's form (io_import_iovec()), also where the kernel's thread
 * takes them from it. Where the kernel does not say it of the ring, the caller tells.
 */
static __always_inline bool aa_ring_is_compat(struct io_ring_ctx *ctx)
{
	if (bpf_core_field_exists(ctx->compat))
		return BPF_CORE_READ_BITFIELD_PROBED(ctx, compat);
	if (aa_config.ring_compat_flag && bpf_core_field_exists(ctx->int_flags))
		return aa_read(ctx, int_flags) & aa_config.ring_compat_flag;
	return aa_is_compat();
}

static __always_inline void aa_ring_count_parts(struct aa_request *request, struct io_ring_ctx *ctx, __u64 parts)
{
	__u64 sum = aa_sum_parts(parts, request->count, aa_ring_is_compat(ctx));

	request->has_no_count = sum == AA_PARTS_UNREAD;
	if (!request->has_no_count)
		request->count = sum;
}

/* --- what a request that was prepared has --- */

#define aa_ring_name_of(type, data, member, i)                                                                         \
	aa_ring_kernel_name(request, key, (__u64)(long)aa_ring_filename(type, data, member), i)

static __always_inline void aa_ring_take_none(struct aa_request *request, __u64 key, struct io_kiocb *req)
{
}

static __always_inline void aa_ring_take_unknown(struct aa_request *request, __u64 key, struct io_kiocb *req)
{
	request->flags = aa_read(req, opcode);
}

static __always_inline void aa_ring_take_open(struct aa_request *request, __u64 key, struct io_kiocb *req)
{
	struct io_open *open = aa_ring_data(req);

	request->fd[0] = aa_read(open, dfd);
	request->is_slot = aa_read(open, file_slot) != 0;
	/* The kernel adds the one flag by itself (force_o_largefile()). */
	request->flags = aa_read(open, how.flags) & ~(__u64)O_LARGEFILE;
	request->mode = aa_read(open, how.mode);
	request->is_in_root = (aa_read(open, how.resolve) & RESOLVE_IN_ROOT) != 0;
	aa_ring_name_of(io_open, open, filename, 0);
}

static __always_inline void aa_ring_take_transfer(struct aa_request *request, __u64 key, struct io_kiocb *req)
{
	struct io_rw *rw = aa_ring_data(req);

	request->count = aa_read(rw, len);
	request->flags = aa_read(rw, flags);
	request->position = aa_read(rw, kiocb.ki_pos);
}

static __always_inline void aa_ring_take_parts(struct aa_request *request, __u64 key, struct io_kiocb *req)
{
	struct io_rw *rw = aa_ring_data(req);

	aa_ring_take_transfer(request, key, req);
	aa_ring_count_parts(request, aa_read(req, ctx), aa_read(rw, addr));
}

static __always_inline void aa_ring_take_truncate(struct aa_request *request, __u64 key, struct io_kiocb *req)
{
	if (bpf_core_type_exists(struct io_ftrunc))
		request->count = aa_read((struct io_ftrunc *)aa_ring_data(req), len);
}

static __always_inline void aa_ring_take_sync(struct aa_request *request, __u64 key, struct io_kiocb *req)
{
	struct io_sync *sync = aa_ring_data(req);

	request->position = aa_read(sync, off);
	request->count = aa_read(sync, len);
	request->flags = (__u32)aa_read(sync, flags);
}

static __always_inline void aa_ring_take_allocate(struct aa_request *request, __u64 key, struct io_kiocb *req)
{
	aa_ring_take_sync(request, key, req);
	request->flags = (__u32)aa_read((struct io_sync *)aa_ring_data(req), mode);
}

static __always_inline void aa_ring_take_advise(struct aa_request *request, __u64 key, struct io_kiocb *req)
{
	struct io_madvise *advise = aa_ring_data(req);

	if (bpf_core_field_size(struct io_madvise, len) == sizeof(__u32))
		request->count = aa_read((struct io_madvise___short *)advise, len);
	else
		request->count = aa_read(advise, len);
	request->flags = aa_read(advise, advice);
}

static __always_inline void aa_ring_take_rename(struct aa_request *request, __u64 key, struct io_kiocb *req)
{
	struct io_rename *rename = aa_ring_data(req);

	request->fd[0] = aa_read(rename, old_dfd);
	request->fd[1] = aa_read(rename, new_dfd);
	request->flags = (__u32)aa_read(rename, flags);
	aa_ring_name_of(io_rename, rename, oldpath, 0);
	aa_ring_name_of(io_rename, rename, newpath, 1);
}

static __always_inline void aa_ring_take_link(struct aa_request *request, __u64 key, struct io_kiocb *req)
{
	struct io_link *link = aa_ring_data(req);

	request->fd[0] = aa_read(link, old_dfd);
	request->fd[1] = aa_read(link, new_dfd);
	request->flags = (__u32)aa_read(link, flags);
	aa_ring_name_of(io_link, link, oldpath, 0);
	aa_ring_name_of(io_link, link, newpath, 1);
}

/* What it points to is no name of a file, as in a call. */
static __always_inline void aa_ring_take_symlink(struct aa_request *request, __u64 key, struct io_kiocb *req)
{
	struct io_link *link = aa_ring_data(req);

	request->fd[0] = aa_read(link, new_dfd);
	aa_ring_name_of(io_link, link, newpath, 0);
}

static __always_inline void aa_ring_take_unlink(struct aa_request *request, __u64 key, struct io_kiocb *req)
{
	struct io_unlink *unlink = aa_ring_data(req);

	request->fd[0] = aa_read(unlink, dfd);
	request->flags = (__u32)aa_read(unlink, flags);
	aa_ring_name_of(io_unlink, unlink, filename, 0);
}

static __always_inline void aa_ring_take_mkdir(struct aa_request *request, __u64 key, struct io_kiocb *req)
{
	struct io_mkdir *mkdir = aa_ring_data(req);

	request->fd[0] = aa_read(mkdir, dfd);
	request->mode = aa_read(mkdir, mode);
	aa_ring_name_of(io_mkdir, mkdir, filename, 0);
}

static __always_inline void aa_ring_take_statx(struct aa_request *request, __u64 key, struct io_kiocb *req)
{
	struct io_statx *statx = aa_ring_data(req);

	request->fd[0] = aa_read(statx, dfd);
	request->flags = aa_read(statx, flags);
	aa_ring_name_of(io_statx, statx, filename, 0);
}

static __always_inline void aa_ring_take_xattr(struct aa_request *request, __u64 key, struct io_kiocb *req)
{
	void *data = aa_ring_data(req);

	if (bpf_core_field_exists(struct io_xattr, ctx.size)) {
		request->count = aa_read((struct io_xattr *)data, ctx.size);
		request->flags = aa_read((struct io_xattr *)data, ctx.flags);
	} else {
		request->count = aa_read((struct io_xattr___kernel *)data, ctx.size);
		request->flags = aa_read((struct io_xattr___kernel *)data, ctx.flags);
	}
	if (!request->by_fd[0])
		aa_ring_name_of(io_xattr, data, filename, 0);
}

/* From the one to the other: the request's own file is the destination. */
static __always_inline void aa_ring_take_splice(struct aa_request *request, __u64 key, struct io_kiocb *req)
{
	struct io_splice *splice = aa_ring_data(req);

	request->count = aa_read(splice, len);
	request->flags = aa_read(splice, flags);
	request->position = aa_read(splice, off_in);
	request->fd[0] = aa_read(splice, splice_fd_in);
	request->fd[1] = request->file_fd;
}

static __always_inline void aa_ring_take_close(struct aa_request *request, __u64 key, struct io_kiocb *req)
{
	struct io_close *close = aa_ring_data(req);

	request->fd[0] = aa_read(close, fd);
	request->is_slot = aa_read(close, file_slot) != 0;
}

static __always_inline void aa_ring_take_install(struct aa_request *request, __u64 key, struct io_kiocb *req)
{
	if (bpf_core_type_exists(struct io_fixed_install))
		request->flags = aa_read((struct io_fixed_install *)aa_ring_data(req), o_flags);
}

static __always_inline void aa_ring_take(struct aa_request *request, __u64 key, struct io_kiocb *req, __u32 shape)
{
	switch (shape) {
#define AA_SHAPE(shape)                                                                                                \
	case AA_RING_SHAPE_##shape:                                                                                    \
		aa_ring_take_##shape(request, key, req);                                                               \
		break;
		AA_SHAPE(none)
		AA_SHAPE(unknown)
		AA_SHAPE(open)
		AA_SHAPE(transfer)
		AA_SHAPE(parts)
		AA_SHAPE(truncate)
		AA_SHAPE(allocate)
		AA_SHAPE(advise)
		AA_SHAPE(rename)
		AA_SHAPE(unlink)
		AA_SHAPE(mkdir)
		AA_SHAPE(symlink)
		AA_SHAPE(link)
		AA_SHAPE(xattr)
		AA_SHAPE(splice)
		AA_SHAPE(sync)
		AA_SHAPE(close)
		AA_SHAPE(install)
		AA_SHAPE(statx)
#undef AA_SHAPE
	}
}

/* --- what the entry of the ring has, of a request that was refused before it was prepared --- */

static __always_inline void aa_ring_take_entry(struct aa_request *request, __u64 key, struct io_ring_ctx *ctx,
					       const struct aa_sqe *sqe, __u32 shape)
{
	request->fd[0] = sqe->fd;
	request->flags = sqe->op_flags;
	request->count = sqe->len;
	request->position = sqe->off;
	switch (shape) {
	case AA_RING_SHAPE_open:
		request->mode = sqe->len;
		request->has_no_flags = request->row == AA_RING_OPENAT2_ROW;
		aa_ring_user_name(request, key, sqe->addr, 0);
		break;
	case AA_RING_SHAPE_rename:
	case AA_RING_SHAPE_link:
		request->fd[1] = (__s32)sqe->len;
		aa_ring_user_name(request, key, sqe->addr, 0);
		aa_ring_user_name(request, key, sqe->off, 1);
		break;
	case AA_RING_SHAPE_symlink:
		aa_ring_user_name(request, key, sqe->off, 0);
		break;
	case AA_RING_SHAPE_mkdir:
		request->mode = sqe->len;
		aa_ring_user_name(request, key, sqe->addr, 0);
		break;
	case AA_RING_SHAPE_unlink:
	case AA_RING_SHAPE_statx:
		aa_ring_user_name(request, key, sqe->addr, 0);
		break;
	case AA_RING_SHAPE_xattr:
		if (request->by_fd[0])
			break;
		request->fd[0] = AT_FDCWD;
		aa_ring_user_name(request, key, sqe->addr3, 0);
		break;
	case AA_RING_SHAPE_parts:
		aa_ring_count_parts(request, ctx, sqe->addr);
		break;
	case AA_RING_SHAPE_truncate:
		request->count = sqe->off;
		break;
	case AA_RING_SHAPE_allocate:
		request->count = sqe->addr;
		request->flags = sqe->len;
		break;
	case AA_RING_SHAPE_splice:
		request->position = sqe->addr;
		request->fd[0] = sqe->splice_fd_in;
		request->fd[1] = sqe->fd;
		break;
	case AA_RING_SHAPE_unknown:
		request->flags = sqe->opcode;
		break;
	}
}

/* --- the submission --- */

static __always_inline bool aa_ring_is_asked(const volatile struct aa_call_spec *spec)
{
	return aa_is_asked(spec->operation) || (spec->if_flag && aa_is_asked(spec->then_operation));
}

/* The operation of a request of that row, or none: it is not of the row's kind, or nobody asked for it. */
#define AA_NO_OPERATION 255

/* Of the entry's copy: the compiler would make one load of this one and the other one's, at either address, and to the
 * verifier these are of two kinds. */
#define aa_of_entry(sqe, member)                                                                                       \
	({                                                                                                             \
		__u64 value_ = (sqe)->member;                                                                          \
                                                                                                                       \
		asm volatile("" : "+r"(value_));                                                                       \
		value_;                                                                                                \
	})

static __always_inline __u8 aa_ring_operation(const volatile struct aa_ring_row *row, struct io_kiocb *req,
					      const struct aa_sqe *sqe)
{
	__u8 operation = row->spec.operation;
	void *data = aa_ring_data(req);

	if (row->spec.if_flag &&
	    (sqe ? aa_of_entry(sqe, op_flags) : (__u32)aa_read((struct io_unlink *)data, flags)) & row->spec.if_flag)
		operation = row->spec.then_operation;
	if (row->shape == AA_RING_SHAPE_advise &&
	    (sqe ? aa_of_entry(sqe, op_flags) : aa_read((struct io_madvise *)data, advice)) != MADV_REMOVE)
		return AA_NO_OPERATION;
	return aa_is_asked(operation) ? operation : AA_NO_OPERATION;
}

/* One of the two sides, looked at in the submitter's table or from its current directory. */
static __always_inline void aa_ring_look(struct aa_request *request, struct task_struct *task,
					 const volatile struct aa_call_spec *spec, __u32 i, bool has_name)
{
	/* A name that is empty, where that is meant: the descriptor itself. */
	if (has_name && !request->name_bytes[i] && spec->empty && request->flags & AA_AT_EMPTY_PATH && !i)
		request->by_fd[i] = 1;
	if (!has_name && !request->by_fd[i])
		return;
	if (request->is_slot && spec->closes)
		return;
	if (spec->closes)
		aa_change_start(&request->change, aa_changed_slot(aa_read(task, files), request->fd[i]),
				aa_read(task, files), request->fd[i]);
	else
		request->changes[i] = aa_changes_if_shared(task, request->fd[i]);
	aa_identify_start(task, request->fd[i], &request->object[i]);
}

static __always_inline void aa_ring_look_closed(struct aa_request *request)
{
	struct dentry *dentry = (void *)(long)request->object[0].dentry;
	struct inode *inode = (void *)(long)request->object[0].inode;

	if (!dentry || !inode)
		return;
	request->closed_parent = (__u64)(long)aa_read(dentry, d_parent);
	request->closed_hash = aa_read(dentry, d_name.hash_len);
	if (aa_is_deleted(dentry))
		request->closed_flags = AA_PATH_DELETED;
	aa_fill_object(&request->closed, inode, aa_kind_of(inode, (void *)(long)request->object[0].mount));
}

/* What the descriptors and names of a request lead to, before the kernel begins with it. */
__noinline int aa_ring_step_look(struct aa_request *request)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	const volatile struct aa_ring_row *row;
	bool has_second;

	if (!request || !(row = aa_ring_row_of(request->row)))
		return 0;
	has_second = row->spec.path2;
	/* A place in the ring's table is none in the task's. */
	if (!(request->is_fixed && request->by_fd[0] && !row->spec.fd2) &&
	    !(row->spec.fd2 && request->flags & SPLICE_F_FD_IN_FIXED))
		aa_ring_look(request, task, &row->spec, 0, row->spec.path);
	if (has_second || (request->by_fd[1] && !request->is_fixed))
		aa_ring_look(request, task, &row->spec, 1, has_second);
	if (row->spec.closes)
		aa_ring_look_closed(request);
	return 0;
}

/* --- the event: the steps of a call's return, for a request --- */

/*
 * A request can end in a task that has no root left (a process runs its last task work after exit_fs()) or the one of a
 * kernel thread. Its names are the submitter's.
 */
static __always_inline void aa_ring_note_root(const struct aa_request *request, struct task_struct *task,
					      struct aa_scratch *scratch)
{
	if ((__u64)(long)aa_read(task, fs) == request->fs)
		return;
	scratch->root_dentry = (void *)(long)request->root_dentry;
	scratch->root_mount = (void *)(long)request->root_mount;
}

static __always_inline bool aa_ring_is_at_home(const struct aa_request *request, struct task_struct *task)
{
	return (__u64)(long)aa_read(task, files) == request->files && (__u64)(long)aa_read(task, fs) == request->fs;
}

/* By descriptor: the file that the request holds, or what was found at the submission if it is still there. */
static __always_inline void aa_ring_resolve_file(struct aa_request *request, struct task_struct *task, __u32 i,
						 struct file *file, bool is_at_home, struct aa_scratch *scratch)
{
	struct aa_identity now;

	if (file) {
		aa_identify(file, &now);
		if (now.dentry)
			aa_take_object(scratch, i, &now, AA_PATH_SOURCE_FILE);
		return;
	}
	if (!request->object[i].dentry)
		return;
	if (!is_at_home) {
		scratch->source[i] = AA_PATH_SOURCE_FD_CHANGED;
		return;
	}
	aa_start_from(scratch, i, task, request->fd[i], true);
	aa_identify_start(task, request->fd[i], &now);
	if (!aa_identity_equal(&now, &request->object[i]) || !aa_is_settled(request->changes[i], scratch->changes[i])) {
		scratch->source[i] = AA_PATH_SOURCE_FD_CHANGED;
		return;
	}
	aa_take_object(scratch, i, &now,
		       scratch->is_early && !request->is_issued_now ? AA_PATH_SOURCE_RACED : AA_PATH_SOURCE_FILE);
}

/* As aa_resolve_closed(). */
static __always_inline void aa_ring_resolve_closed(struct aa_request *request, struct task_struct *task,
						   bool is_at_home, struct aa_scratch *scratch)
{
	struct dentry *dentry = (void *)(long)request->object[0].dentry;

	if (!dentry) {
		/* It was given between the submission and this. */
		if (scratch->result >= 0 && !scratch->is_early && !request->is_slot)
			scratch->source[0] = AA_PATH_SOURCE_FD_CHANGED;
		return;
	}
	if (!is_at_home || (__u64)(long)aa_read(dentry, d_parent) != request->closed_parent ||
	    aa_read(dentry, d_name.hash_len) != request->closed_hash || !request->change.is_lone) {
		scratch->source[0] = AA_PATH_SOURCE_FD_CHANGED;
		return;
	}
	scratch->place[0].dentry = dentry;
	scratch->place[0].vfsmount = (void *)(long)request->object[0].mount;
	scratch->source[0] = AA_PATH_SOURCE_FILE;
	scratch->walk[0] = AA_WALK_OBJECT;
	scratch->flags[0] |= request->closed_flags;
	scratch->facts[0] = request->closed;
	scratch->kind[0] = request->closed.kind;
}

/*
 * What is looked at by its number. Told as soon as it was done, in a table that nobody else has, it is still what it
 * was then; told at its completion, other requests of the same call may have been done since.
 */
static __always_inline void aa_ring_resolve_opened(struct aa_request *request, struct task_struct *task,
						   struct aa_scratch *scratch)
{
	struct files_struct *files = aa_read(task, files);
	__s32 fd = (__s32)scratch->result;
	struct aa_identity now;
	__u64 begun = 0;
	bool is_fresh;

	aa_start_from(scratch, 0, task, fd, false);
	aa_identify_start(task, fd, &now);
	is_fresh = aa_is_fresh(&request->newcomer, files, fd, &begun) ||
		   (request->is_told && aa_read(files, count.counter) < 2);
	if (is_fresh)
		aa_note_given(files, fd, aa_file_identity(now.file, now.dentry, now.mount), begun);
	if (now.dentry)
		aa_take_object(scratch, 0, &now, is_fresh ? AA_PATH_SOURCE_FILE : AA_PATH_SOURCE_RACED);
}

static __always_inline bool aa_ring_has_opened(const struct aa_request *request,
					       const volatile struct aa_call_spec *spec,
					       const struct aa_scratch *scratch, bool is_at_home)
{
	return spec->returns_fd && !scratch->is_early && scratch->result >= 0 && !request->is_slot && is_at_home;
}

__noinline int aa_ring_step_objects(struct aa_request *request, struct aa_scratch *scratch, __u64 file)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	const volatile struct aa_ring_row *row;
	bool is_at_home;

	if (!request || !scratch || !(row = aa_ring_row_of(request->row)))
		return 0;
	is_at_home = aa_ring_is_at_home(request, task);
	if (row->spec.closes)
		aa_ring_resolve_closed(request, task, is_at_home, scratch);
	else if (aa_ring_has_opened(request, &row->spec, scratch, is_at_home))
		aa_ring_resolve_opened(request, task, scratch);
	else if (request->by_fd[0])
		aa_ring_resolve_file(request, task, 0, row->spec.fd2 || row->spec.path ? NULL : (void *)file,
				     is_at_home, scratch);
	if (request->by_fd[1])
		aa_ring_resolve_file(request, task, 1, (void *)file, is_at_home, scratch);
	return 0;
}

/* As aa_resolve_name(). */
static __always_inline void aa_ring_resolve_name(struct aa_request *request, struct task_struct *task, __u32 i,
						 bool has_kernel_name, bool is_at_home, struct aa_scratch *scratch)
{
	struct aa_identity now;

	if (request->name_bytes[i] < 0) {
		scratch->flags[i] |= AA_PATH_UNREADABLE;
		return;
	}
	if (has_kernel_name)
		return;
	if (request->name_is_cut[i])
		scratch->flags[i] |= AA_PATH_TRUNCATED;
	if (request->name_bytes[i] == 0)
		return;
	if (request->name[i][0] == '/' && !request->is_in_root) {
		scratch->source[i] = AA_PATH_SOURCE_AS_PASSED;
		return;
	}
	scratch->walk[i] = request->is_in_root ? AA_WALK_OWN_ROOT : AA_WALK_DIRECTORY;
	if (!request->object[i].dentry)
		return;
	if (is_at_home) {
		aa_start_from(scratch, i, task, request->fd[i], true);
		aa_identify_start(task, request->fd[i], &now);
	}
	if (!is_at_home || now.dentry != request->object[i].dentry || now.mount != request->object[i].mount ||
	    !aa_is_settled(request->changes[i], scratch->changes[i])) {
		scratch->source[i] = AA_PATH_SOURCE_RACED;
		return;
	}
	scratch->source[i] = AA_PATH_SOURCE_DIR_AND_NAME;
	aa_begin_at(scratch, i, &now);
}

__noinline int aa_ring_step_name(struct aa_request *request, struct aa_scratch *scratch, __u64 key, __u32 i)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	const volatile struct aa_ring_row *row;
	struct aa_request_names *names = NULL;
	bool is_at_home;

	if (!request || !scratch || !(row = aa_ring_row_of(request->row)))
		return 0;
	aa_mask(i, 1);
	is_at_home = aa_ring_is_at_home(request, task);
	if (!request->by_fd[i])
		aa_ring_resolve_name(request, task, i,
				     !i && aa_ring_has_opened(request, &row->spec, scratch, is_at_home), is_at_home,
				     scratch);
	if (request->name_is_long[i]) {
		names = bpf_map_lookup_elem(&aa_request_names, &key);
		aa_fill_raw(scratch, i, request->name_bytes[i], names ? names->name[i] : NULL, true);
	} else {
		aa_fill_raw(scratch, i, request->name_bytes[i], request->name[i], false);
	}
	return 0;
}

static __always_inline void aa_ring_fill_facts(struct aa_request *request, const volatile struct aa_call_spec *spec,
					       struct aa_scratch *scratch)
{
	struct aa_event *event = &scratch->event;

	event->record = aa_record_of(AA_RECORD_EVENT, request->operation, request->tid);
	event->file = 0;
	event->call = AA_RING_FIRST + request->row;
	event->blocks = 0;
	if (request->has_no_count)
		event->blocks |= AA_MARK_NO_COUNT;
	if (request->has_no_flags)
		event->blocks |= AA_MARK_NO_FLAGS;
	if (request->is_slot || (request->is_fixed && spec->fd && !spec->fd2))
		event->blocks |= AA_MARK_NO_FD;
	if (spec->fd2 && request->flags & SPLICE_F_FD_IN_FIXED)
		event->blocks |= AA_MARK_NO_FD;
	if (scratch->is_early)
		event->blocks |= AA_MARK_NO_RESULT;
	event->timestamp_ns = scratch->now_ns;
	event->duration_ns =
		aa_config.no_latency || scratch->is_early ? AA_NO_DURATION : scratch->now_ns - request->submitted_ns;
	event->result = scratch->is_early ? 0 : scratch->result;
	event->fd = !spec->fd ? -1 : spec->path ? request->file_fd : request->fd[0];
	event->dirfd = spec->dirfd ? request->fd[0] : AT_FDCWD;
	scratch->more.count = request->count;
	scratch->more.offset = spec->offset ? request->position : AA_NO_OFFSET;
	aa_fill_flags(scratch, request->flags);
	event->mode = request->mode;
}

__noinline int aa_ring_step_hash(struct aa_scratch *scratch, __u32 at)
{
	if (aa_config.total_rows && scratch)
		aa_total_hash_data(scratch, at);
	return 0;
}

static __always_inline void aa_ring_send_total(struct aa_request *request, struct aa_scratch *scratch, __u64 bytes,
					       bool moves)
{
	aa_send_whole_total(scratch, bytes, request->operation, request->tgid, request->started_ns,
			    moves ? scratch->event.result : 0, scratch->is_early ? 0 : scratch->event.duration_ns);
}

/* As aa_step_send() and aa_send(). */
__noinline int aa_ring_step_send(struct aa_request *request, struct aa_scratch *scratch)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	const volatile struct aa_ring_row *row;
	__u64 bytes;

	if (!request || !scratch || !(row = aa_ring_row_of(request->row)))
		return 0;
	scratch->now_ns = bpf_ktime_get_boot_ns();
	aa_ring_fill_facts(request, &row->spec, scratch);
	scratch->told.thread = request->thread;
	scratch->told.row = 0;
	aa_check_start(scratch, 0, task);
	aa_check_start(scratch, 1, task);
	aa_flag_root(scratch, 0, task);
	aa_flag_root(scratch, 1, task);
	if (!scratch->facts[0].is_known)
		aa_fill_object(&scratch->facts[0], scratch->inode[0], scratch->kind[0]);
	if (request->by_fd[1])
		aa_fill_object(&scratch->facts[1], scratch->inode[1], scratch->kind[1]);
	if (aa_config.total_rows)
		aa_ring_step_hash(scratch, aa_total_hash_begin(scratch));
	bytes = aa_close_record(scratch, request->by_fd[1]);
	if (bytes > AA_DATA_BYTES)
		return 0;
	if (aa_config.total_rows)
		aa_ring_send_total(request, scratch, bytes, row->spec.moves);
	aa_send_whole(scratch, bytes, aa_config.rule_lists && !request->by_fd[1] && aa_rules_leave_out(scratch->slot));
	return 0;
}

/* Where the kernel took the file's own position, it is known only now: the result has been added to it. */
__noinline int aa_ring_step_position(struct aa_request *request, __u64 key, __u64 file, __s64 result)
{
	const volatile struct aa_ring_row *row;
	struct io_kiocb *req = (void *)key;
	__s64 position;
	__u32 mode;

	if (!request || !(row = aa_ring_row_of(request->row)) || request->position != -1)
		return 0;
	request->position = AA_NO_OFFSET;
	if ((row->shape != AA_RING_SHAPE_transfer && row->shape != AA_RING_SHAPE_parts) || !file || result < 0)
		return 0;
	mode = aa_read((struct file *)file, f_mode);
	position = aa_read((struct io_rw *)aa_ring_data(req), kiocb.ki_pos);
	if ((mode & (FMODE_LSEEK | FMODE_STREAM)) == FMODE_LSEEK && position >= result)
		request->position = position - result;
	return 0;
}

/* Nobody asked for requests that end so. */
static __always_inline bool aa_ring_is_left_out(const struct aa_request *request, __s64 result, bool is_early)
{
	if (request->operation == AA_OPERATION_BLIND_SPOT)
		return result < 0;
	if (aa_config.errors_only && (is_early || result >= 0))
		return true;
	return aa_config.min_duration_ns && !is_early &&
	       bpf_ktime_get_boot_ns() - request->submitted_ns < aa_config.min_duration_ns;
}

/*
 * A command of a socket works on no file; nor does the binding of one, unless its address may be a path. Where the
 * kernel's copy of that lies was changed without a trace in the BTF, so its name is not told.
 */
static __always_inline bool aa_ring_is_of_no_file(const struct aa_request *request, const struct aa_scratch *scratch,
						  struct file *file)
{
	if ((scratch->kind[0] & AA_KIND_NUMBER) != AA_KIND_SOCKET)
		return false;
	return request->row != AA_RING_BIND_ROW ||
	       aa_read((struct file___socket *)file, private_data, sk, __sk_common.skc_family) != AF_UNIX;
}

static __always_inline bool aa_ring_changes_nothing(const struct aa_request *request, const struct aa_scratch *scratch)
{
	return aa_config.only_changes && !request->has_no_flags &&
	       aa_changes_nothing(scratch, request->operation, request->flags, request->mode);
}

/* Tells an event of the request; `is_early`: it was submitted, and its result will not be known. */
__noinline int aa_ring_tell(struct aa_request *request, __u64 key, __s64 result, __u32 is_early)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct io_kiocb *req = (void *)key;
	const volatile struct aa_ring_row *row;
	struct aa_scratch *scratch;
	struct file *file = NULL;
	__u32 slot;

	if (!request || !(row = aa_ring_row_of(request->row)))
		return 0;
	if (aa_ring_is_left_out(request, result, is_early)) {
		aa_count(filtered, 1);
		return 0;
	}
	if (row->spec.fd && !row->spec.closes)
		file = aa_read(req, file);
	aa_ring_step_position(request, key, (__u64)(long)file, is_early ? -1 : result);
	scratch = aa_scratch_claim(&slot);
	if (!scratch) {
		aa_count(state_full, 1);
		return 0;
	}
	aa_scratch_reset(scratch, result);
	scratch->is_early = is_early != 0;
	aa_ring_note_root(request, task, scratch);
	aa_ring_step_objects(request, scratch, (__u64)(long)file);
	if (request->operation == AA_OPERATION_BLIND_SPOT ?
		    aa_ring_is_of_no_file(request, scratch, file) :
		    aa_is_filtered(scratch, task) || aa_ring_changes_nothing(request, scratch)) {
		aa_count(filtered, 1);
	} else {
		if (request->operation == AA_OPERATION_BLIND_SPOT)
			aa_count(blind_spots, 1);
		if (row->spec.path)
			aa_ring_step_name(request, scratch, key, 0);
		if (row->spec.path2)
			aa_ring_step_name(request, scratch, key, 1);
		if (scratch->place[0].dentry)
			aa_render_looped(slot, 0);
		if (scratch->place[1].dentry)
			aa_render_looped(slot, 1);
		aa_ring_step_send(request, scratch);
	}
	aa_scratch_release(scratch);
	return 0;
}

/* What it does to the submitter's table is done, or will not be seen. */
static __always_inline void aa_ring_settle_change(struct aa_request *request)
{
	aa_change_settle(&request->change);
}

static __always_inline void aa_ring_forget(struct aa_request *request, __u64 key)
{
	aa_ring_settle_change(request);
	if (request->name_is_long[0] || request->name_is_long[1])
		bpf_map_delete_elem(&aa_request_names, &key);
	if (request->row == AA_RING_READ_MULTISHOT_ROW) {
		struct aa_completion_key completion = { request->ring, request->user_data };
		__u64 *of = bpf_map_lookup_elem(&aa_multishots, &completion);

		/* Where there were several, the others may still be there. */
		if (of && *of == key)
			bpf_map_delete_elem(&aa_multishots, &completion);
	}
	if (!request->is_unasked && !request->is_told)
		aa_count(in_flight, -1);
	bpf_map_delete_elem(&aa_requests, &key);
}

/* --- the tracepoints --- */

/* Nothing else of this thread comes before the kernel begins with it: no chain, no drain, no worker. */
static __always_inline bool aa_ring_is_issued_now(struct io_kiocb *req, __u32 flags, struct task_struct *task)
{
	return !(flags & (REQ_F_IO_DRAIN | REQ_F_LINK | REQ_F_HARDLINK | REQ_F_FORCE_ASYNC)) &&
	       !aa_read(req, ctx, submit_state.link.head) && aa_read(task, files, count.counter) < 2;
}

/*
 * The kernel keeps back what a submitter's requests came to until it has done all that it can do at once, and completes
 * them together. A descriptor that one got may have been closed by another one then, and its number have been given
 * again. So what was done is told at the next sign of the same ring: between two submissions one request is done.
 */
static __always_inline void aa_ring_tell_done(struct io_ring_ctx *ctx)
{
	struct io_wq_work_node *last;
	struct aa_request *request;
	struct io_kiocb *req;
	__u64 key;

	if (!bpf_core_field_exists(ctx->submit_state.compl_reqs) ||
	    !bpf_core_field_exists(((struct io_kiocb *)0)->comp_list))
		return;
	last = aa_read(ctx, submit_state.compl_reqs.last);
	/* An empty list has a last one, too; and what is polled for is put in it by another way. */
	if (!last || !aa_read(ctx, submit_state.compl_reqs.first) || aa_read(last, next) ||
	    aa_read(ctx, flags) & IORING_SETUP_IOPOLL)
		return;
	req = (void *)last - bpf_core_field_offset(struct io_kiocb, comp_list);
	key = (__u64)(long)req;
	request = bpf_map_lookup_elem(&aa_requests, &key);
	if (!request || request->is_told || request->row == AA_RING_READ_MULTISHOT_ROW)
		return;
	request->is_told = 1;
	aa_ring_settle_change(request);
	if (request->is_unasked)
		return;
	aa_ring_tell(request, key, aa_read(req, cqe.res), false);
	aa_count(in_flight, -1);
}

/*
 * A request begins: prepared; or (`is_refused`, a constant) refused before that, and then it will be completed with an
 * error. Nothing is done between a refused one and the next sign of its ring.
 */
static __always_inline int aa_ring_begin(__u64 key, __u64 sqe_at, bool is_refused)
{
	bool is_unasked;
	struct task_struct *task = (void *)bpf_get_current_task();
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct io_kiocb *req = (void *)key;
	const volatile struct aa_ring_row *row;
	struct aa_request *request, *before;
	struct aa_sqe sqe = {};
	__u8 operation;
	__u32 flags;

	if (!aa_control.gate || !aa_is_watched(pid_tgid))
		return 0;
	if (!is_refused)
		aa_ring_tell_done(aa_read(req, ctx));
	row = aa_ring_row_of(aa_ring_row_by(aa_read(req, opcode)));
	if (!row)
		return 0;
	/* What it closes concerns the names of others, whoever asked for what. */
	is_unasked = !aa_ring_is_asked(&row->spec);
	if (is_unasked && (sqe_at || !row->spec.closes))
		return 0;
	if (sqe_at)
		bpf_probe_read_kernel(&sqe, sizeof(sqe), (void *)sqe_at);
	before = bpf_map_lookup_elem(&aa_requests, &key);
	/* Refused after it was prepared (io_req_prep_async(), until 6.9), or seen by a spare program already. */
	if (before && sqe_at && before->tid == (__u32)pid_tgid && before->user_data == aa_read(req, cqe.user_data))
		return 0;
	if (before) {
		/* Its completion was not seen: with no room in the ring it is not told from 6.2 on. */
		if (!before->is_unasked && !before->is_told)
			aa_count(no_exit, 1);
		aa_ring_forget(before, key);
	}
	operation = aa_ring_operation(row, req, sqe_at ? &sqe : NULL);
	if (operation == AA_NO_OPERATION && !is_unasked)
		return 0;
	if (!is_unasked)
		aa_count(performed, 1);
	if (bpf_map_update_elem(&aa_requests, &key, &aa_new_request, BPF_ANY) ||
	    !(request = bpf_map_lookup_elem(&aa_requests, &key))) {
		aa_count(state_full, 1);
		return 0;
	}
	request->is_unasked = is_unasked;
	if (!is_unasked)
		aa_count(in_flight, 1);
	flags = aa_read(req, flags);
	request->submitted_ns = bpf_ktime_get_boot_ns();
	aa_newcomer_begins(&request->newcomer, task);
	request->ring = (__u64)(long)aa_read(req, ctx);
	bpf_map_update_elem(&aa_rings_used, &request->ring, &request->row, BPF_ANY);
	request->user_data = aa_read(req, cqe.user_data);
	request->files = (__u64)(long)aa_read(task, files);
	request->fs = (__u64)(long)aa_read(task, fs);
	request->root_dentry = (__u64)(long)aa_read(task, fs, root.dentry);
	request->root_mount = (__u64)(long)aa_read(task, fs, root.mnt);
	request->started_ns = aa_read(task, group_leader, start_boottime);
	request->tgid = pid_tgid >> 32;
	request->tid = pid_tgid;
	request->row = aa_ring_row_by(aa_read(req, opcode));
	request->operation = operation;
	request->position = AA_NO_OFFSET;
	request->name_bytes[0] = request->name_bytes[1] = -1;
	request->file_fd = sqe_at ? (__s32)aa_of_entry(&sqe, fd) : aa_read(req, cqe.fd);
	request->fd[0] = row->spec.path ? AT_FDCWD : request->file_fd;
	request->by_fd[0] = row->spec.fd && !row->spec.path;
	request->by_fd[1] = row->spec.fd2;
	request->is_fixed = (flags & REQ_F_FIXED_FILE) != 0;
	request->is_issued_now = !sqe_at && aa_ring_is_issued_now(req, flags, task);
	aa_fill_thread(&request->thread, request->tid, task);
	if (sqe_at)
		aa_ring_take_entry(request, key, aa_read(req, ctx), &sqe, row->shape);
	else
		aa_ring_take(request, key, req, row->shape);
	aa_ring_step_look(request);
	if (request->row == AA_RING_READ_MULTISHOT_ROW) {
		struct aa_completion_key completion = { request->ring, request->user_data };

		__u64 several = AA_SEVERAL_REQUESTS;

		/* Without a place all its completions but the last are of no request that is known. */
		if (bpf_map_update_elem(&aa_multishots, &completion, &key, BPF_NOEXIST) &&
		    bpf_map_update_elem(&aa_multishots, &completion, &several, BPF_EXIST))
			aa_count(blind_spots, 1);
	}
	if (is_refused || !(flags & REQ_F_CQE_SKIP))
		return 0;
	/* If it succeeds nothing more will be heard of it. */
	aa_ring_settle_change(request);
	if (!is_unasked) {
		aa_ring_tell(request, key, 0, true);
		bpf_map_update_elem(&aa_silent_requests, &key, request, BPF_ANY);
	}
	aa_ring_forget(request, key);
	return 0;
}

static __always_inline int aa_ring_submitted(__u64 key)
{
	return aa_ring_begin(key, 0, false);
}

/* A completion whose submission was not seen. */
static __always_inline void aa_ring_from_before(struct io_kiocb *req)
{
	const volatile struct aa_ring_row *row = aa_ring_row_of(aa_ring_row_by(aa_read(req, opcode)));
	struct task_struct *task;

	if (!aa_control.gate || !row || !aa_ring_is_asked(&row->spec) ||
	    aa_ring_operation(row, req, NULL) == AA_NO_OPERATION)
		return;
	if (bpf_core_field_exists(struct io_kiocb, tctx))
		task = aa_read(req, tctx, task);
	else
		task = aa_read((struct io_kiocb___task *)req, task);
	if (task && aa_is_watched((__u64)aa_read(task, tgid) << 32 | aa_read(task, pid)))
		aa_count(pre_attach, 1);
}

static __always_inline int aa_ring_completed(__u64 ring, __u64 key, __u64 user_data, __s64 result)
{
	struct aa_completion_key completion = { ring, user_data };
	struct aa_request *request, *silent;
	__u64 *of;

	if (!key) {
		/* One of many, and not the last. */
		of = bpf_map_lookup_elem(&aa_multishots, &completion);
		if (!of)
			return 0;
		key = *of;
		aa_count(performed, 1);
		request = bpf_map_lookup_elem(&aa_requests, &key);
		if (!request) {
			aa_count(no_entry, 1);
			return 0;
		}
		aa_ring_tell(request, key, result, false);
		return 0;
	}
	aa_ring_tell_done((void *)ring);
	request = bpf_map_lookup_elem(&aa_requests, &key);
	if (!request) {
		silent = bpf_map_lookup_elem(&aa_silent_requests, &key);
		if (!silent || silent->user_data != user_data || silent->ring != ring) {
			aa_ring_from_before((void *)key);
			return 0;
		}
		/* A second event of it, of its failure; names that were long are gone. */
		aa_count(performed, 1);
		if (bpf_map_update_elem(&aa_requests, &key, silent, BPF_ANY) ||
		    !(request = bpf_map_lookup_elem(&aa_requests, &key))) {
			aa_count(state_full, 1);
			return 0;
		}
		bpf_map_delete_elem(&aa_silent_requests, &key);
		aa_count(in_flight, 1);
	}
	aa_ring_settle_change(request);
	if (!request->is_unasked && !request->is_told)
		aa_ring_tell(request, key, result, false);
	aa_ring_forget(request, key);
	return 0;
}

/* An argument of a tracepoint, as a plain number: some are pointers to the verifier, which it does not let reckon with.
 */
static __always_inline __u64 aa_argument_of(const __u64 *ctx, __u32 i)
{
	__u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), ctx + i);
	return value;
}

SEC("aa_tp_btf/io_uring_submit_req")
int aa_ring_submit(__u64 *ctx) /* request */
{
	return aa_ring_submitted(aa_argument_of(ctx, 0));
}

SEC("aa_tp_btf/io_uring_submit_sqe")
int aa_ring_submit_first(__u64 *ctx) /* request, …: 6.1 */
{
	return aa_ring_submitted(aa_argument_of(ctx, 0));
}

SEC("aa_tp_btf/io_uring_complete")
int aa_ring_complete(__u64 *ctx) /* ring, request, entry of the ring */
{
	struct io_uring_cqe *cqe = (void *)aa_argument_of(ctx, 2);

	return aa_ring_completed(aa_argument_of(ctx, 0), aa_argument_of(ctx, 1), aa_read(cqe, user_data),
				 aa_read(cqe, res));
}

SEC("aa_tp_btf/io_uring_complete")
int aa_ring_complete_first(__u64 *ctx) /* ring, request, user data, result, …: until 6.12 */
{
	return aa_ring_completed(aa_argument_of(ctx, 0), aa_argument_of(ctx, 1), aa_argument_of(ctx, 2),
				 (__s32)aa_argument_of(ctx, 3));
}

/*
 * A completion that finds no room in the program's own ring. Since 6.2 it is not shown as one, and this does not tell
 * of which request it is: what was done is known and, unless it was done at once, that it was done is not. It can come
 * when the process ends, and is not watched any more (on 7.2 its workers' completions are put into the ring then): so
 * by the ring.
 */
SEC("aa_tp_btf/io_uring_cqe_overflow")
int aa_ring_overflow(__u64 *ctx) /* ring, user data, result, … */
{
	__u64 ring = aa_argument_of(ctx, 0);

	aa_ring_tell_done((void *)ring);
	if (aa_control.gate && bpf_map_lookup_elem(&aa_rings_used, &ring))
		aa_count(blind_spots, 1);
	return 0;
}

/* By perf's events, for kernels from 7.0 on: see aa_event_sys_enter(). */
SEC("aa_tracepoint")
int aa_event_ring_submit(__u64 *ctx) /* common fields, ring, request */
{
	return aa_ring_submitted(ctx[2]);
}

SEC("aa_tracepoint")
int aa_event_ring_complete(__u64 *ctx) /* common fields, ring, request, user data, result and flags */
{
	return aa_ring_completed(ctx[1], ctx[2], ctx[3], (__s32)ctx[4]);
}

/* Perf's event of this one has no pointer to the entry, but it can have spares, of which one at least is not skipped.
 */
#define AA_DEFINE_RING_REFUSED(name)                                                                                   \
	SEC("aa_tp_btf/io_uring_req_failed") int name(__u64 *ctx) /* entry, request, error */                          \
	{                                                                                                              \
		return aa_ring_begin(aa_argument_of(ctx, 1), aa_argument_of(ctx, 0), true);                            \
	}
AA_DEFINE_RING_REFUSED(aa_ring_refused)
AA_DEFINE_RING_REFUSED(aa_ring_refused_1)
AA_DEFINE_RING_REFUSED(aa_ring_refused_2)
AA_DEFINE_RING_REFUSED(aa_ring_refused_3)

#endif

/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The one table of io_uring's file operations. A row is an opcode: it is traced wherever the kernel has it, and appears
 * in the documents' table, without a second edit.
 *
 *   AA_RING(opcode, number, operation, shape, what an event of it tells…)
 *     opcode     IORING_OP_<opcode>
 *     number     of include/uapi/linux/io_uring.h
 *     operation  of AA_OPERATIONS
 *     shape      where the request keeps its data: aa_ring_take_<shape>() in ring.bpf.h
 *
 * What an event tells is named as in syscalls.h, though no argument is behind a number: 1 says that it applies.
 * `.fd` is the file of the request itself, by descriptor or by its place in the ring's own table.
 */
#ifndef AA_RING_OPERATIONS_H
#define AA_RING_OPERATIONS_H

#include "aio_operations.h"

/* Of an opcode that is in neither table: it may work on files, so that it was used is told. */
#define AA_RING_UNKNOWN 255

/* clang-format off */
#define AA_RINGS(AA_RING) \
	AA_RING(OPENAT, 18, OPEN, open, .dirfd = 1, .path = 1, .flags = 1, .mode = 1, .returns_fd = 1) \
	AA_RING(OPENAT2, 28, OPEN, open, .dirfd = 1, .path = 1, .how = 1, .returns_fd = 1) \
	AA_RING(READ, 22, READ, transfer, .fd = 1, .count = 1, .offset = 1, .flags = 1, .moves = 1) \
	AA_RING(READV, 1, READ, parts, .fd = 1, .count = 1, .offset = 1, .flags = 1, .moves = 1) \
	AA_RING(READ_FIXED, 4, READ, transfer, .fd = 1, .count = 1, .offset = 1, .flags = 1, .moves = 1) \
	AA_RING(READV_FIXED, 60, READ, parts, .fd = 1, .count = 1, .offset = 1, .flags = 1, .moves = 1) \
	AA_RING(READ_MULTISHOT, 49, READ, transfer, .fd = 1, .count = 1, .offset = 1, .flags = 1, .moves = 1) \
	AA_RING(WRITE, 23, WRITE, transfer, .fd = 1, .count = 1, .offset = 1, .flags = 1, .moves = 1) \
	AA_RING(WRITEV, 2, WRITE, parts, .fd = 1, .count = 1, .offset = 1, .flags = 1, .moves = 1) \
	AA_RING(WRITE_FIXED, 5, WRITE, transfer, .fd = 1, .count = 1, .offset = 1, .flags = 1, .moves = 1) \
	AA_RING(WRITEV_FIXED, 61, WRITE, parts, .fd = 1, .count = 1, .offset = 1, .flags = 1, .moves = 1) \
	AA_RING(FTRUNCATE, 55, TRUNCATE, truncate, .fd = 1, .count = 1) \
	AA_RING(FALLOCATE, 17, ALLOCATE, allocate, .fd = 1, .flags = 1, .offset = 1, .count = 1) \
	AA_RING(MADVISE, 25, ALLOCATE, advise, .count = 1, .flags = 1, .when = AA_WHEN_REMOVE) \
	AA_RING(RENAMEAT, 35, RENAME, rename, .dirfd = 1, .path = 1, .dirfd2 = 1, .path2 = 1, .flags = 1) \
	AA_RING(UNLINKAT, 36, UNLINK, unlink, \
		.dirfd = 1, .path = 1, .flags = 1, .if_flag = AA_AT_REMOVEDIR, .then_operation = AA_OPERATION_RMDIR) \
	AA_RING(MKDIRAT, 37, MKDIR, mkdir, .dirfd = 1, .path = 1, .mode = 1) \
	AA_RING(SYMLINKAT, 38, SYMLINK, symlink, .dirfd = 1, .path = 1) \
	AA_RING(LINKAT, 39, LINK, link, \
		.dirfd = 1, .path = 1, .dirfd2 = 1, .path2 = 1, .flags = 1, .empty = AA_EMPTY_BY_FLAG) \
	AA_RING(FSETXATTR, 41, XATTR, xattr, .fd = 1, .count = 1, .flags = 1) \
	AA_RING(SETXATTR, 42, XATTR, xattr, .path = 1, .count = 1, .flags = 1) \
	AA_RING(SPLICE, 30, COPY, splice, .fd = 1, .fd2 = 1, .offset = 1, .count = 1, .flags = 1, .moves = 1) \
	AA_RING(TEE, 33, COPY, splice, .fd = 1, .fd2 = 1, .count = 1, .flags = 1, .moves = 1) \
	AA_RING(FSYNC, 3, SYNC, sync, .fd = 1, .offset = 1, .count = 1, .flags = 1) \
	AA_RING(SYNC_FILE_RANGE, 8, SYNC, sync, .fd = 1, .offset = 1, .count = 1, .flags = 1) \
	AA_RING(CLOSE, 19, CLOSE, close, .fd = 1, .closes = 1) \
	AA_RING(FIXED_FD_INSTALL, 54, DUP, install, .fd = 1, .flags = 1) \
	AA_RING(STATX, 21, STAT, statx, .dirfd = 1, .path = 1, .flags = 1, .empty = AA_EMPTY_OR_NULL_BY_FLAG) \
	AA_RING(FGETXATTR, 43, STAT, xattr, .fd = 1, .count = 1, .moves = 1) \
	AA_RING(GETXATTR, 44, STAT, xattr, .path = 1, .count = 1, .moves = 1) \
	/* what they do is decided by the file, and not seen; told if they succeed, whatever was asked for */ \
	AA_RING(URING_CMD, 46, BLIND_SPOT, none, .fd = 1) \
	AA_RING(URING_CMD128, 64, BLIND_SPOT, none, .fd = 1) \
	AA_RING(BIND, 56, BLIND_SPOT, none, .fd = 1) /* of a socket whose address may be a path */ \
	/* an opcode that is not listed here: `flags` is its number */ \
	AA_RING(UNKNOWN, AA_RING_UNKNOWN, BLIND_SPOT, unknown, .flags = 1)

/* Known to touch no file: waiting, sockets, the ring itself. X(opcode, number) */
#define AA_RING_OTHERS(X) \
	X(NOP, 0) X(POLL_ADD, 6) X(POLL_REMOVE, 7) X(SENDMSG, 9) X(RECVMSG, 10) X(TIMEOUT, 11) X(TIMEOUT_REMOVE, 12) \
	X(ACCEPT, 13) X(ASYNC_CANCEL, 14) X(LINK_TIMEOUT, 15) X(CONNECT, 16) X(FILES_UPDATE, 20) X(FADVISE, 24) \
	X(SEND, 26) X(RECV, 27) X(EPOLL_CTL, 29) X(PROVIDE_BUFFERS, 31) X(REMOVE_BUFFERS, 32) X(SHUTDOWN, 34) \
	X(MSG_RING, 40) X(SOCKET, 45) X(SEND_ZC, 47) X(SENDMSG_ZC, 48) X(WAITID, 50) X(FUTEX_WAIT, 51) \
	X(FUTEX_WAKE, 52) X(FUTEX_WAITV, 53) X(LISTEN, 57) X(RECV_ZC, 58) X(EPOLL_WAIT, 59) X(PIPE, 62) X(NOP128, 63)
/* clang-format on */

enum aa_ring_operation {
#define AA_X(opcode, ...) AA_RING_##opcode##_ROW,
	AA_RINGS(AA_X)
#undef AA_X
		AA_RING_COUNT,
};

/* In an event's `call`, rows of this table come behind those of aio_operations.h; then come those of openers.h. */
#define AA_RING_FIRST AA_SPEC_COUNT

static inline __u32 aa_call_is_ring(__u32 call)
{
	return call >= AA_RING_FIRST && call < AA_RING_FIRST + AA_RING_COUNT;
}

#endif

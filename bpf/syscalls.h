/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The one table of system calls. A row is a call: it appears in every backend, in SYSCALLS, in `targets` and in the
 * documents' table without a second edit.
 *
 *   AA_CALL(program, call, number, operation, origin, what its arguments are…)
 *     program    stem of its BPF programs: <program> at entry, <program>_ret at return
 *     call       its name; the kernel function is __x64_sys_<call>
 *     number     of x86_64 (arch/x86/entry/syscalls/syscall_64.tbl)
 *     operation  of AA_OPERATIONS
 *     origin     1: one of KPROBE_TARGETS, the set this project began with; it never grows
 *
 * Arguments count from 1, as in the manual page; what is not named does not apply.
 *     .fd         descriptor the call works on      .path, .dirfd     first name and the directory it is relative to
 *     .count      bytes asked for                   .path2, .dirfd2   second name
 *     .flags      flags as passed                   .mode             permission bits, where O_CREAT makes them apply
 *     .returns_fd the result is a new descriptor    .moves            the result is a number of bytes
 *     .if_flag, .then_operation   with this flag it is another operation
 */
#ifndef AA_SYSCALLS_H
#define AA_SYSCALLS_H

#include "fileio_abi.h"

#define AA_AT_REMOVEDIR 0x200 /* include/uapi/linux/fcntl.h */

/* clang-format off */
#define AA_CALLS(AA_CALL) \
	AA_CALL(aa_sys_openat, openat, 257, OPEN, 1, \
		.dirfd = 1, .path = 2, .flags = 3, .mode = 4, .returns_fd = 1) \
	AA_CALL(aa_sys_read, read, 0, READ, 1, .fd = 1, .count = 3, .moves = 1) \
	AA_CALL(aa_sys_write, write, 1, WRITE, 1, .fd = 1, .count = 3, .moves = 1) \
	AA_CALL(aa_sys_unlink, unlinkat, 263, UNLINK, 1, .dirfd = 1, .path = 2, .flags = 3, \
		.if_flag = AA_AT_REMOVEDIR, .then_operation = AA_OPERATION_RMDIR) \
	AA_CALL(aa_sys_unlink_legacy, unlink, 87, UNLINK, 1, .path = 1) \
	AA_CALL(aa_sys_rename, renameat2, 316, RENAME, 1, \
		.dirfd = 1, .path = 2, .dirfd2 = 3, .path2 = 4, .flags = 5) \
	AA_CALL(aa_sys_rename_legacy, rename, 82, RENAME, 1, .path = 1, .path2 = 2)
/* clang-format on */

struct aa_call_spec {
	__u8 operation;
	__u8 fd, dirfd, path, dirfd2, path2, flags, mode, count;
	__u8 returns_fd, moves, then_operation;
	__u32 if_flag;
};

enum aa_call {
#define AA_X(program, call, ...) AA_CALL_##call,
	AA_CALLS(AA_X)
#undef AA_X
		AA_CALL_COUNT,
};

#endif

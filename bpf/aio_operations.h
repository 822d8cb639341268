/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The one table of Linux AIO's file operations, that io_submit() is given. A row is a command: it is traced by every
 * backend, and appears in the documents' table, without a second edit.
 *
 *   AA_AIO(command, number, operation, what an event of it tells…)
 *     command    IOCB_CMD_<command>
 *     number     of include/uapi/linux/aio_abi.h
 *     operation  of AA_OPERATIONS
 *
 * What an event tells is named as in syscalls.h. The arguments are members of struct iocb: 1 aio_fildes, 2 aio_buf,
 * 3 aio_nbytes, 4 aio_offset, 5 aio_rw_flags. What is not listed touches no file: POLL (5) and NOOP (6), which waits.
 */
#ifndef AA_AIO_OPERATIONS_H
#define AA_AIO_OPERATIONS_H

#include "syscalls.h"

/* clang-format off */
#define AA_AIOS(AA_AIO) \
	AA_AIO(PREAD, 0, READ, .fd = 1, .count = 3, .offset = 4, .flags = 5, .moves = 1) \
	AA_AIO(PREADV, 7, READ, .fd = 1, .iovec = 2, .count = 3, .offset = 4, .flags = 5, .moves = 1) \
	AA_AIO(PWRITE, 1, WRITE, .fd = 1, .count = 3, .offset = 4, .flags = 5, .moves = 1) \
	AA_AIO(PWRITEV, 8, WRITE, .fd = 1, .iovec = 2, .count = 3, .offset = 4, .flags = 5, .moves = 1) \
	AA_AIO(FSYNC, 2, SYNC, .fd = 1) \
	AA_AIO(FDSYNC, 3, SYNC, .fd = 1)
/* clang-format on */

#define AA_AIO_COMMANDS 16 /* numbers looked at; a power of two, to mask by */

enum aa_aio_operation {
#define AA_X(command, ...) AA_AIO_##command##_ROW,
	AA_AIOS(AA_X)
#undef AA_X
		AA_AIO_COUNT,
};

/* In an event's `call`, rows of this table come behind those of syscalls.h. */
#define AA_SPEC_COUNT (AA_CALL_COUNT + AA_AIO_COUNT)

static inline __u32 aa_call_is_aio(__u32 call)
{
	return call >= AA_CALL_COUNT && call < AA_SPEC_COUNT;
}

#endif

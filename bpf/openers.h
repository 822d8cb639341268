/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What no call and no request of a ring asked for by itself: who made the kernel do it. Each is an event, where a
 * backend can see security_file_open(), and, if that is asked for, security_file_permission().
 *
 *   X(opener, name, via, operation)
 *     name       what `syscall` shows: the kernel's function, for there is no call of that name
 *     via        the way in: what `via` shows
 *     operation  of AA_OPERATIONS; the last does writes, too
 */
#ifndef AA_OPENERS_H
#define AA_OPENERS_H

#include "ring_operations.h"

/* clang-format off */
#define AA_OPENERS(X) \
	X(EXEC, open_exec, exec, OPEN) /* execve, execveat: the program, the interpreter of a script, that of ELF */ \
	X(KERNEL, security_file_open, kernel, OPEN) /* anything else: acct(2), swapon(2), a core dump */ \
	X(MOVER, security_file_permission, kernel, READ) /* with witness_io: finit_module(2); writes, too, if there are */
/* clang-format on */

enum aa_opener {
#define AA_X(opener, ...) AA_OPENER_##opener,
	AA_OPENERS(AA_X)
#undef AA_X
		AA_OPENER_COUNT,
};

/* In an event's `call`, rows of this table come last. */
#define AA_OPENERS_FIRST (AA_RING_FIRST + AA_RING_COUNT)
#define AA_CALL_LIMIT (AA_OPENERS_FIRST + AA_OPENER_COUNT)

#endif

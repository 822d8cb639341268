/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Opens that no call and no request of a ring asked for by itself: who made the kernel do them. Each is an event of the
 * operation open, where a backend can see security_file_open().
 *
 *   X(opener, name, via)
 *     name   what `syscall` shows: the kernel's function, for there is no call of that name
 *     via    the way in: what `via` shows
 */
#ifndef AA_OPENERS_H
#define AA_OPENERS_H

#include "ring_operations.h"

/* clang-format off */
#define AA_OPENERS(X) \
	X(EXEC, open_exec, exec) /* execve, execveat: the program, the interpreter of a script, that of ELF */ \
	X(KERNEL, security_file_open, kernel) /* anything else: acct(2), swapon(2), a core dump */
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

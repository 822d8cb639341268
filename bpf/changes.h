/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What changes a file, a name or an attribute: the group "writes", and an event's `changes`. Most operations of the
 * group do by what they are; those of AA_GROUP_IN_PART do by their arguments, which are looked at here, for the kernel
 * side and the core alike. A call that fails counts as what it would have done.
 */
#ifndef AA_CHANGES_H
#define AA_CHANGES_H

#include "fileio_abi.h"

#define AA_O_ACCESS 03 /* include/uapi/asm-generic/fcntl.h */
#define AA_O_CREATES 0100
#define AA_O_TRUNCATES 01000
#define AA_O_ONLY_PATH 010000000
#define AA_PROT_WRITE 2	     /* include/uapi/asm-generic/mman-common.h */
#define AA_MAP_IS_SHARED 0x1 /* MAP_SHARED, and MAP_SHARED_VALIDATE */

/* An open for writing, or one that makes or empties the file. */
#define AA_OPEN_CHANGES(flags) (!((flags)&AA_O_ONLY_PATH) && (flags) & (AA_O_ACCESS | AA_O_CREATES | AA_O_TRUNCATES))

/* A mapping that is shared and may be written: what is written there is no call, and goes to the file. */
#define AA_MAP_CHANGES(flags, protection) ((flags)&AA_MAP_IS_SHARED && (protection)&AA_PROT_WRITE)

/* A copy to what is no file: a pipe, a socket. `kind`: of what it goes to, AA_KIND_NUMBER of it. */
#define AA_KIND_IS_NO_FILE(kind) ((kind) == AA_KIND_PIPE || (kind) == AA_KIND_SOCKET || (kind) == AA_KIND_ANON)

#endif

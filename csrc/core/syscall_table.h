/* SPDX-License-Identifier: MIT */
/* The rows of bpf/syscalls.h and bpf/ring_operations.h for the core's own use; what callers of the core may ask stands
 * in session.h. */
#ifndef AA_SYSCALL_TABLE_H
#define AA_SYSCALL_TABLE_H

#include "../../bpf/ring_operations.h"

extern const struct aa_call_spec aa_call_specs[AA_CALL_LIMIT];

#endif

/* SPDX-License-Identifier: MIT */
/* The rows of bpf/syscalls.h, aio_operations.h, ring_operations.h and openers.h for the core's own use; what callers of
 * the core may ask stands in session.h. */
#ifndef AA_SYSCALL_TABLE_H
#define AA_SYSCALL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../bpf/compat.h"
#include "../../bpf/openers.h"

extern const struct aa_call_spec aa_call_specs[AA_CALL_LIMIT];

/* A kernel function that a 32-bit program's call of that row gets to. */
struct aa_compat_function {
	unsigned row, number;
	enum aa_compat_shape shape;
	const char *name; /* NULL: the row has its functions elsewhere in the list */
};
/* NULL: there is none behind that index. */
const struct aa_compat_function *aa_compat_function(size_t index);

/* A call of that row can be one of these operations; `operations`: a bit for each. */
bool aa_call_is_asked(unsigned row, uint64_t operations);

/* AA_INTEREST_NATIVE, AA_INTEREST_COMPAT: by which table a call of that number can be one of these operations. */
unsigned aa_call_interest(unsigned number, uint64_t operations);

/* One of these operations can be done by a request of Linux AIO. */
bool aa_aio_does(uint64_t operations);

#endif

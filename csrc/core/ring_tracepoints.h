/* SPDX-License-Identifier: MIT */
/* Whether this kernel's tracepoints of io_uring carry the request at its submission and at its completion. */
#ifndef AA_RING_TRACEPOINTS_H
#define AA_RING_TRACEPOINTS_H

#include <stdbool.h>
#include <stdint.h>

struct aa_kernel_types;

/* Programs of bpf/ring.bpf.h that know the shapes the two tracepoints have here. */
struct aa_ring_tracepoints {
	const char *submit_program, *submit; /* NULL: what is done by rings cannot be followed */
	const char *complete_program;
	uint32_t compat_flag; /* in int_flags of struct io_ring_ctx: a 32-bit program made it; 0: not told so */
	bool overflow;	      /* a completion without room in the program's ring is shown by a tracepoint of its own */
};

/* By the BTF alone: 5.10 completes without the request, and three other shapes carry it. */
void aa_ring_tracepoints_find(const struct aa_kernel_types *types, struct aa_ring_tracepoints *ret_tracepoints);

/* One of these operations can be done by a ring. */
bool aa_rings_do(uint64_t operations);

#endif

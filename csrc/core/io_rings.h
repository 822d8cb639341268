/* SPDX-License-Identifier: MIT */
/* What is submitted through a ring of io_uring is no system call of its own. */
#ifndef AA_IO_RINGS_H
#define AA_IO_RINGS_H

#include <stddef.h>
#include <stdint.h>

/*
 * How many descriptors of rings these processes have, by their numbers in this pid namespace. One whose descriptors may
 * not be looked at counts as one; one that is gone has none.
 */
uint64_t aa_io_rings_count(const uint32_t *tgids, size_t count);

#endif

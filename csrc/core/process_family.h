/* SPDX-License-Identifier: MIT */
/*
 * Sets of processes, and who descends from whom by a list of tasks; in a time that grows with the length of the list
 * and not with its square: 16,000 processes are a machine's ordinary limit.
 */
#ifndef AA_PROCESS_FAMILY_H
#define AA_PROCESS_FAMILY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../bpf/fileio_abi.h"

/* Zero-initialised it is empty. No process has the number 0. */
struct aa_process_set {
	uint32_t *items; /* in the order in which they came */
	size_t count, room;
	uint32_t *slots; /* a table with open addresses, at most half full; 0: free */
	uint32_t mask;
};

bool aa_process_set_has(const struct aa_process_set *set, uint32_t process);
/* False: no memory. One that is there already is there once. */
bool aa_process_set_add(struct aa_process_set *set, uint32_t process);
void aa_process_set_clear(struct aa_process_set *set); /* frees, too */

/*
 * Adds every descendant of the family by the tasks' parents, but for the tracer and its reaper (0: none) and what
 * descends from them. Whether it grew is seen by its count. False: no memory.
 */
bool aa_family_grow(struct aa_process_set *family, const struct aa_task *tasks, size_t count, uint32_t own,
		    uint32_t reaper);
/* Those that live: a zombie is listed, too, and its exit is past. False: no memory. */
bool aa_family_live(struct aa_process_set *ret_live, const struct aa_task *tasks, size_t count);

#endif

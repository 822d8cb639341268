/* SPDX-License-Identifier: MIT */
/* Which process is meant, and which are its descendants when the trace begins. */
#ifndef AA_PROCESS_TREE_H
#define AA_PROCESS_TREE_H

#include <sys/types.h>

#include "backend.h"
#include "fileio_error.h"
#include "signs.h"

/*
 * Opens a pidfd of a process that can be watched: AA_ERROR_VALUE for 0, negative, too large, a thread id, a kernel
 * thread; AA_ERROR_NO_PROCESS for a dead one or a zombie. While the pidfd is open and the process alive, its number
 * cannot have been given to another.
 */
struct aa_error *aa_process_open(pid_t pid, int *ret_pidfd);
/* The process of a thread, by their numbers in this pid namespace; 0: there is none. */
uint32_t aa_process_of_thread(pid_t tid);
/* False once it has exited, waited for or not. */
bool aa_process_is_alive(int pidfd);

/* What is there when the trace begins. */
struct aa_before {
	uint64_t blind_spots;
	uint64_t calls; /* of these operations, that threads are in */
};

/*
 * Tells the probes who is watched. Their hooks on fork and exit run already, so what is born meanwhile is seen: the
 * task list is read until a reading adds nothing. Sets root_tgid, excluded_* and reader_level of the control words.
 *
 * This process is never among the descendants of another: a tracer is not in its own picture. has_pid false: the whole
 * system, where only this process is found, to be excluded. is_held: it has not begun its program yet, see
 * aa_blind_spots_count(). drain_tid: the core's own thread, in this pid namespace. signs, ret_before: as they are
 * then, see aa_blind_spots_count(). Where there is no room to watch a process of the tree, that is an error.
 */
struct aa_error *aa_process_tree_seed(struct aa_probes *probes, bool has_pid, pid_t pid, bool follow, bool is_held,
				      pid_t drain_tid, uint64_t operations, struct aa_signs *signs,
				      struct aa_before *ret_before);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Return probes with a pool that cannot run dry.
 *
 * A kretprobe takes an instance from a pool for each call that has not returned; the pool is shared by the whole host,
 * and when foreign threads sit in read(2) the next return is missed (with the default of 10 or 2 per CPU, at once).
 * perf_event_open() cannot size it; a line `rMAXACTIVE:group/event function` in tracefs' kprobe_events can. But such a
 * line outlives its maker, hence: teardown is link, perf event, line; a reaper process that holds no BPF descriptor
 * removes the lines when the tracer dies; and each attach removes lines of tracers that are gone.
 */
#ifndef AA_KPROBE_LINE_H
#define AA_KPROBE_LINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fileio_error.h"

/* kernel/trace/trace_kprobe.c: KRETPROBE_MAXACTIVE_MAX */
#define AA_MAXACTIVE 4096
#define AA_LINES_MAX 512

struct aa_kprobe_lines;

/* Finds tracefs (mounted, or mounted for us alone by fsmount), removes lines of dead tracers. */
struct aa_error *aa_kprobe_lines_create(struct aa_kprobe_lines **ret_lines);
/* Removes what is left of our lines, ends the reaper. Accepts NULL. */
void aa_kprobe_lines_destroy(struct aa_kprobe_lines *lines);
/* Says which events there will be, and starts the reaper that removes them when this process dies: before any is added.
 */
struct aa_error *aa_kprobe_lines_reap(struct aa_kprobe_lines *lines, const char *const *names, unsigned count);
/* Adds a line and opens its perf event. *ret_fd < 0 with *ret_errno ENOENT: this kernel has no such function. */
struct aa_error *aa_kprobe_lines_add(struct aa_kprobe_lines *lines, const char *event, const char *function,
				     int *ret_fd, int *ret_errno);
/* Times the kernel could not run one of our return probes (kprobe_profile). False where it does not tell. */
bool aa_kprobe_lines_missed(const struct aa_kprobe_lines *lines, uint64_t *ret_missed);
/* The reaper, which is our child and never to be watched; 0 if there is none. */
pid_t aa_kprobe_lines_reaper(const struct aa_kprobe_lines *lines);
/* In a forked child: forget, close, touch nothing in the kernel. */
void aa_kprobe_lines_abandon(struct aa_kprobe_lines *lines);

#endif

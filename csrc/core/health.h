/* SPDX-License-Identifier: MIT */
/* Whether the probes are still ours and still tell: asked of the kernel, and tried by calls of our own. */
#ifndef AA_HEALTH_H
#define AA_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "session.h"

struct aa_drain;
struct aa_probes;

void aa_health_add_problem(struct aa_health *health, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * One call of each asked row, by a thread of its own that the kernel side counts as watched meanwhile; each fails at
 * once and changes nothing. What of them came back through the ring is noted until the deadline (CLOCK_MONOTONIC ns).
 */
void aa_canaries_run(struct aa_probes *probes, struct aa_drain *drain, uint64_t operations, bool errors_only,
		     int64_t deadline_ns, struct aa_health *health);

#endif

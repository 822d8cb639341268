/* SPDX-License-Identifier: MIT */
/*
 * What the kernel side has counted (bpf/totals.bpf.h), and what each row is about: the first event of it, which comes
 * through a ring of its own. Reading makes no system call, so whoever watches its own process is not seen at it.
 */
#ifndef AA_TOTALS_H
#define AA_TOTALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fileio_error.h"
#include "session.h"

struct aa_totals;

/* Maps both maps, whose descriptors stay the caller's. `rows`: as the kernel side was told. */
struct aa_error *aa_totals_create(int totals_fd, int names_fd, uint32_t rows, struct aa_totals **ret_totals);
/* Accepts NULL; also in a forked child. */
void aa_totals_destroy(struct aa_totals *totals);

/* Takes what has been told since; true if there was something. Any thread. */
bool aa_totals_take_names(struct aa_totals *totals);
/* The ring of names, to be waited for. */
int aa_totals_ring(const struct aa_totals *totals);
bool aa_totals_is_told(const struct aa_totals *totals); /* nothing waits in the ring */

/* As aa_session_totals(), without the rows that the path rules (or NULL) leave out. Any thread. */
struct aa_error *aa_totals_read(struct aa_totals *totals, const struct aa_path_rules *rules,
				struct aa_total_row **ret_rows, size_t *ret_count);

#endif

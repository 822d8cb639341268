/* SPDX-License-Identifier: MIT */
/*
 * Probes that are loaded and attached nowhere, as good as new, for the next trace that asks for the same: loading and
 * verifying them is nearly all that an attach costs. Only while the program wants that: see aa_keep_loaded_begin() in
 * session.h.
 */
#ifndef AA_KEPT_PROBES_H
#define AA_KEPT_PROBES_H

#include "backend.h"

/* Whether any are to be kept now. */
bool aa_kept_wanted(void);
/* Gives these over, in place of the oldest where there are enough; false: none are wanted, they stay the caller's. */
bool aa_kept_give(struct aa_probes *probes);
/* Those for the same, which are the caller's from now on; NULL: there are none. */
struct aa_probes *aa_kept_take(const char *backend, const struct aa_probe_options *options);

#endif

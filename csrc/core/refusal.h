/* SPDX-License-Identifier: MIT */
/* Why this process may not trace, found by trial: no backend can help, and each would say it in its own words. */
#ifndef AA_FILEIO_REFUSAL_H
#define AA_FILEIO_REFUSAL_H

#include <stdbool.h>

#include "fileio_error.h"

/* NULL where a program as small as can be is loaded; else AA_ERROR_PERMISSION with the cause and its remedy. */
struct aa_error *aa_refusal_find(void);
/*
 * CAP_SYS_ADMIN, or CAP_BPF and CAP_PERFMON. A kernel without a kind of programs refuses root, too, in the same words:
 * only without them is a refusal for want of privilege.
 */
bool aa_has_capabilities(void);

#endif

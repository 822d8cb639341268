/* SPDX-License-Identifier: MIT */
/* From Python's arguments to the core's; each raises TypeError or ValueError naming what was given and what may stand
 * there. */
#ifndef AA_FILEIO_BINDING_OPTIONS_H
#define AA_FILEIO_BINDING_OPTIONS_H

#include "module.h"

/* Fills options from the arguments of KprobeManager(). options->backend points into an argument. */
int aa_options_parse(PyObject *args, PyObject *kwargs, struct aa_session_options *options);
int aa_options_parse_pid(PyObject *value, bool *ret_has_pid, pid_t *ret_pid);
/* None or seconds, to a CLOCK_MONOTONIC deadline; *ret_is_zero: do not wait at all. */
int aa_options_parse_timeout(PyObject *value, int64_t *ret_deadline_ns, bool *ret_is_zero);
/* None or at least 1. */
int aa_options_parse_max_events(PyObject *value, size_t limit, size_t *ret_max);

#endif

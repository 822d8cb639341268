/* SPDX-License-Identifier: MIT */
/* From Python's arguments to the core's; each raises TypeError or ValueError naming what was given and what may stand
 * there. */
#ifndef AA_FILEIO_BINDING_OPTIONS_H
#define AA_FILEIO_BINDING_OPTIONS_H

#include "module.h"

/* What options->rules points to. */
struct aa_options_rules {
	PyObject *paths; /* list of bytes */
	const char **texts[AA_RULE_LISTS];
};
void aa_options_rules_release(struct aa_options_rules *rules);

/* Fills options from the arguments of KprobeManager(). options->backend points into an argument, options->rules into
 * ret_rules, which is to be released also after an error. */
int aa_options_parse(PyObject *args, PyObject *kwargs, struct aa_session_options *options,
		     struct aa_options_rules *ret_rules);
/* Each None or an iterable of paths; NULL: not given. The texts point into ret_rules, which is to be released also
 * after an error. */
int aa_options_parse_rules(PyObject *const given[AA_RULE_LISTS], struct aa_rule_texts ret_texts[AA_RULE_LISTS],
			   struct aa_options_rules *ret_rules);
int aa_options_parse_pid(PyObject *value, bool *ret_has_pid, pid_t *ret_pid);
/* None or seconds, to a CLOCK_MONOTONIC deadline; *ret_is_zero: do not wait at all. */
int aa_options_parse_timeout(PyObject *value, int64_t *ret_deadline_ns, bool *ret_is_zero);
/* None or at least 1. */
int aa_options_parse_max_events(PyObject *value, size_t limit, size_t *ret_max);

#endif

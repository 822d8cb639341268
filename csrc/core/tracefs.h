/* SPDX-License-Identifier: MIT */
/* tracefs, and the perf events that BPF programs of kprobes and of classic tracepoints hang on. */
#ifndef AA_TRACEFS_H
#define AA_TRACEFS_H

#include <stdbool.h>

#include "fileio_error.h"

/* Its root directory, where it is mounted or mounted for us alone by fsmount; < 0 with errno. */
int aa_tracefs_open(void);
/* What there is to say where it could not be opened. */
struct aa_error *aa_tracefs_error(int errno_value);
/* debugfs' root, in the same way. */
int aa_debugfs_open(void);
/* The number that a file of that directory begins with. */
bool aa_number_read(int directory, const char *path, unsigned long long *ret_number);
/* Perf event of events/<name> ("group/event"); < 0 with errno. */
int aa_tracefs_event_open(int tracefs, const char *name);
/* Perf event of an entry kprobe by the kprobe PMU, which goes away with its descriptor; < 0 with errno. */
int aa_kprobe_entry_open(const char *function);

#endif

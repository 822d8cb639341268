/* SPDX-License-Identifier: MIT */
/* The kernel side, compiled and carried inside: two objects of one source (AA_DIRECT in bpf/kernel.bpf.h). */
#ifndef AA_PROBE_OBJECT_H
#define AA_PROBE_OBJECT_H

#include <stdbool.h>

struct fileio_bpf;

/* Opened, not loaded; `direct`: the one for kernels that have bpf_rdonly_cast(). NULL with errno. */
struct fileio_bpf *aa_probe_object_open(bool direct);

#endif

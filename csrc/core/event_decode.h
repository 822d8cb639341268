/* SPDX-License-Identifier: MIT */
/*
 * From a ring record (bpf/fileio_abi.h) to a struct aa_file_event. The ring is a border: lengths and version are
 * checked before anything is believed.
 */
#ifndef AA_EVENT_DECODE_H
#define AA_EVENT_DECODE_H

#include <stdbool.h>
#include <stddef.h>

#include "file_event.h"

/* Room for any event a valid record can become: three names, each at most a directory's name, '/' and one as passed. */
#define AA_EVENT_BYTES_MAX (sizeof(struct aa_file_event) + (size_t)3 * (2 * 4096 + 512) + 16)

/*
 * Decodes `bytes` bytes at `record` (8-aligned) into `ret_event`, which has AA_EVENT_BYTES_MAX bytes. False when the
 * record is not one of ours: wrong version, short, lengths that do not add up. seq is left 0.
 */
bool aa_event_decode(const void *record, size_t bytes, struct aa_file_event *ret_event);

#endif

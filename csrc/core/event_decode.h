/* SPDX-License-Identifier: MIT */
/*
 * From ring records (bpf/fileio_abi.h) to struct aa_file_event. The ring is a border: lengths and version are checked
 * before anything is believed. What the kernel side tells once, threads and their files, is remembered here.
 */
#ifndef AA_EVENT_DECODE_H
#define AA_EVENT_DECODE_H

#include <stdbool.h>
#include <stddef.h>

#include "file_event.h"

/* Room for any event a valid record can become: three names, each at most a directory's name, '/' and one as passed. */
#define AA_EVENT_BYTES_MAX (sizeof(struct aa_file_event) + (size_t)3 * (2 * 4096 + 512) + 16)

struct aa_decoder;

enum aa_decoded {
	AA_DECODED_EVENT,
	AA_DECODED_FACT,  /* something to remember: no event */
	AA_DECODED_ERROR, /* not one of ours: wrong version, short, lengths that do not add up, a number of nothing */
};

/* NULL when memory is short. */
struct aa_decoder *aa_decoder_create(void);
/* Accepts NULL. */
void aa_decoder_destroy(struct aa_decoder *decoder);

/*
 * Takes the next record, of `bytes` bytes at `record` (8-aligned). An event is left in `ret_event`, which has
 * AA_EVENT_BYTES_MAX bytes; its seq is 0.
 */
enum aa_decoded aa_decoder_take(struct aa_decoder *decoder, const void *record, size_t bytes,
				struct aa_file_event *ret_event);

/*
 * Takes a record that needs no other, as those of the ring of names are: the row that it is about, and its first event,
 * in AA_EVENT_BYTES_MAX bytes. False: not one of ours.
 */
bool aa_decode_told(const void *record, size_t bytes, uint32_t *ret_row, struct aa_file_event *ret_event);

/* A record that will be an event, if it is one of ours at all; it may be looked at out of its order. */
bool aa_record_is_event(const void *record, size_t bytes);

#endif

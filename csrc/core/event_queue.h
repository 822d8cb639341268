/* SPDX-License-Identifier: MIT */
/*
 * Events between the drain thread (one producer) and the reader (one consumer), bounded in bytes.
 *
 * Programs read and write the same file over and over, so an event is kept as its difference from the last one of the
 * same thread, call and object: five to ten bytes where only times and offset moved. That is what lets eight megabytes
 * hold a million reads while Python does something else.
 */
#ifndef AA_EVENT_QUEUE_H
#define AA_EVENT_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "file_event.h"

struct aa_event_queue;

/* NULL when memory is short. `bytes` bounds what waits, the chunk the reader is in included. */
struct aa_event_queue *aa_event_queue_create(size_t bytes);
/* Accepts NULL. */
void aa_event_queue_destroy(struct aa_event_queue *queue);

/* Producer. False when the event does not fit: it is not queued, and the caller counts it. */
bool aa_event_queue_push(struct aa_event_queue *queue, const struct aa_file_event *event);

/* False when it would not even fit into an empty queue. */
bool aa_event_queue_could_hold(const struct aa_event_queue *queue, const struct aa_file_event *event);

/*
 * Consumer. The next event, valid until advance or clear; NULL when there is none. False: there is one, and no memory
 * to show it; it stays the next.
 */
bool aa_event_queue_peek(struct aa_event_queue *queue, const struct aa_file_event **ret_event);
void aa_event_queue_advance(struct aa_event_queue *queue);
/* The same in two steps, for a reader of many: each is passed, and then all of them are counted as taken at once. */
void aa_event_queue_pass(struct aa_event_queue *queue);
void aa_event_queue_passed(struct aa_event_queue *queue, uint64_t count);
/* Drops everything and forgets the peek; returns how many events that were. */
uint64_t aa_event_queue_clear(struct aa_event_queue *queue);

/* Any thread. Events pushed and not yet taken. */
uint64_t aa_event_queue_length(const struct aa_event_queue *queue);

#endif

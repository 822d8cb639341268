/* SPDX-License-Identifier: MIT */
/*
 * The core's own thread: from the kernel ring to the queue while Python does something else, and the teardown of the
 * probes, so that neither ever runs on the caller's path.
 */
#ifndef AA_DRAIN_H
#define AA_DRAIN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "backend.h"
#include "event_queue.h"
#include "fileio_error.h"
#include "session.h"
#include "signs.h"
#include "totals.h"

struct aa_drain;

struct aa_drain_options {
	uint64_t ring_bytes;
	uint32_t max_delay_ms;		   /* of a record in the ring */
	const struct aa_path_rules *rules; /* or NULL; the caller's */
	struct aa_signs *signs;		   /* gets what is announced; the caller's */
	bool ends_with_root;
};

/* Called from the drain thread; `context` is the session. */
struct aa_drain_callbacks {
	void *context;
	void (*ready)(void *context);	 /* the queue has got events */
	void (*ended)(void *context);	 /* all is in the queue and nothing will follow */
	void (*detached)(void *context); /* the kernel holds nothing of ours any more */
};

/* Starts the thread; it finds the ring empty until the gate opens. Probes, queue and totals (or NULL) stay
 * the caller's. */
struct aa_error *aa_drain_create(struct aa_probes *probes, struct aa_event_queue *queue, struct aa_totals *totals,
				 const struct aa_drain_options *options, const struct aa_drain_callbacks *callbacks,
				 struct aa_drain **ret_drain);
/* The thread, in this pid namespace. */
pid_t aa_drain_tid(const struct aa_drain *drain);
/* The gate is open: from now on the tree's end is looked for. */
void aa_drain_watch(struct aa_drain *drain);
/* Asks for the teardown; returns at once. Idempotent. */
void aa_drain_detach(struct aa_drain *drain);
/* Of a drain that watches, the callbacks are called; of another nothing is said.
 * Teardown if need be, ends the thread without waiting for the queue to have room, frees. Accepts NULL. */
void aa_drain_destroy(struct aa_drain *drain);
/* In a forked child, where the thread does not exist: closes its descriptors, and frees nothing. */
void aa_drain_abandon(struct aa_drain *drain);

/*
 * The calling thread's events are canaries from now on, and until the other is called: they are counted, and not
 * queued. It must live, and be watched, meanwhile, so that nobody else has its number.
 */
void aa_drain_canaries_begin(struct aa_drain *drain);
void aa_drain_canaries_end(struct aa_drain *drain);
/* Until all of them were taken out of the ring; false: not by the deadline. ret_arrived: by row of the table. */
bool aa_drain_canaries_wait(struct aa_drain *drain, int64_t deadline_ns, bool *ret_arrived);
uint64_t aa_drain_canaries(const struct aa_drain *drain);

/* Records in the ring that are not in the queue yet. */
uint64_t aa_drain_waiting(struct aa_drain *drain);
uint64_t aa_drain_filtered(const struct aa_drain *drain); /* by path rules */
uint64_t aa_drain_queue_full(const struct aa_drain *drain);
uint64_t aa_drain_decode_error(const struct aa_drain *drain);

#endif

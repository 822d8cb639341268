/* SPDX-License-Identifier: MIT */
/*
 * The probes of one trace: loaded, attached, read back from the kernel, taken away again. The only file that knows the
 * BPF skeleton; a backend is a row of backend.c's table.
 */
#ifndef AA_BACKEND_H
#define AA_BACKEND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "../../bpf/fileio_abi.h"
#include "fileio_error.h"
#include "session.h"

struct aa_probes;
struct aa_kernel_rules;

struct aa_probe_options {
	uint64_t operations;
	uint32_t kinds;
	enum aa_scope scope;
	bool no_latency; /* durations are not told, and entry probes left out where a return has all the data */
	bool no_multi;	 /* kprobe: one link for each function */
	bool errors_only;
	uint64_t only_changes;	       /* of these operations only calls that change something */
	struct aa_kernel_rules *rules; /* NULL: none are applied in the kernel */
	bool witness_io;	       /* reads and writes are witnessed a second time; not by tracepoint */
	uint64_t min_duration_ns;
	uint32_t total_rows; /* 0: no totals */
	bool no_events;
	uint64_t ring_bytes;
	bool no_rings; /* requests of io_uring are not followed: what the kernel refused once */
	bool is_named; /* the user named this backend: not refused for what it costs, or for what is not known of it */
	bool is_trial; /* everything is loaded, and one of each kind attached */
};

/*
 * Loads what `backend` needs for the operations asked, attaches nothing. The gate is closed. *types, NULL at first,
 * gets the kernel's types if they are needed, for the next backend to be tried.
 */
struct aa_kernel_types;
struct aa_error *aa_probes_create(const char *backend, const struct aa_probe_options *options,
				  struct aa_kernel_types **types, struct aa_probes **ret_probes);
/* Why the kernel refused the programs for io_uring's requests, so that they are not followed; NULL: it did not. */
const char *aa_probes_rings_refused(const struct aa_probes *probes);
/* Attaches every probe, or none when it fails. */
struct aa_error *aa_probes_attach(struct aa_probes *probes);
/* Links, perf events, lines and programs go; with wait, returns when the kernel has let go of the programs, so that
 * none can still be running. The ring, the counters and the control words stay. */
void aa_probes_detach(struct aa_probes *probes, bool wait);
/* Everything; or they are kept for the next trace, where that is wanted (kept_probes.h). Accepts NULL. */
void aa_probes_destroy(struct aa_probes *probes);
/* Everything in any case. Accepts NULL. */
void aa_probes_unload(struct aa_probes *probes);
/* Whether aa_probes_create() would load the same. */
bool aa_probes_are_for(const struct aa_probes *probes, const char *backend, const struct aa_probe_options *options);
/* In a forked child: close and unmap everything; the parent's probes are not touched. */
void aa_probes_abandon(struct aa_probes *probes);

volatile struct aa_control *aa_probes_control(struct aa_probes *probes);
/* Watches the calling thread, until it says otherwise: errno, or 0. */
int aa_probes_watch_thread(struct aa_probes *probes);
void aa_probes_unwatch_thread(struct aa_probes *probes);
/* Asks the kernel about each link by our own descriptor, and whether such probes are switched on. */
void aa_probes_check(struct aa_probes *probes, struct aa_health *health);
/* 32-bit calls of watched processes are traced; otherwise a 32-bit program is counted when it begins. */
bool aa_probes_follow_compat(const struct aa_probes *probes);
/* A call of this row (enum aa_call) that began before the trace is reported, or counted, by its return alone. */
bool aa_probes_return_suffices(const struct aa_probes *probes, size_t row);
/* Requests of io_uring are followed, whenever their ring was made. */
bool aa_probes_see_rings(const struct aa_probes *probes);
int aa_probes_ring(const struct aa_probes *probes);
int aa_probes_totals(const struct aa_probes *probes);
int aa_probes_names(const struct aa_probes *probes);
int aa_probes_watched(const struct aa_probes *probes);
/* How many watched processes have such a number: see AA_PRESENCE_SLOTS. */
uint32_t *aa_probes_watched_presence(struct aa_probes *probes, uint32_t tgid);
int aa_probes_lineage(const struct aa_probes *probes);
/* The reaper's pid, or 0: a child of this process that is never to be watched. */
pid_t aa_probes_reaper(const struct aa_probes *probes);
/* A new reading of the task list; read() gives struct aa_task after struct aa_task. */
struct aa_error *aa_probes_list_tasks(struct aa_probes *probes, int *ret_fd);
/* What the kernel has for each file that this process has open; read() gives struct aa_rule_seen after the other. */
struct aa_error *aa_probes_list_own_files(struct aa_probes *probes, int *ret_fd);
/* The connections that watched processes have to those that aa_manager_sockets names: one block, given back with
 * free(). What others hold of the watched processes' sockets is noted by the way. */
struct aa_error *aa_probes_list_connections(struct aa_probes *probes, struct aa_connection **ret_connections,
					    size_t *ret_count);
/* The call that each thread is in whose call has begun and not ended, while there is one: its number in the initial pid
 * namespace and the row. False past the last one; *position is 0 at first. */
bool aa_probes_next_under_way(struct aa_probes *probes, size_t *position, uint32_t *ret_tid, uint32_t *ret_call);

/* Sums over all CPUs; the last values remain after detach. */
void aa_probes_counters(struct aa_probes *probes, struct aa_counters *ret_counters);
/* How often the kernel says that it skipped one of our programs, for any process; false with the reason when it does
 * not count all ways of skipping. */
bool aa_probes_missed(struct aa_probes *probes, uint64_t *ret_missed, char *ret_reason, size_t reason_bytes);
const struct aa_target *aa_probes_targets(const struct aa_probes *probes, size_t *ret_count);

#endif

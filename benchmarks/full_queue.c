/* SPDX-License-Identifier: MIT */
/*
 * Stands where probes, process tree and drain thread stand in the core, so that the real session, the real queue and
 * the real binding are read without a kernel's part: an attach puts FULL_QUEUE_EVENTS events of the shape
 * FULL_QUEUE_SHAPE into the queue.
 *
 *   storm   one thread reads and writes one file, a byte each time: what a queue holds most of
 *   paths   opens, reads and closes of 4,096 files in turn by 8 threads: each has a name, the opens a second one as
 *           passed
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend.h"
#include "drain.h"
#include "health.h"
#include "process_tree.h"

#define FILES 4096u

struct aa_probes {
	struct aa_control control;
};

struct aa_drain {
	struct aa_drain_callbacks callbacks;
	pthread_t thread;
	bool has_thread;
};

/* ---- what is in the queue ---- */

union one {
	struct aa_file_event event;
	char room[sizeof(struct aa_file_event) + 256];
};

static void finish_strings(struct aa_file_event *event, const char *path, const char *raw_path)
{
	char *at = event->strings;

	event->present |= AA_FIELD_PATH;
	event->path_source = AA_PATH_SOURCE_FILE;
	event->path_length = (uint16_t)strlen(path);
	at = stpcpy(at, path) + 1;
	if (raw_path) {
		event->present |= AA_FIELD_RAW_PATH;
		event->raw_path_length = (uint16_t)strlen(raw_path);
		at = stpcpy(at, raw_path) + 1;
	}
	event->size = (uint32_t)((at - (char *)event + 7) & ~7);
}

static void make_event(union one *one, uint64_t number)
{
	const char *shape = getenv("FULL_QUEUE_SHAPE");
	struct aa_file_event *event = &one->event;
	char path[128], raw_path[64];

	memset(one, 0, sizeof(*one));
	event->seq = number;
	event->timestamp_ns = 5000000000ull + number * 700 + number % 13;
	event->duration_ns = 300 + number % 900;
	event->pid = event->tid = 4242;
	event->ppid = 4000;
	event->uid = 1000;
	event->cgroup_id = 7;
	event->device = 2049;
	event->kind = AA_KIND_FILE;
	event->present = AA_FIELD_DURATION | AA_FIELD_FD | AA_FIELD_FILE;
	event->fd = 3;
	strcpy(event->comm, "python3");
	if (shape && !strcmp(shape, "paths")) {
		uint64_t file = number / 3 % FILES;

		snprintf(path, sizeof(path), "/usr/lib/python3/dist-packages/package_%02llu/module_%04llu.py",
			 (unsigned long long)(file % 50), (unsigned long long)file);
		snprintf(raw_path, sizeof(raw_path), "package_%02llu/module_%04llu.py", (unsigned long long)(file % 50),
			 (unsigned long long)file);
		event->tid += (uint32_t)(file % 8);
		event->inode = 1000 + file;
		event->call = (uint16_t)(number % 3);
		event->operation = number % 3 == 0 ? AA_OPERATION_OPEN :
				   number % 3 == 1 ? AA_OPERATION_READ :
						     AA_OPERATION_CLOSE;
		event->result = number % 3 == 0 ? 3 : number % 3 == 1 ? 4096 : 0;
		if (number % 3 == 0)
			event->present |= AA_FIELD_DIRFD | AA_FIELD_FLAGS;
		if (number % 3 == 1)
			event->present |= AA_FIELD_COUNT | AA_FIELD_BYTES | AA_FIELD_OFFSET;
		event->dirfd = -100;
		event->count = number % 3 == 1 ? 8192 : 0;
		finish_strings(event, path, number % 3 == 0 ? raw_path : NULL);
		return;
	}
	event->inode = 1234567;
	event->operation = number % 2 ? AA_OPERATION_WRITE : AA_OPERATION_READ;
	event->call = (uint16_t)(number % 2);
	event->result = 1;
	event->count = 1;
	event->offset = (int64_t)(number / 2);
	event->present |= AA_FIELD_COUNT | AA_FIELD_OFFSET | AA_FIELD_BYTES;
	finish_strings(event, "/home/user/project/build/output/object_file.data", NULL);
}

struct aa_error *aa_drain_create(struct aa_probes *probes, struct aa_event_queue *queue, struct aa_totals *totals,
				 const struct aa_drain_options *options, const struct aa_drain_callbacks *callbacks,
				 struct aa_drain **ret_drain)
{
	const char *events = getenv("FULL_QUEUE_EVENTS");
	struct aa_drain *drain = calloc(1, sizeof(*drain));
	union one one;

	drain->callbacks = *callbacks;
	for (uint64_t number = 0, end = events ? strtoull(events, NULL, 10) : 1000; number < end; number++) {
		make_event(&one, number);
		if (!aa_event_queue_push(queue, &one.event)) {
			free(drain);
			return aa_error_create(AA_ERROR_VALUE, 0,
					       "the queue is full after %llu events: raise queue_bytes",
					       (unsigned long long)number);
		}
	}
	*ret_drain = drain;
	return NULL;
}

/* ---- the rest is as little as there can be ---- */

void aa_drain_watch(struct aa_drain *drain)
{
	drain->callbacks.ready(drain->callbacks.context);
}

static void *detach(void *argument)
{
	struct aa_drain *drain = argument;

	drain->callbacks.ended(drain->callbacks.context);
	drain->callbacks.detached(drain->callbacks.context); /* takes the lock that the one who asks holds */
	return NULL;
}

void aa_drain_detach(struct aa_drain *drain)
{
	drain->has_thread = !pthread_create(&drain->thread, NULL, detach, drain);
}

void aa_drain_destroy(struct aa_drain *drain)
{
	if (drain && drain->has_thread)
		pthread_join(drain->thread, NULL);
	free(drain);
}

void aa_drain_abandon(struct aa_drain *drain)
{
	free(drain);
}

pid_t aa_drain_tid(const struct aa_drain *drain)
{
	return 0;
}

uint64_t aa_drain_waiting(struct aa_drain *drain)
{
	return 0;
}

uint64_t aa_drain_queue_full(const struct aa_drain *drain)
{
	return 0;
}

uint64_t aa_drain_filtered(const struct aa_drain *drain)
{
	return 0;
}

uint64_t aa_drain_canaries(const struct aa_drain *drain)
{
	return 0;
}

uint64_t aa_drain_decode_error(const struct aa_drain *drain)
{
	return 0;
}

struct aa_error *aa_probes_create(const char *backend, const struct aa_probe_options *options,
				  struct aa_kernel_types **types, struct aa_probes **ret_probes)
{
	*ret_probes = calloc(1, sizeof(**ret_probes));
	return NULL;
}

struct aa_error *aa_probes_attach(struct aa_probes *probes)
{
	return NULL;
}

void aa_probes_destroy(struct aa_probes *probes)
{
	free(probes);
}

void aa_probes_abandon(struct aa_probes *probes)
{
	free(probes);
}

void aa_keep_loaded_begin(void)
{
}

void aa_keep_loaded_end(void)
{
}

void aa_keep_loaded_after_fork_in_child(void)
{
}

volatile struct aa_control *aa_probes_control(struct aa_probes *probes)
{
	return &probes->control;
}

int aa_probes_totals(const struct aa_probes *probes)
{
	return -1;
}

int aa_probes_names(const struct aa_probes *probes)
{
	return -1;
}

void aa_probes_counters(struct aa_probes *probes, struct aa_counters *ret_counters)
{
	memset(ret_counters, 0, sizeof(*ret_counters));
}

void aa_probes_check(struct aa_probes *probes, struct aa_health *health)
{
}

void aa_canaries_run(struct aa_probes *probes, struct aa_drain *drain, uint64_t operations, bool errors_only,
		     int64_t deadline_ns, struct aa_health *health)
{
}

bool aa_probes_missed(struct aa_probes *probes, uint64_t *ret_missed, char *ret_reason, size_t reason_bytes)
{
	*ret_missed = 0;
	ret_reason[0] = '\0';
	return true;
}

const struct aa_target *aa_probes_targets(const struct aa_probes *probes, size_t *ret_count)
{
	*ret_count = 0;
	return NULL;
}

struct aa_error *aa_process_open(pid_t pid, int *ret_pidfd)
{
	*ret_pidfd = -1;
	return NULL;
}

bool aa_process_is_alive(int pidfd)
{
	return true;
}

struct aa_error *aa_process_tree_seed(struct aa_probes *probes, bool has_pid, pid_t pid, bool follow, bool is_held,
				      pid_t drain_tid, uint64_t operations, struct aa_signs *signs,
				      struct aa_before *ret_before)
{
	return NULL;
}

const char *aa_probes_rings_refused(const struct aa_probes *probes)
{
	return NULL;
}

bool aa_probes_next_under_way(struct aa_probes *probes, size_t *position, uint32_t *ret_tid, uint32_t *ret_call)
{
	return false;
}

uint32_t aa_process_of_thread(pid_t tid)
{
	return 0;
}

void aa_blind_spots_name_process(uint32_t tgid, char ret_comm[16])
{
}

/* ---- what most tools written in Python do: one call back for each event ---- */

void each_event(void (*callback)(void *context, const void *event, size_t bytes), uint64_t count);

__attribute__((visibility("default"))) void each_event(void (*callback)(void *context, const void *event, size_t bytes),
						       uint64_t count)
{
	union one one;

	make_event(&one, 0);
	for (uint64_t number = 0; number < count; number++) {
		one.event.seq = number;
		callback(NULL, &one.event, one.event.size);
	}
}

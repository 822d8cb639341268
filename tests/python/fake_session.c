/* SPDX-License-Identifier: MIT */
/*
 * A core without a kernel, for the tests of the binding. The events are the test's: as many as the pid says are there
 * at attach, and os.eventfd_write(m.fileno(), n) brings n more. Event n has seq n and the path "/n".
 */
#include "session.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define END (UINT64_C(1) << 40) /* of the eventfd's count; below it are events */

struct aa_session {
	pid_t pid;
	bool has_pid;
	atomic_bool is_attached, is_closed, is_ended, was_attached, is_child;
	atomic_flag reader;
	int fd;
	uint64_t available, delivered, attaches;
	_Alignas(8) char event[sizeof(struct aa_file_event) + 64];
};

static struct aa_error *check(const struct aa_session *session)
{
	if (session->is_child)
		return aa_error_create(AA_ERROR_STATE, 0, "in the child");
	return session->is_closed ? aa_error_create(AA_ERROR_CLOSED, 0, "closed") : NULL;
}

struct aa_error *aa_session_create(const struct aa_session_options *options, struct aa_session **ret_session)
{
	struct aa_session *session = calloc(1, sizeof(*session));
	struct aa_path_rules *rules = NULL;
	struct aa_error *error = aa_path_rules_create(options->rules, &rules);

	aa_path_rules_destroy(rules);
	if (error) {
		free(session);
		return error;
	}
	session->pid = options->pid;
	session->has_pid = options->has_pid;
	session->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	*ret_session = session;
	return NULL;
}

void aa_session_destroy(struct aa_session *session)
{
	if (session->fd >= 0)
		close(session->fd);
	free(session);
}

static void notify(struct aa_session *session, uint64_t count)
{
	if (count && write(session->fd, &count, sizeof(count)) < 0)
		abort();
}

struct aa_error *aa_session_attach(struct aa_session *session)
{
	struct aa_error *error = check(session);

	if (error)
		return error;
	if (getenv("FAKE_ATTACH_FAILS"))
		return aa_error_create(AA_ERROR_ATTACH, EINVAL, "told to fail");
	switch (session->pid) {
	case 4000001:
		return aa_error_with_remedy(aa_error_with_log(aa_error_with_probe(aa_error_create(AA_ERROR_PERMISSION,
												  EPERM, "not allowed"),
										  "aa_sys_read", "__x64_sys_read"),
							      "the verifier's words"),
					    "run it as root");
	case 4000002:
		return aa_error_create(AA_ERROR_NO_PROCESS, ESRCH, "process %d is dead", session->pid);
	case 4000003:
		return aa_error_create(AA_ERROR_SYSTEM, ENOENT, "no such thing");
	case 4000004:
		return aa_error_create(AA_ERROR_ATTACH, EINVAL, "refused");
	case 4000005:
		return aa_error_create(AA_ERROR_MEMORY, 0, "out of memory");
	}
	session->is_ended = false;
	session->attaches++;
	session->available = 0;
	session->delivered = 0;
	session->is_attached = session->was_attached = true;
	notify(session, (uint64_t)session->pid);
	return NULL;
}

struct aa_error *aa_session_set_target(struct aa_session *session, bool has_pid, pid_t pid)
{
	session->has_pid = has_pid;
	session->pid = pid;
	return NULL;
}

void aa_session_set_held(struct aa_session *session, bool is_held)
{
}

struct aa_error *aa_session_detach(struct aa_session *session, bool wait)
{
	struct aa_error *error = check(session);

	if (error || !session->is_attached)
		return error;
	if (session->pid == 777)
		return aa_error_create(AA_ERROR_SYSTEM, EBUSY, "the detach failed");
	session->is_attached = false;
	notify(session, END);
	return NULL;
}

struct aa_error *aa_session_close(struct aa_session *session)
{
	session->is_attached = false;
	session->is_closed = true;
	notify(session, END);
	return NULL;
}

void aa_session_after_fork_in_child(struct aa_session *session)
{
	close(session->fd);
	session->fd = -1;
	session->is_child = true;
}

bool aa_session_is_attached(const struct aa_session *session)
{
	return session->is_attached;
}

bool aa_session_is_closed(const struct aa_session *session)
{
	return session->is_closed;
}

bool aa_session_target(struct aa_session *session, pid_t *ret_pid)
{
	*ret_pid = session->pid;
	return session->has_pid;
}

const char *aa_session_backend(const struct aa_session *session)
{
	return session->was_attached ? "kprobe" : NULL;
}

struct aa_error *aa_session_rule_notes(struct aa_session *session, struct aa_rule_note **ret_notes, size_t *ret_count)
{
	(void)session;
	*ret_notes = NULL;
	*ret_count = 0;
	return NULL;
}

void aa_session_passed_over(struct aa_session *session, struct aa_passed_over_list *ret_list)
{
	(void)session;
	*ret_list = (struct aa_passed_over_list){ 1, { { "fentry", "not built" } } };
}

struct aa_error *aa_session_targets(struct aa_session *session, struct aa_target **ret_targets, size_t *ret_count)
{
	*ret_targets = calloc(2, sizeof(**ret_targets));
	*ret_count = session->is_attached ? 2 : 0;
	(*ret_targets)[0] = (struct aa_target){ "aa_sys_read", "__x64_sys_read", "kprobe", 7, 9, true, true };
	(*ret_targets)[1] = (struct aa_target){ "aa_sys_gone", "__x64_sys_gone", "kprobe", 0, 0, false, false };
	return NULL;
}

struct aa_error *aa_session_reader_acquire(struct aa_session *session)
{
	struct aa_error *error = check(session);

	if (error)
		return error;
	return atomic_flag_test_and_set(&session->reader) ? aa_error_create(AA_ERROR_STATE, 0, "another thread reads") :
							    NULL;
}

void aa_session_reader_release(struct aa_session *session)
{
	atomic_flag_clear(&session->reader);
}

enum aa_peek aa_session_peek(struct aa_session *session, const struct aa_file_event **ret_event)
{
	struct aa_file_event *event = (struct aa_file_event *)session->event;
	uint64_t count;

	if (!session->available && read(session->fd, &count, sizeof(count)) == sizeof(count)) {
		session->available = count % END;
		session->is_ended |= count >= END;
	}
	if (session->is_closed || (!session->available && session->is_ended))
		return AA_PEEK_END;
	if (!session->available)
		return AA_PEEK_EMPTY;
	memset(session->event, 0xee, sizeof(session->event)); /* an earlier event must not point in here */
	memset(event, 0, sizeof(*event));
	event->seq = session->delivered;
	event->pid = 12;
	event->present = AA_FIELD_PATH | AA_FIELD_RAW_PATH;
	event->path_source = 1;
	event->path_length = (uint16_t)sprintf(event->strings, "/%llu", (unsigned long long)session->delivered);
	event->raw_path_length = (uint16_t)sprintf(event->strings + event->path_length + 1, "raw");
	*ret_event = event;
	return AA_PEEK_EVENT;
}

int64_t aa_session_boottime_to_realtime_ns(const struct aa_session *session)
{
	return (int64_t)(1700000000 + session->attaches) * 1000000000;
}

void aa_session_advance(struct aa_session *session)
{
	session->available--;
	session->delivered++;
}

void aa_session_pass(struct aa_session *session)
{
	aa_session_advance(session);
}

void aa_session_passed(struct aa_session *session, uint64_t count)
{
}

enum aa_wait aa_session_wait(struct aa_session *session, int64_t deadline_ns)
{
	struct pollfd poll_fd = { .fd = session->fd, .events = POLLIN };
	struct timespec now, left, *timeout = NULL;
	int64_t left_ns;
	int ready;

	if (deadline_ns != AA_WAIT_FOREVER) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		left_ns = deadline_ns - (now.tv_sec * INT64_C(1000000000) + now.tv_nsec);
		left_ns = left_ns < 0 ? 0 : left_ns;
		left = (struct timespec){ left_ns / 1000000000, left_ns % 1000000000 };
		timeout = &left;
	}
	ready = ppoll(&poll_fd, 1, timeout, NULL);
	return ready > 0 ? AA_WAIT_READY : ready == 0 ? AA_WAIT_TIMEOUT : AA_WAIT_INTERRUPTED;
}

int aa_session_fileno(const struct aa_session *session)
{
	return session->fd;
}

void aa_session_stats(struct aa_session *session, struct aa_stats *ret_stats)
{
	*ret_stats = (struct aa_stats){ .performed = session->delivered + 5,
					.delivered = session->delivered,
					.ring_full = 2,
					.queue_full = 3,
					.inexact_reason = "misses were counted",
					.boottime_to_realtime_ns = (uint64_t)aa_session_boottime_to_realtime_ns(session) };
}

/* A file that was mapped, with a name that is not UTF-8, and a call under way. */
struct aa_error *aa_session_signs(struct aa_session *session, struct aa_sign **ret_signs, size_t *ret_count)
{
	static char path[] = "/mapped\xff";
	struct aa_sign *signs = calloc(2, sizeof(*signs));

	(void)session;
	signs[0] = (struct aa_sign){ .what = AA_SIGN_MAPPING,
				     .is_named = true,
				     .has_range = true,
				     .is_writable = true,
				     .pid = 77,
				     .count = 3,
				     .start = 4096,
				     .end = UINT64_C(1) << 63,
				     .comm = "w\xff",
				     .path = path };
	signs[1] = (struct aa_sign){ .what = AA_SIGN_UNDER_WAY, .call = 1, .count = 1 };
	*ret_signs = signs;
	*ret_count = 2;
	return NULL;
}

/* One link of two is another's by now; told at once, or when the wait is over. */
struct aa_error *aa_session_health(struct aa_session *session, int64_t deadline_ns, struct aa_health *ret_health)
{
	struct aa_error *error = check(session);

	(void)deadline_ns;
	if (error || !session->is_attached)
		return error ? error : aa_error_create(AA_ERROR_STATE, 0, "not attached: call attach() first");
	*ret_health = (struct aa_health){ .links = 1, .has_canaries = session->has_pid, .canaries = 7 };
	ret_health->problem_count = 1;
	snprintf(ret_health->problems[0], AA_PROBLEM_BYTES, "a call of \xff was not seen");
	return NULL;
}

/* Two rows about the same, one about another file, and one of what found no row. */
struct aa_error *aa_session_totals(struct aa_session *session, struct aa_total_row **ret_rows, size_t *ret_count)
{
	struct aa_file_event *event;
	struct aa_total_row *rows;

	if (session->pid == 4001)
		return aa_error_create(AA_ERROR_STATE, 0, "no totals");
	rows = calloc(1, 4 * sizeof(*rows) + 3 * (sizeof(*event) + 64));
	event = (struct aa_file_event *)(rows + 4);
	for (size_t i = 0; i < 4; i++) {
		rows[i].calls = 10 + i;
		rows[i].errors = i;
		rows[i].bytes = UINT64_C(1) << 40;
		rows[i].duration_ns = 1000;
		rows[i].histogram[5] = 10 + i;
		rows[i].operation = 1;
		if (i == 3)
			break;
		rows[i].started_ns = 77;
		event->pid = 12;
		event->operation = 1;
		event->present = AA_FIELD_PATH | AA_FIELD_FILE | AA_FIELD_DURATION;
		event->path_source = 1;
		event->device = 3;
		event->inode = 4;
		snprintf(event->comm, sizeof(event->comm), "comm%zu", i);
		event->path_length = (uint16_t)sprintf(event->strings, "/%s", i == 2 ? "other" : "same");
		rows[i].first = event;
		event = (struct aa_file_event *)((char *)(event + 1) + 64);
	}
	*ret_rows = rows;
	*ret_count = 4;
	return NULL;
}

struct aa_error *aa_backend_probe(const char *backend, char *ret_reason, size_t reason_bytes, bool *ret_usable)
{
	*ret_usable = strcmp(backend, "kprobe") == 0;
	snprintf(ret_reason, reason_bytes, "%s", *ret_usable ? "" : "not here");
	return NULL;
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

/* SPDX-License-Identifier: MIT */
/*
 * The core where there is no backend: not Linux, or an architecture whose system calls nobody described yet. Everything
 * works but attaching, so that the package installs, imports and says why. Built instead of session.c.
 */
#include "session.h"
#include "signal_witness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The build may name the platform it speaks for, which is how each text is tested. */
#ifndef AA_STUB_PLATFORM
#if !defined(__linux__)
#define AA_STUB_PLATFORM "other"
#elif defined(__aarch64__)
#define AA_STUB_PLATFORM "aarch64"
#elif defined(__x86_64__)
#define AA_STUB_PLATFORM "this build"
#else
#define AA_STUB_PLATFORM "this architecture"
#endif
#endif

struct aa_session {
	bool has_pid, is_closed;
	pid_t pid;
};

static struct aa_error *unavailable(void)
{
	static const char *const not_linux[] = { "other", "darwin", "freebsd" };
	struct aa_error *error;
	size_t index;

	for (index = 0; index < sizeof(not_linux) / sizeof(not_linux[0]); index++)
		if (strcmp(AA_STUB_PLATFORM, not_linux[index]) == 0)
			return aa_error_create(AA_ERROR_UNAVAILABLE, 0, "kprobe attachment requires Linux");
	error = aa_error_create(AA_ERROR_UNAVAILABLE, 0, "no backend for %s", AA_STUB_PLATFORM);
	return aa_error_with_remedy(error, "x86_64 has one");
}

struct aa_error *aa_session_create(const struct aa_session_options *options, struct aa_session **ret_session)
{
	struct aa_session *session = calloc(1, sizeof(*session));
	struct aa_path_rules *rules = NULL;
	struct aa_error *error;

	if (!session)
		return aa_error_create(AA_ERROR_MEMORY, 0, "out of memory");
	/* What cannot be is refused anywhere. */
	error = aa_path_rules_create(options->rules, &rules);
	aa_path_rules_destroy(rules);
	if (error) {
		free(session);
		return error;
	}
	session->has_pid = options->has_pid;
	session->pid = options->pid;
	*ret_session = session;
	return NULL;
}

void aa_session_destroy(struct aa_session *session)
{
	free(session);
}

static struct aa_error *check_open(const struct aa_session *session)
{
	return session->is_closed ? aa_error_create(AA_ERROR_CLOSED, 0, "the session is closed") : NULL;
}

struct aa_error *aa_session_attach(struct aa_session *session)
{
	struct aa_error *error = check_open(session);

	return error ? error : unavailable();
}

struct aa_error *aa_session_set_target(struct aa_session *session, bool has_pid, pid_t pid)
{
	struct aa_error *error = check_open(session);

	if (error)
		return error;
	session->has_pid = has_pid;
	session->pid = pid;
	return NULL;
}

struct aa_error *aa_session_detach(struct aa_session *session, bool wait)
{
	(void)wait;
	return check_open(session);
}

struct aa_error *aa_session_close(struct aa_session *session)
{
	session->is_closed = true;
	return NULL;
}

void aa_session_after_fork_in_child(struct aa_session *session)
{
	(void)session;
}

bool aa_session_is_attached(const struct aa_session *session)
{
	(void)session;
	return false;
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
	(void)session;
	return NULL;
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
	ret_list->count = 0;
}

struct aa_error *aa_session_targets(struct aa_session *session, struct aa_target **ret_targets, size_t *ret_count)
{
	*ret_targets = NULL;
	*ret_count = 0;
	return check_open(session);
}

struct aa_error *aa_session_reader_acquire(struct aa_session *session)
{
	return check_open(session);
}

void aa_session_reader_release(struct aa_session *session)
{
	(void)session;
}

enum aa_peek aa_session_peek(struct aa_session *session, const struct aa_file_event **ret_event)
{
	(void)session;
	*ret_event = NULL;
	return AA_PEEK_END;
}

int64_t aa_session_boottime_to_realtime_ns(const struct aa_session *session)
{
	(void)session;
	return 0;
}

void aa_session_advance(struct aa_session *session)
{
	(void)session;
}

void aa_session_pass(struct aa_session *session)
{
	(void)session;
}

void aa_session_passed(struct aa_session *session, uint64_t count)
{
	(void)session;
	(void)count;
}

enum aa_wait aa_session_wait(struct aa_session *session, int64_t deadline_ns)
{
	(void)session;
	(void)deadline_ns;
	return AA_WAIT_READY;
}

int aa_session_fileno(const struct aa_session *session)
{
	(void)session;
	return -1;
}

struct aa_error *aa_session_signs(struct aa_session *session, struct aa_sign **ret_signs, size_t *ret_count)
{
	(void)session;
	*ret_signs = NULL;
	*ret_count = 0;
	return NULL;
}

void aa_session_stats(struct aa_session *session, struct aa_stats *ret_stats)
{
	(void)session;
	*ret_stats = (struct aa_stats){ .exact = true, .no_trace_reason = "nothing has been attached" };
}

struct aa_error *aa_session_health(struct aa_session *session, int64_t deadline_ns, struct aa_health *ret_health)
{
	struct aa_error *error = check_open(session);

	(void)deadline_ns;
	memset(ret_health, 0, sizeof(*ret_health));
	return error ? error : aa_error_create(AA_ERROR_STATE, 0, "not attached: call attach() first");
}

struct aa_error *aa_session_totals(struct aa_session *session, struct aa_total_row **ret_rows, size_t *ret_count)
{
	struct aa_error *error = check_open(session);

	*ret_rows = NULL;
	*ret_count = 0;
	return error ? error : aa_error_create(AA_ERROR_STATE, 0, "not attached: call attach() first");
}

struct aa_error *aa_backend_probe(const char *backend, char *ret_reason, size_t reason_bytes, bool *ret_usable)
{
	struct aa_error *error = unavailable();

	(void)backend;
	*ret_usable = false;
	snprintf(ret_reason, reason_bytes, "%s", error->message);
	aa_error_destroy(error);
	return NULL;
}

void aa_session_set_held(struct aa_session *session, bool is_held)
{
	(void)session;
	(void)is_held;
}

struct aa_error *aa_held_process_create(const struct aa_held_options *options, struct aa_held_process **ret_held)
{
	(void)options;
	*ret_held = NULL;
	return unavailable();
}

pid_t aa_held_process_pid(const struct aa_held_process *held)
{
	(void)held;
	return -1;
}

struct aa_error *aa_held_process_release(struct aa_held_process *held)
{
	(void)held;
	return unavailable();
}

void aa_held_process_destroy(struct aa_held_process *held)
{
	(void)held;
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

struct aa_error *aa_signal_witness_create(struct aa_signal_witness **ret_witness)
{
	*ret_witness = NULL;
	return unavailable();
}

/* NOLINTNEXTLINE(readability-non-const-parameter) as signal_witness.h declares it */
struct aa_error *aa_signal_witness_counts(struct aa_signal_witness *witness, uint32_t ret_counts[AA_SIGNALS])
{
	(void)witness;
	(void)ret_counts;
	return unavailable();
}

void aa_signal_witness_destroy(struct aa_signal_witness *witness)
{
	(void)witness;
}

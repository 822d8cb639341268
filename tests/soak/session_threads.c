// SPDX-License-Identifier: MIT
/*
 * Eight threads use one session at once, under the thread sanitizer: two read, two ask for its counts, one each for its
 * targets, its totals and its health, and one detaches and attaches again. At the end it is closed under them.
 *
 *   session_threads SECONDS        root; the sanitizer's exit status tells
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "session.h"

#define THREADS 8

static struct aa_session *session;
static atomic_bool stop;

static int64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void *keep_reading(void *context)
{
	(void)context;
	while (!atomic_load(&stop)) {
		struct aa_error *error = aa_session_reader_acquire(session);
		const struct aa_file_event *event;
		enum aa_peek peek = AA_PEEK_EMPTY;

		if (error) {
			aa_error_destroy(error);
			usleep(100);
			continue;
		}
		for (int i = 0; i < 2000 && (peek = aa_session_peek(session, &event)) == AA_PEEK_EVENT; i++)
			aa_session_advance(session);
		if (peek == AA_PEEK_EMPTY)
			aa_session_wait(session, now_ns() + 2000000);
		aa_session_reader_release(session);
	}
	return NULL;
}

static void *keep_asking(void *context)
{
	(void)context;
	while (!atomic_load(&stop)) {
		struct aa_passed_over_list passed_over;
		struct aa_stats stats;
		pid_t pid;

		aa_session_stats(session, &stats);
		aa_session_passed_over(session, &passed_over);
		for (size_t i = 0; i < passed_over.count; i++)
			if (!passed_over.items[i].reason[0])
				abort();
		(void)aa_session_is_attached(session);
		(void)aa_session_is_closed(session);
		(void)aa_session_backend(session);
		(void)aa_session_fileno(session);
		(void)aa_session_target(session, &pid);
		usleep(200);
	}
	return NULL;
}

static void *keep_listing(void *context)
{
	(void)context;
	while (!atomic_load(&stop)) {
		struct aa_target *targets;
		size_t count;

		aa_error_destroy(aa_session_targets(session, &targets, &count));
		free(targets);
		usleep(500);
	}
	return NULL;
}

static void *keep_totalling(void *context)
{
	(void)context;
	while (!atomic_load(&stop)) {
		struct aa_total_row *rows;
		size_t count;

		aa_error_destroy(aa_session_totals(session, &rows, &count));
		free(rows);
		usleep(1000);
	}
	return NULL;
}

static void *keep_looking(void *context)
{
	static struct aa_health health;

	(void)context;
	while (!atomic_load(&stop)) {
		aa_error_destroy(aa_session_health(session, now_ns() + 100000000, &health));
		usleep(20000);
	}
	return NULL;
}

static void *keep_attaching(void *context)
{
	bool wait = false;

	(void)context;
	while (!atomic_load(&stop)) {
		usleep(150000);
		wait = !wait;
		aa_error_destroy(aa_session_detach(session, wait));
		aa_error_destroy(aa_session_attach(session));
	}
	return NULL;
}

static void __attribute__((noreturn)) be_traced(void)
{
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(fd, &byte, 1) == 1)
		;
	_exit(1);
}

static int fail(struct aa_error *error)
{
	fprintf(stderr, "session_threads: %s\n", error->message);
	return 2;
}

int main(int count, char **words)
{
	static void *(*const work[THREADS])(void *) = { keep_reading, keep_reading,   keep_asking,  keep_asking,
							keep_listing, keep_totalling, keep_looking, keep_attaching };
	struct aa_session_options options = {
		.has_pid = true, .follow = true, .total_rows = 1024, .ring_bytes = 1 << 20
	};
	pthread_t threads[THREADS];
	struct aa_error *error;

	options.pid = fork();
	if (!options.pid)
		be_traced();
	error = aa_session_create(&options, &session);
	if (!error)
		error = aa_session_attach(session);
	if (error)
		return fail(error);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, work[i], NULL))
			return 2;
	sleep(count > 1 ? (unsigned)atoi(words[1]) : 10);
	aa_error_destroy(aa_session_close(session));
	usleep(300000);
	atomic_store(&stop, true);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	aa_session_destroy(session);
	kill(options.pid, SIGKILL);
	waitpid(options.pid, NULL, 0);
	return 0;
}

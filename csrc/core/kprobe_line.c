// SPDX-License-Identifier: MIT
#include "kprobe_line.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tracefs.h"

#define AA_GROUP_PREFIX "aa_fileio_"
#define AA_BUSY_MS 5000 /* a line stays busy while its perf event is torn down behind our back */

struct aa_kprobe_lines {
	int tracefs; /* its root directory */
	int events;  /* kprobe_events, for appending */
	pid_t reaper;
	char group[64];
	unsigned count;
	char names[AA_LINES_MAX][48];
};

static unsigned long aa_pid_namespace(void)
{
	struct stat status;

	return stat("/proc/self/ns/pid", &status) ? 0 : (unsigned long)status.st_ino;
}

/* Start time of a process in clock ticks since boot (field 22 of /proc/PID/stat); 0 when there is none. */
static unsigned long long aa_start_time(pid_t pid)
{
	unsigned long long start = 0;
	char path[64], text[1024], *field;
	ssize_t bytes;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	bytes = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (bytes <= 0)
		return 0;
	text[bytes] = '\0';
	field = strrchr(text, ')'); /* a command's name may hold anything */
	for (int i = 2; field && i < 22; i++)
		field = strchr(field + 1, ' ');
	if (field)
		start = strtoull(field + 1, NULL, 10);
	return start;
}

static void aa_nap_ms(long ms)
{
	struct timespec time = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&time, NULL);
}

/* Only async-signal-safe calls: the reaper uses it too. True when the line is gone, and when it can never be. */
static bool aa_line_remove(int events, const char *group, const char *name)
{
	char line[160];
	int length = 0;

	line[length++] = '-';
	line[length++] = ':';
	for (; *group; group++)
		line[length++] = *group;
	line[length++] = '/';
	for (; *name; name++)
		line[length++] = *name;
	line[length++] = '\n';
	return write(events, line, (size_t)length) == length || errno != EBUSY;
}

/*
 * All of these, as long as that takes, but for at most `patience_ms` (< 0: for ever): a line is busy until its event is
 * closed to the last, and taking down a hundred probes takes the kernel seconds. Async-signal-safe. True when none is
 * left.
 */
static bool aa_lines_remove(int events, const char *group, char names[][48], unsigned count, long patience_ms)
{
	bool is_gone[AA_LINES_MAX] = { false };
	long nap_ms = 2;

	for (long waited_ms = 0;; waited_ms += nap_ms) {
		unsigned left = 0;

		for (unsigned i = 0; i < count; i++) {
			is_gone[i] = is_gone[i] || aa_line_remove(events, group, names[i]);
			left += !is_gone[i];
		}
		if (!left)
			return true;
		if (patience_ms >= 0 && waited_ms >= patience_ms)
			return false;
		/* Whoever else has opened one of the events may keep it for days. */
		if (waited_ms > 10000)
			nap_ms = 500;
		aa_nap_ms(nap_ms);
	}
}

/* Lines of tracers of this pid namespace that are dead: their reaper was killed too. */
static void aa_lines_remove_stale(const struct aa_kprobe_lines *lines)
{
	unsigned long namespace = aa_pid_namespace();
	int fd = openat(lines->tracefs, "kprobe_events", O_RDONLY | O_CLOEXEC);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	char *line = NULL;
	size_t room = 0;

	if (!file) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while (getline(&line, &room, file) > 0) {
		char group[64], name[64];
		unsigned long their_namespace;
		unsigned long long start;
		int pid;

		if (sscanf(line, "%*[^:]:%63[^/]/%63s", group, name) != 2)
			continue;
		if (sscanf(group, AA_GROUP_PREFIX "%lu_%d_%llu_", &their_namespace, &pid, &start) != 3)
			continue;
		if (their_namespace == namespace && aa_start_time(pid) != start)
			aa_line_remove(lines->events, group, name);
	}
	free(line);
	fclose(file);
}

/* The reaper's whole life. Forked from a threaded process: async-signal-safe calls only. */
static void __attribute__((noreturn))
aa_reaper_run(const struct aa_kprobe_lines *lines, int tracer, const char *group, char names[][48], unsigned count)
{
	struct pollfd wait = { .fd = tracer, .events = POLLIN };
	int low = tracer < lines->events ? tracer : lines->events, high = tracer ^ lines->events ^ low;
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	prctl(PR_SET_NAME, "aa_reaper");
	setsid();
	if (chdir("/"))
		_exit(1);
		/* Above all no BPF descriptor, of this trace or another. */
#ifdef SYS_close_range
	if (low > 0)
		syscall(SYS_close_range, 0, low - 1, 0);
	if (high > low + 1)
		syscall(SYS_close_range, low + 1, high - 1, 0);
	if (syscall(SYS_close_range, high + 1, ~0U, 0))
#endif
		for (int fd = 0; fd < 65536; fd++)
			if (fd != low && fd != high)
				close(fd);
	while (poll(&wait, 1, -1) < 0 && errno == EINTR)
		;
	aa_lines_remove(lines->events, group, names, count, -1);
	_exit(0);
}

static struct aa_error *aa_reaper_start(struct aa_kprobe_lines *lines)
{
	int tracer = (int)syscall(SYS_pidfd_open, getpid(), 0);
	pid_t pid;

	if (tracer < 0)
		return aa_error_create(AA_ERROR_SYSTEM, errno, "pidfd_open of this process: %s", strerror(errno));
	/*
	 * clone() without an exit signal: the program that uses us must not find a stranger in wait(). No CLONE_VM, so
	 * it is a fork; what it inherits of mappings is kept out by MADV_DONTFORK where they pin kernel objects.
	 */
	pid = (pid_t)syscall(SYS_clone, 0, NULL, NULL, NULL, 0);
	if (pid == 0)
		aa_reaper_run(lines, tracer, lines->group, lines->names, lines->count);
	close(tracer);
	if (pid < 0)
		return aa_error_create(AA_ERROR_SYSTEM, errno, "cannot start the process that removes probe lines: %s",
				       strerror(errno));
	lines->reaper = pid;
	return NULL;
}

static void aa_reaper_end(struct aa_kprobe_lines *lines)
{
	if (lines->reaper <= 0)
		return;
	kill(lines->reaper, SIGKILL);
	while (waitpid(lines->reaper, NULL, __WCLONE) < 0 && errno == EINTR)
		;
	lines->reaper = 0;
}

struct aa_error *aa_kprobe_lines_create(struct aa_kprobe_lines **ret_lines)
{
	struct aa_kprobe_lines *lines = calloc(1, sizeof(*lines));
	struct timespec now;

	if (!lines)
		return aa_error_create(AA_ERROR_MEMORY, ENOMEM, "out of memory");
	lines->events = -1;
	lines->tracefs = aa_tracefs_open();
	if (lines->tracefs < 0) {
		struct aa_error *error = aa_tracefs_error(errno);

		aa_kprobe_lines_destroy(lines);
		return error;
	}
	lines->events = openat(lines->tracefs, "kprobe_events", O_WRONLY | O_APPEND | O_CLOEXEC);
	if (lines->events < 0) {
		int code = errno;
		struct aa_error *error;

		error = aa_error_create(code == EACCES || code == EPERM ? AA_ERROR_PERMISSION : AA_ERROR_UNAVAILABLE,
					code, "tracefs' kprobe_events cannot be opened: %s", strerror(code));
		aa_error_with_remedy(error, code == EACCES || code == EPERM ?
						    "run as root" :
						    "a kernel built with CONFIG_KPROBE_EVENTS");
		aa_kprobe_lines_destroy(lines);
		return error;
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(lines->group, sizeof(lines->group), AA_GROUP_PREFIX "%lu_%d_%llu_%lx", aa_pid_namespace(),
		 (int)getpid(), aa_start_time(getpid()), (unsigned long)now.tv_nsec);
	aa_lines_remove_stale(lines);
	*ret_lines = lines;
	return NULL;
}

void aa_kprobe_lines_destroy(struct aa_kprobe_lines *lines)
{
	if (!lines)
		return;
	/* What is busy still is left to the reaper, at the end of this process. */
	if (aa_lines_remove(lines->events, lines->group, lines->names, lines->count, AA_BUSY_MS))
		aa_reaper_end(lines);
	aa_kprobe_lines_abandon(lines);
}

void aa_kprobe_lines_abandon(struct aa_kprobe_lines *lines)
{
	if (!lines)
		return;
	if (lines->events >= 0)
		close(lines->events);
	if (lines->tracefs >= 0)
		close(lines->tracefs);
	free(lines);
}

struct aa_error *aa_kprobe_lines_reap(struct aa_kprobe_lines *lines, const char *const *names, unsigned count)
{
	for (unsigned i = 0; i < count && i < AA_LINES_MAX; i++)
		snprintf(lines->names[i], sizeof(lines->names[i]), "%s", names[i]);
	lines->count = count < AA_LINES_MAX ? count : AA_LINES_MAX;
	return aa_reaper_start(lines);
}

struct aa_error *aa_kprobe_lines_add(struct aa_kprobe_lines *lines, const char *event, const char *function,
				     int *ret_fd, int *ret_errno)
{
	char line[256], name[128];
	int length;

	*ret_fd = -1;
	*ret_errno = 0;
	length = snprintf(line, sizeof(line), "r%d:%s/%s %s\n", AA_MAXACTIVE, lines->group, event, function);
	if (write(lines->events, line, (size_t)length) != length) {
		*ret_errno = errno;
		if (errno == ENOENT)
			return NULL;
		return aa_error_create(AA_ERROR_ATTACH, errno, "tracefs refused the return probe on %s: %s", function,
				       strerror(errno));
	}
	snprintf(name, sizeof(name), "%s/%s", lines->group, event);
	*ret_fd = aa_tracefs_event_open(lines->tracefs, name);
	if (*ret_fd < 0) {
		*ret_errno = errno;
		return aa_error_create(errno == EACCES || errno == EPERM ? AA_ERROR_PERMISSION : AA_ERROR_ATTACH, errno,
				       "perf_event_open of the return probe on %s: %s", function, strerror(errno));
	}
	return NULL;
}

bool aa_kprobe_lines_missed(const struct aa_kprobe_lines *lines, uint64_t *ret_missed)
{
	int fd = openat(lines->tracefs, "kprobe_profile", O_RDONLY | O_CLOEXEC);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	char *line = NULL;
	uint64_t missed = 0;
	size_t room = 0;
	bool is_whole;

	if (!file) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	/*
	 * "event hits missed"; the event's name is without its group, so another tracer's lines of the same name count
	 * too: a miss of theirs makes our trace inexact, never the other way round.
	 */
	while (getline(&line, &room, file) > 0) {
		unsigned long long hits, misses;
		char name[64];

		if (sscanf(line, "%63s %llu %llu", name, &hits, &misses) != 3)
			continue;
		for (unsigned i = 0; i < lines->count; i++)
			if (!strcmp(name, lines->names[i]))
				missed += misses;
	}
	is_whole = feof(file);
	free(line);
	fclose(file);
	*ret_missed = missed;
	return is_whole;
}

pid_t aa_kprobe_lines_reaper(const struct aa_kprobe_lines *lines)
{
	return lines ? lines->reaper : 0;
}

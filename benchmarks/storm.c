// SPDX-License-Identifier: MIT
/*
 * storm KIND COUNT FOLDER [THREADS]: says "ready", waits for a byte on stdin, then makes so many calls in each thread
 * and prints how many nanoseconds one took, all threads together, and how many of them on a processor.
 *
 *   read      one byte of a file           write     one byte, at a place
 *   open      a file that is there, and close
 *   enoent    one that is not              rename    to and fro
 *   unlink    create, write, rename, unlink (four calls)
 *   fork      a process that opens a file and ends, waited for
 *   getppid   which nobody asked for
 */
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *kind;
static long count;

struct worker {
	pthread_t thread;
	char one[PATH_MAX], other[PATH_MAX];
};

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void *run(void *argument)
{
	struct worker *worker = argument;
	const char *one = worker->one, *other = worker->other;
	int fd = open(one, O_CREAT | O_RDWR, 0600);
	char byte = 'x';

	if (fd < 0 || write(fd, &byte, 1) != 1)
		fail(one);
	for (long i = 0; i < count; i++) {
		if (!strcmp(kind, "read")) {
			if (pread(fd, &byte, 1, 0) != 1)
				fail("pread");
		} else if (!strcmp(kind, "write")) {
			if (pwrite(fd, &byte, 1, 0) != 1)
				fail("pwrite");
		} else if (!strcmp(kind, "open")) {
			int opened = open(one, O_RDONLY);

			if (opened < 0 || close(opened))
				fail("open");
		} else if (!strcmp(kind, "enoent")) {
			if (open(other, O_RDONLY) >= 0)
				fail("opened");
		} else if (!strcmp(kind, "rename")) {
			if (rename(i % 2 ? other : one, i % 2 ? one : other))
				fail("rename");
		} else if (!strcmp(kind, "fork")) {
			pid_t child = fork();

			if (child == 0)
				_exit(open(one, O_RDONLY) < 0);
			if (child < 0 || waitpid(child, NULL, 0) != child)
				fail("fork");
		} else if (!strcmp(kind, "getppid")) {
			syscall(SYS_getppid);
		} else {
			int made = open(other, O_CREAT | O_WRONLY, 0600);

			if (made < 0 || write(made, &byte, 1) != 1 || close(made) || rename(other, one) || unlink(one))
				fail("unlink");
		}
	}
	return NULL;
}

static double now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

int main(int argc, char **argv)
{
	int threads = argc > 4 ? atoi(argv[4]) : 1;
	struct worker *workers = calloc((size_t)threads, sizeof(*workers));
	double start, spent, calls;
	char go;

	if (argc < 4 || !workers)
		return 2;
	kind = argv[1];
	count = atol(argv[2]);
	puts("ready");
	fflush(stdout);
	if (read(0, &go, 1) != 1)
		return 1;
	start = now_ns(CLOCK_MONOTONIC);
	spent = now_ns(CLOCK_PROCESS_CPUTIME_ID);
	for (int i = 0; i < threads; i++) {
		snprintf(workers[i].one, PATH_MAX, "%s/one-%d", argv[3], i);
		snprintf(workers[i].other, PATH_MAX, "%s/other-%d", argv[3], i);
		if (threads == 1)
			run(&workers[i]);
		else if (pthread_create(&workers[i].thread, NULL, run, &workers[i]))
			fail("pthread_create");
	}
	for (int i = 0; threads > 1 && i < threads; i++)
		pthread_join(workers[i].thread, NULL);
	calls = (double)count * threads;
	printf("%.1f %.1f\n", (now_ns(CLOCK_MONOTONIC) - start) / calls,
	       (now_ns(CLOCK_PROCESS_CPUTIME_ID) - spent) / calls);
	return 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * Puts another file behind a descriptor while threads are reading from it, and notes what each of them really got.
 *
 * Object X holds nothing but the letter A, object Y nothing but B, so each byte tells which of the two a read was of.
 * Standard input is the log, mapped shared (struct log).
 *
 *   swap MODE SWAPS X Y
 *     fifo      two readers block on FIFOs, dup2() under them
 *     file      two readers of regular files, dup2() under them
 *     mixed     as fifo, by dup3() and by close_range() and dup2()
 *     reopen    as fifo, by close() and open(), which takes the same number again
 *     compat    as fifo, by the 32-bit dup2()
 *     process   as fifo, by another process that shares the table of descriptors
 *     open      a thread opens X and Y, another one puts a third file behind the number the open has just got
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define READERS 2
#define READS_MIN 20

struct reader_log {
	uint32_t tid;
	uint32_t count; /* of calls, and of letters */
	uint32_t at;	/* offset of the letters */
	uint32_t room;
};

struct log {
	uint32_t ready, go, stop, ended;
	uint64_t swaps;
	struct reader_log readers[READERS];
	uint32_t reads[2]; /* of A and of B */
};

static struct log *log_;
static const char *paths[2];
static int target;     /* the number that is swapped */
static int sources[2]; /* X and Y, for dup2() */
static int feeders[2]; /* for writing into them, where they are FIFOs */
static bool is_open_mode;

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	perror(what);
	_exit(90);
}

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

static bool is_set(uint32_t *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static void set(uint32_t *flag)
{
	__atomic_store_n(flag, 1, __ATOMIC_RELEASE);
}

static void note(struct reader_log *reader, char letter)
{
	if (letter == 'A' || letter == 'B')
		__atomic_add_fetch(&log_->reads[letter - 'A'], 1, __ATOMIC_RELAXED);
	((char *)log_)[reader->at + reader->count] = letter;
	__atomic_store_n(&reader->count, reader->count + 1, __ATOMIC_RELEASE);
}

static void *read_letters(void *argument)
{
	struct reader_log *reader = argument;
	char letter;
	long got;

	reader->tid = (uint32_t)gettid();
	while (!is_set(&log_->go))
		nap();
	while (!is_set(&log_->stop) && reader->count < reader->room) {
		got = syscall(SYS_read, target, &letter, 1);
		note(reader, got == 1 ? letter : got == 0 ? '0' : '-');
		if (got == 0)
			lseek(target, 0, SEEK_SET);
	}
	__atomic_add_fetch(&log_->ended, 1, __ATOMIC_ACQ_REL);
	return NULL;
}

static void *open_files(void *argument)
{
	struct reader_log *reader = argument;
	uint32_t i;

	reader->tid = (uint32_t)gettid();
	while (!is_set(&log_->go))
		nap();
	for (i = 0; !is_set(&log_->stop) && reader->count < reader->room; i++) {
		long fd = syscall(SYS_openat, AT_FDCWD, paths[i & 1], O_RDONLY);

		note(reader, fd < 0 ? '-' : (char)('A' + (i & 1)));
		if (fd >= 0)
			close((int)fd);
	}
	__atomic_add_fetch(&log_->ended, 1, __ATOMIC_ACQ_REL);
	return NULL;
}

static int compat_dup2(int from, int to)
{
	int result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(63), "b"(from), "c"(to) : "r8", "r9", "r10", "r11", "memory");
	return result;
}

static void swap_once(const char *mode, uint64_t i)
{
	int from = sources[i & 1], fd;

	if (!strcmp(mode, "open")) {
		/* EBUSY while the number is being given out: that is the moment wanted. */
		dup2(sources[0], target);
	} else if (!strcmp(mode, "compat")) {
		must(compat_dup2(from, target) == target, "int 0x80 dup2");
	} else if (!strcmp(mode, "reopen")) {
		close(target);
		fd = open(paths[i & 1], O_RDWR);
		must(fd == target, "open of the same number");
	} else if (!strcmp(mode, "mixed") && i % 3 == 0) {
		must(dup3(from, target, O_CLOEXEC) == target, "dup3");
	} else if (!strcmp(mode, "mixed") && i % 3 == 1) {
		must(syscall(SYS_close_range, target, target, 0) == 0, "close_range");
		must(dup2(from, target) == target, "dup2");
	} else {
		must(dup2(from, target) == target, "dup2");
	}
}

static void feed(int which)
{
	char letter = (char)('A' + which);

	if (feeders[which] >= 0 && write(feeders[which], &letter, 1) < 0)
		must(errno == EAGAIN, "write");
}

static bool is_met(int which)
{
	return __atomic_load_n(&log_->reads[which], __ATOMIC_RELAXED) >= READS_MIN;
}

static void swap(const char *mode, uint64_t swaps)
{
	uint64_t random = 88172645463325252u, i;

	while (!is_set(&log_->go))
		nap();
	/* At least so many, and on until readers have met both: on one busy processor they may come late. */
	for (i = 0; i < swaps || !is_met(0) || !is_met(1); i++) {
		swap_once(mode, i);
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		if (random % 4 < 2)
			feed((int)(random % 4));
		/* So that readers block again and are somewhere else each time. */
		if (random % 64 == 5)
			sched_yield();
		log_->swaps++;
		/* Now and then for certain: readers wait in one, the other takes its place, and then the first has
		 * something. */
		if (i % (swaps / 32 + 1) == 0) {
			nap();
			swap_once(mode, ++i);
			log_->swaps++;
			feed(0);
			feed(1);
			nap();
		}
	}
	set(&log_->stop);
	while (__atomic_load_n(&log_->ended, __ATOMIC_ACQUIRE) < (is_open_mode ? 1 : READERS)) {
		feed(0);
		feed(1);
		nap();
	}
}

int main(int argc, char **argv)
{
	pthread_t threads[READERS];
	int count, i;
	struct stat stat;
	uint64_t swaps;
	bool is_fifo;
	pid_t child = 0;

	must(argc == 5 && fstat(STDIN_FILENO, &stat) == 0, "arguments");
	swaps = strtoull(argv[2], NULL, 10);
	log_ = mmap(NULL, (size_t)stat.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, STDIN_FILENO, 0);
	must(log_ != MAP_FAILED, "mmap");
	is_open_mode = !strcmp(argv[1], "open");
	is_fifo = !is_open_mode && strcmp(argv[1], "file") != 0;
	for (i = 0; i < 2; i++) {
		paths[i] = argv[3 + i];
		sources[i] = open(is_open_mode ? "/dev/null" : paths[i], O_RDWR);
		feeders[i] = is_fifo ? open(paths[i], O_WRONLY | O_NONBLOCK) : -1;
		must(sources[i] >= 0 && (!is_fifo || feeders[i] >= 0), paths[i]);
	}
	/* The lowest free number: the one that the next open gets. */
	target = dup(sources[0]);
	must(target >= 0, "dup");
	if (is_open_mode)
		close(target);
	count = is_open_mode ? 1 : READERS;
	for (i = 0; i < count; i++) {
		log_->readers[i].room = (uint32_t)(((size_t)stat.st_size - sizeof(*log_)) / READERS);
		log_->readers[i].at = (uint32_t)(sizeof(*log_) + (size_t)i * log_->readers[i].room);
		must(!pthread_create(&threads[i], NULL, is_open_mode ? open_files : read_letters, &log_->readers[i]),
		     "pthread_create");
	}
	if (!strcmp(argv[1], "process")) {
		child = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
		must(child >= 0, "clone");
		if (child == 0) {
			swap(argv[1], swaps);
			_exit(0);
		}
	}
	set(&log_->ready);
	if (!child)
		swap(argv[1], swaps);
	for (i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	if (child)
		must(waitpid(child, &i, 0) == child && i == 0, "the swapping process");
	_exit(0);
}

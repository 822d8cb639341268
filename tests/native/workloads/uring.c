// SPDX-License-Identifier: MIT
/*
 * A user of io_uring by liburing, which knows nothing of this project: makes files, writes them, reads them back and
 * removes half of them, and says how many requests of each kind were completed and how many bytes they moved.
 *
 *   uring FOLDER FILES [sqpoll]
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPENAT, WRITE, WRITEV, READ, READV, FSYNC, STATX, RENAMEAT, UNLINKAT, MKDIRAT, CLOSE, KINDS };

static const char *const names[KINDS] = { "OPENAT", "WRITE",	"WRITEV",   "READ",    "READV", "FSYNC",
					  "STATX",  "RENAMEAT", "UNLINKAT", "MKDIRAT", "CLOSE" };
static unsigned long calls[KINDS], errors[KINDS], bytes[KINDS];
static struct io_uring ring;
static struct io_uring_sqe *last;
static unsigned waiting;

static struct io_uring_sqe *entry(int kind)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	if (!sqe)
		exit(3);
	waiting++;
	sqe->user_data = (unsigned long)kind;
	return sqe;
}

/* The preparing functions of liburing 2.3 leave the user data alone; 2.4's clear it. */
#define ADD(kind, how, ...)                                                                                            \
	do {                                                                                                           \
		struct io_uring_sqe *sqe = entry(kind);                                                                \
		io_uring_prep_##how(sqe, __VA_ARGS__);                                                                 \
		io_uring_sqe_set_data64(sqe, (unsigned long)(kind));                                                   \
		last = sqe;                                                                                            \
	} while (0)

/* Submits what waits, and counts what came of it; the last result. */
static int done(void)
{
	int result = 0;

	if (io_uring_submit(&ring) < 0)
		exit(4);
	for (; waiting; waiting--) {
		struct io_uring_cqe *cqe;
		unsigned long kind;

		if (io_uring_wait_cqe(&ring, &cqe))
			exit(5);
		kind = cqe->user_data;
		result = cqe->res;
		io_uring_cqe_seen(&ring, cqe);
		calls[kind]++;
		errors[kind] += result < 0;
		if (result > 0 && (kind == WRITE || kind == WRITEV || kind == READ || kind == READV))
			bytes[kind] += (unsigned long)result;
	}
	return result;
}

static void one_file(const char *folder, int number)
{
	static char content[8192], into[8192];
	unsigned length = 1 + (unsigned)number * 37 % 5000;
	struct iovec parts[2] = { { content, 10 + (unsigned)number % 7 }, { content + 100, length } };
	struct iovec back[2] = { { into, 5 }, { into + 5, sizeof(into) - 5 } };
	char name[512], other[512];
	struct statx status;
	int fd;

	snprintf(name, sizeof(name), "%s/file-%d", folder, number);
	snprintf(other, sizeof(other), "%s/other-%d", folder, number);
	ADD(OPENAT, openat, AT_FDCWD, other, O_RDONLY, 0);
	done();
	ADD(OPENAT, openat, AT_FDCWD, name, O_RDWR | O_CREAT | O_EXCL, 0600);
	fd = done();
	if (fd < 0)
		exit(6);
	ADD(WRITE, write, fd, content, length, 0);
	last->flags |= IOSQE_IO_LINK;
	ADD(WRITEV, writev, fd, parts, 2, length);
	last->flags |= IOSQE_IO_LINK;
	ADD(FSYNC, fsync, fd, IORING_FSYNC_DATASYNC);
	last->flags |= IOSQE_IO_LINK;
	ADD(READV, readv, fd, back, 2, 3);
	done();
	ADD(READ, read, fd, into, sizeof(into), 0);
	ADD(READ, read, fd, into, sizeof(into), 1 << 20);
	ADD(STATX, statx, AT_FDCWD, name, 0, STATX_SIZE, &status);
	done();
	ADD(RENAMEAT, renameat, AT_FDCWD, name, AT_FDCWD, other, 0);
	done();
	ADD(CLOSE, close, fd);
	if (number % 2)
		ADD(UNLINKAT, unlinkat, AT_FDCWD, other, 0);
	done();
}

int main(int count, char **arguments)
{
	char folder[400];

	if (count < 3 || io_uring_queue_init(32, &ring, count > 3 ? IORING_SETUP_SQPOLL : 0))
		return 2;
	snprintf(folder, sizeof(folder), "%s/made", arguments[1]);
	ADD(MKDIRAT, mkdirat, AT_FDCWD, folder, 0700);
	if (done())
		return 6;
	for (int number = 0; number < atoi(arguments[2]); number++)
		one_file(folder, number);
	for (int kind = 0; kind < KINDS; kind++)
		printf("%s %lu %lu %lu\n", names[kind], calls[kind], errors[kind], bytes[kind]);
	return 0;
}

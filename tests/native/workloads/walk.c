/* SPDX-License-Identifier: MIT */
/*
 * Threads with one table of descriptors that open, read and close each its own files, and hurry: a number that one
 * closes is at once another one's. None ever uses a descriptor that it has not been given, or has closed.
 *
 *   walk THREADS ROUNDS   (in a folder with files THREAD-FILE, each of which has its name in it)
 *
 * Exit status 1: a file that was opened is not the one that was asked for.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define FILES 16

static int rounds;
static _Atomic int wrong;

/*
 * Numbers that no open gave: they, too, are somebody's a moment later. No copies of one and the same file: where two
 * are closed at once under one number, nobody can tell a close that has not returned from one that comes.
 */
static void churn(int round)
{
	int pair[2];

	switch (round % 8) {
	case 0:
		close(eventfd(0, EFD_CLOEXEC));
		break;
	case 1:
		close(socket(AF_UNIX, SOCK_STREAM, 0));
		break;
	case 2:
		if (pipe2(pair, O_CLOEXEC))
			abort();
		close(pair[0]);
		close(pair[1]);
		break;
	case 3:
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
			abort();
		close(pair[0]);
		close(pair[1]);
		break;
	}
}

static void *walk(void *argument)
{
	char name[32], text[32];
	int round, fd;
	ssize_t bytes;

	for (round = 0; round < rounds; round++) {
		snprintf(name, sizeof(name), "%d-%d", (int)(intptr_t)argument, round % FILES);
		fd = open(name, O_RDONLY | O_CLOEXEC);
		bytes = read(fd, text, sizeof(text));
		if (bytes != (ssize_t)strlen(name) || memcmp(text, name, (size_t)bytes))
			atomic_store(&wrong, 1);
		close(fd);
		churn(round);
	}
	return NULL;
}

int main(int count, char **arguments)
{
	pthread_t threads[64];
	int number = count == 3 ? atoi(arguments[1]) : 0, i;

	if (number < 1 || number > 64)
		return 2;
	rounds = atoi(arguments[2]);
	for (i = 0; i < number; i++)
		if (pthread_create(&threads[i], NULL, walk, (void *)(intptr_t)i))
			return 2;
	for (i = 0; i < number; i++)
		pthread_join(threads[i], NULL);
	return wrong;
}

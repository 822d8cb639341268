// SPDX-License-Identifier: MIT
/*
 * busy FOLDER WORKERS ROUNDS READS: so many processes at once, more than there are processors, each in a folder that is
 * named by its pid. A round makes a file, writes and reads it, renames and removes it; a second thread reads all the
 * while. Stops itself before the first traced call, to be attached to. Ends with 0 if every call did what it should.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static long rounds, reads;

static void *read_on(void *path)
{
	int fd = open(path, O_RDONLY);
	char byte;

	for (long i = 0; i < reads; i++)
		if (pread(fd, &byte, 1, i & 7) != 1)
			_exit(3);
	return NULL;
}

static void work_once(const char *folder, long round)
{
	char path[256], renamed[256], text[9];
	int fd;

	snprintf(path, sizeof(path), "%s/%d/a%ld", folder, getpid(), round);
	snprintf(renamed, sizeof(renamed), "%s/%d/b%ld", folder, getpid(), round);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	for (int i = 0; i < 3; i++)
		if (write(fd, "xyz", 3) != 3)
			_exit(4);
	for (int i = 0; i < 2; i++)
		if (pread(fd, text, sizeof(text), 0) != 9)
			_exit(5);
	if (close(fd) || rename(path, renamed) || unlink(renamed))
		_exit(6);
}

static void work(const char *folder)
{
	pthread_t reader;
	char path[256];

	snprintf(path, sizeof(path), "%s/%d", folder, getpid());
	if (mkdir(path, 0700))
		_exit(7);
	snprintf(path, sizeof(path), "%s/file", folder);
	if (pthread_create(&reader, NULL, read_on, path))
		_exit(8);
	for (long round = 0; round < rounds; round++)
		work_once(folder, round);
	if (pthread_join(reader, NULL))
		_exit(9);
	_exit(0);
}

int main(int count, char **arguments)
{
	int workers = count == 5 ? atoi(arguments[2]) : 0, status, failed = !workers;

	if (!workers)
		return 2;
	rounds = atol(arguments[3]);
	reads = atol(arguments[4]);
	raise(SIGSTOP);
	for (int i = 0; i < workers; i++)
		if (!fork())
			work(arguments[1]);
	while (wait(&status) > 0)
		failed |= status != 0;
	return failed;
}

// SPDX-License-Identifier: MIT
/* dead_leader FILE: the first thread ends, another reads FILE until the process is killed. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static void *read_on(void *name)
{
	char byte;

	for (;;) {
		int fd = open(name, O_RDONLY);

		if (fd < 0 || read(fd, &byte, 1) < 0)
			return NULL;
		close(fd);
		usleep(50000);
	}
}

int main(int argc, char **argv)
{
	pthread_t thread;

	if (argc != 2 || pthread_create(&thread, NULL, read_on, argv[1]))
		return 2;
	puts("ready");
	fflush(stdout);
	pthread_exit(NULL);
}

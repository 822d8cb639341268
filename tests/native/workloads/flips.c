/* SPDX-License-Identifier: MIT */
/*
 * A thread writes over what a call reads from memory, or exchanges a descriptor, while another one makes the call. What
 * the kernel took is asked of it afterwards: the file `out` has a letter for each call, and "?" where that cannot be
 * told.
 *
 *   flips MODE CALLS FOLDER [SOCKET]
 *     bind       the family of an address: m, a file was made; -, none was
 *     how        struct open_how: t, the file was truncated; r, it was only read
 *     map        what is behind a descriptor: w, the shared mapping can be made writable; r, it cannot
 *     mkdir, unlink, rename, symlink, truncate, exec     one letter of the name: a or b
 *     connect    the family of an address: c, it is connected to SOCKET; -, it is not
 *     send       the type of control data: g, a descriptor was given away; -, none was
 *     receive    where the control data goes: g, a descriptor has come; -, none has
 *     late       no second look: the name of an unlink, in a page that nobody has touched, changes once the file is
 * gone later      the second message of a sendmmsg() is changed while the first one waits, and again while the third
 * does long       CALLS threads wait in open() of a name of 600 bytes; then 50 calls of each kind by other long names
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAMES 4096

static volatile bool stop;
static int calls;
static char *letters;

static void must(bool holds, const char *what)
{
	if (!holds) {
		perror(what);
		exit(2);
	}
}

static void pass(int rounds)
{
	for (volatile int i = 0; i < rounds; i++)
		;
}

/* What is written over, from one value to the other. */
static volatile unsigned char *flipped;
static unsigned char values[2][8];
static size_t width = 1;
static volatile unsigned turns;

/* Before each call: so that neither thread has the processor for all of it. */
static bool goes_on(int call)
{
	if (call % 200 == 0)
		sched_yield();
	return call < calls;
}

static void *flip(void *unused)
{
	(void)unused;
	for (unsigned turn = 0; !stop; turn++) {
		if (width == 8)
			*(volatile uint64_t *)flipped = *(uint64_t *)values[turn & 1];
		else
			*flipped = values[turn & 1][0];
		pass(turn & 1 ? 40 : 23);
		turns = turn;
	}
	return NULL;
}

static pthread_t flip_byte(volatile void *at, unsigned char one, unsigned char two)
{
	pthread_t thread;

	flipped = at;
	values[0][0] = one;
	values[1][0] = two;
	must(!pthread_create(&thread, NULL, flip, NULL), "pthread_create");
	while (turns < 1000)
		sched_yield();
	return thread;
}

static pthread_t flip_word(volatile void *at, uint64_t one, uint64_t two)
{
	width = 8;
	memcpy(values[1], &two, 8);
	pthread_t thread;

	flipped = at;
	memcpy(values[0], &one, 8);
	must(!pthread_create(&thread, NULL, flip, NULL), "pthread_create");
	while (turns < 1000)
		sched_yield();
	return thread;
}

static void end(pthread_t thread)
{
	stop = true;
	pthread_join(thread, NULL);
}

static void flip_bind(void)
{
	static struct sockaddr_un address = { .sun_family = AF_UNIX };
	pthread_t thread = flip_byte(&address.sun_family, AF_INET, AF_UNIX);

	for (int i = 0; goes_on(i); i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);

		sprintf(address.sun_path, "s%d", i);
		letters[i] = syscall(SYS_bind, fd, &address, sizeof(address)) ? '-' : 'm';
		close(fd);
		unlink(address.sun_path);
	}
	end(thread);
}

static void flip_how(void)
{
	static struct open_how how;
	int file = open("file", O_CREAT | O_RDWR, 0600);
	pthread_t thread = flip_word(&how.flags, O_RDONLY, O_RDWR | O_TRUNC);

	for (int i = 0; goes_on(i); i++) {
		struct stat status;
		int fd, access;

		must(pwrite(file, "x", 1, 0) == 1, "pwrite");
		fd = (int)syscall(SYS_openat2, AT_FDCWD, "file", &how, sizeof(how));
		fstat(file, &status);
		access = fcntl(fd, F_GETFL) & O_ACCMODE;
		letters[i] = (access == O_RDWR) != !status.st_size ? '?' : status.st_size ? 'r' : 't';
		close(fd);
	}
	end(thread);
}

static int only_read, writable;

static void *exchange(void *unused)
{
	(void)unused;
	while (!stop) {
		dup2(only_read, 50);
		dup2(writable, 50);
	}
	return NULL;
}

static void flip_map(void)
{
	pthread_t thread;

	writable = open("file", O_CREAT | O_RDWR, 0600);
	must(!ftruncate(writable, 4096 * 300), "ftruncate");
	only_read = open("file", O_RDONLY);
	dup2(only_read, 50);
	must(!pthread_create(&thread, NULL, exchange, NULL), "pthread_create");
	for (int i = 0; goes_on(i); i++) {
		size_t bytes = 4096 * (size_t)(i + 1);
		void *at = mmap(NULL, bytes, PROT_READ, MAP_SHARED, 50, 0);

		letters[i] = at == MAP_FAILED ? '?' : mprotect(at, 4096, PROT_READ | PROT_WRITE) ? 'r' : 'w';
		munmap(at, bytes);
	}
	end(thread);
}

static void make(const char *name)
{
	int fd = open(name, O_CREAT | O_WRONLY, 0600);

	must(fd >= 0 && write(fd, "x", 1) == 1, name);
	close(fd);
}

static char act(const char *mode, const char *name)
{
	struct stat status;
	pid_t child;
	int code;

	if (!strcmp(mode, "mkdir")) {
		mkdir(name, 0700);
		return !rmdir("a") ? 'a' : !rmdir("b") ? 'b' : '?';
	}
	if (!strcmp(mode, "symlink")) {
		must(!symlink("target", name), "symlink");
		return !unlink("a") ? 'a' : !unlink("b") ? 'b' : '?';
	}
	if (!strcmp(mode, "exec")) {
		child = vfork();
		if (!child) {
			execve(name, (char *[]){ "x", NULL }, (char *[]){ NULL });
			_exit(9);
		}
		waitpid(child, &code, 0);
		return WEXITSTATUS(code) == 1 ? 'a' : WEXITSTATUS(code) == 2 ? 'b' : '?';
	}
	make("a");
	make("b");
	if (!strcmp(mode, "truncate")) {
		must(!truncate(name, 0), "truncate");
		return !stat("a", &status) && !status.st_size ? 'a' : 'b';
	}
	if (!strcmp(mode, "rename"))
		must(!rename(name, "moved"), "rename");
	else
		must(!unlink(name), "unlink");
	return access("a", F_OK) ? 'a' : access("b", F_OK) ? 'b' : '?';
}

static void flip_name(const char *mode)
{
	static char name[8] = "a", program[8] = "./a";
	bool is_exec = !strcmp(mode, "exec");
	pthread_t thread = flip_byte(is_exec ? program + 2 : name, 'b', 'a');

	for (int i = 0; goes_on(i); i++)
		letters[i] = act(mode, is_exec ? program : name);
	end(thread);
}

static void flip_connect(const char *path)
{
	static struct sockaddr_un address = { .sun_family = AF_UNIX };
	pthread_t thread = flip_byte(&address.sun_family, AF_INET, AF_UNIX);

	strcpy(address.sun_path, path);
	for (int i = 0; goes_on(i); i++) {
		int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

		letters[i] = syscall(SYS_connect, fd, &address, sizeof(address)) ? '-' : 'c';
		close(fd);
	}
	end(thread);
}

struct post {
	struct msghdr head;
	struct iovec part;
	char byte;
	char control[2][64] __attribute__((aligned(8)));
};

/* A message with a descriptor, or of as much room. */
static void write_post(struct post *post, int fd)
{
	struct cmsghdr *first = (void *)post->control[0];

	*post = (struct post){ .part = { &post->byte, 1 } };
	post->head = (struct msghdr){ .msg_iov = &post->part, .msg_iovlen = 1, .msg_control = post->control[0] };
	post->head.msg_controllen = fd < 0 ? 64 : CMSG_LEN(4);
	if (fd < 0)
		return;
	*first = (struct cmsghdr){ CMSG_LEN(4), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(first), &fd, 4);
}

static char comes(int socket)
{
	struct post post;
	int fd;

	write_post(&post, -1);
	if (recvmsg(socket, &post.head, 0) != 1 || !post.head.msg_controllen)
		return '-';
	memcpy(&fd, CMSG_DATA((struct cmsghdr *)post.control[0]), 4);
	close(fd);
	return 'g';
}

static void flip_send(void)
{
	int fd = open("file", O_CREAT | O_RDWR, 0600), pair[2];
	static struct post post;
	struct cmsghdr *first = (void *)post.control[0];
	pthread_t thread;

	must(!socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), "socketpair");
	write_post(&post, fd);
	/* An unknown level is passed over. */
	thread = flip_byte(&first->cmsg_level, 200, SOL_SOCKET);
	for (int i = 0; goes_on(i); i++)
		letters[i] = syscall(SYS_sendmsg, pair[0], &post.head, 0) == 1 ? comes(pair[1]) : '?';
	end(thread);
}

static void flip_receive(void)
{
	int fd = open("file", O_CREAT | O_RDWR, 0600), pair[2];
	static struct post post, sent;
	pthread_t thread;

	must(!socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), "socketpair");
	write_post(&sent, fd);
	write_post(&post, -1);
	thread = flip_word(&post.head.msg_control, (uint64_t)post.control[1], (uint64_t)post.control[0]);
	for (int i = 0; goes_on(i); i++) {
		memset(post.control, 0, sizeof(post.control));
		post.head.msg_controllen = 64;
		must(sendmsg(pair[0], &sent.head, 0) == 1, "sendmsg");
		must(syscall(SYS_recvmsg, pair[1], &post.head, 0) == 1, "recvmsg");
		letters[i] = '-';
		for (int k = 0; k < 2; k++)
			if (((struct cmsghdr *)post.control[k])->cmsg_type == SCM_RIGHTS) {
				letters[i] = 'g';
				memcpy(&fd, CMSG_DATA((struct cmsghdr *)post.control[k]), 4);
				close(fd);
			}
	}
	end(thread);
}

static char *page, victim[NAMES], decoy[NAMES];

static void *write_decoy(void *unused)
{
	struct stat status;

	(void)unused;
	while (!stat(victim, &status))
		;
	strcpy(page, decoy);
	return NULL;
}

/* The kernel frees the pages of a large file after it has gone and before the call returns. */
static void late(const char *folder)
{
	static char big[1 << 20], text[NAMES];
	pthread_t thread;
	int fd, names;

	snprintf(victim, NAMES, "%s/victim", folder);
	snprintf(decoy, NAMES, "%s/decoy", folder);
	fd = open(victim, O_CREAT | O_RDWR, 0600);
	memset(big, 1, sizeof(big));
	for (int i = 0; i < calls; i++)
		must(write(fd, big, sizeof(big)) == sizeof(big), "write");
	close(fd);
	make("decoy");
	strcpy(text, victim);
	names = open("names", O_CREAT | O_RDWR, 0600);
	must(write(names, text, NAMES) == NAMES, "write");
	page = mmap(NULL, NAMES, PROT_READ | PROT_WRITE, MAP_PRIVATE, names, 0);
	must(!pthread_create(&thread, NULL, write_decoy, NULL), "pthread_create");
	usleep(1000);
	unlink(page);
	pthread_join(thread, NULL);
	letters[0] = access("decoy", F_OK) ? 'b' : 'a';
	calls = 1;
}

static struct mmsghdr messages[3];
static struct post posts[3];
static int pair_[2];
static char block[4000];

/* The sender waits: there is room for one message at a time. */
static void take_one(void)
{
	char bytes[sizeof(block)];

	usleep(100000);
	must(recv(pair_[1], bytes, sizeof(bytes), 0) > 0, "recv");
}

static void *change_later(void *unused)
{
	(void)unused;
	usleep(100000);
	messages[1].msg_hdr.msg_controllen = CMSG_LEN(4);
	take_one();
	take_one();
	take_one();
	messages[1].msg_hdr.msg_controllen = 0;
	take_one();
	return NULL;
}

static void later(void)
{
	int fd = open("file", O_CREAT | O_RDWR, 0600), least = 1;
	pthread_t thread;

	must(!socketpair(AF_UNIX, SOCK_DGRAM, 0, pair_), "socketpair");
	must(!setsockopt(pair_[0], SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)), "setsockopt");
	for (int i = 0; i < 3; i++) {
		write_post(&posts[i], fd);
		posts[i].part = (struct iovec){ block, sizeof(block) };
		messages[i].msg_hdr = posts[i].head;
		messages[i].msg_hdr.msg_controllen = 0;
	}
	must(send(pair_[0], block, sizeof(block), 0) == sizeof(block), "send");
	must(!pthread_create(&thread, NULL, change_later, NULL), "pthread_create");
	letters[0] = syscall(SYS_sendmmsg, pair_[0], messages, 3, 0) == 3 ? 'g' : '?';
	pthread_join(thread, NULL);
	calls = 1;
}

static char fifo[NAMES];

static void *wait_in_open(void *unused)
{
	(void)unused;
	open(fifo, O_RDONLY);
	return NULL;
}

static void deeper(char *folder, char letter)
{
	size_t bytes = strlen(folder);

	folder[bytes] = '/';
	memset(folder + bytes + 1, letter, 200);
	folder[bytes + 201] = 0;
	must(!mkdir(folder, 0700), "mkdir");
}

static void long_names(const char *home)
{
	static char folder[NAMES], one[2 * NAMES], two[2 * NAMES];
	pthread_t thread;

	strcpy(folder, home);
	deeper(folder, 'd');
	deeper(folder, 'e');
	snprintf(fifo, NAMES, "%.3000s/fifo", folder);
	must(!mkfifo(fifo, 0600), "mkfifo");
	for (int i = 0; i < calls; i++)
		must(!pthread_create(&thread, NULL, wait_in_open, NULL), "pthread_create");
	usleep(500000);
	for (int i = 0; i < 50; i++) {
		snprintf(one, sizeof(one), "%s/%0200d", folder, i);
		snprintf(two, sizeof(two), "%s/%0201d", folder, i);
		open(one, O_RDONLY);
		make(one);
		rename(one, two);
		unlink(two);
	}
	calls = 0;
}

int main(int count, char **words)
{
	const char *mode = words[1];
	int fd;

	if (count < 4)
		return 2;
	calls = atoi(words[2]);
	letters = calloc(1, (size_t)calls + 1);
	must(!chdir(words[3]), "chdir");
	if (!strcmp(mode, "bind"))
		flip_bind();
	else if (!strcmp(mode, "how"))
		flip_how();
	else if (!strcmp(mode, "map"))
		flip_map();
	else if (!strcmp(mode, "connect"))
		flip_connect(words[4]);
	else if (!strcmp(mode, "send"))
		flip_send();
	else if (!strcmp(mode, "receive"))
		flip_receive();
	else if (!strcmp(mode, "late"))
		late(words[3]);
	else if (!strcmp(mode, "later"))
		later();
	else if (!strcmp(mode, "long"))
		long_names(words[3]);
	else
		flip_name(mode);
	fd = open("out", O_CREAT | O_WRONLY | O_TRUNC, 0600);
	must(write(fd, letters, (size_t)calls) == calls, "write");
	_exit(0);
}

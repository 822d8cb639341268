// SPDX-License-Identifier: MIT
/*
 * LD_PRELOAD: lets calls of the product fail, chosen by number, and leaves those of everybody else alone: what counts
 * is from where a call comes. The test sets the words below by name (tests/native/failing.py).
 */
#include <dlfcn.h>
#include <errno.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As in failing.py. */
enum {
	FAIL_NOTHING,
	FAIL_BPF,
	FAIL_PERF_EVENT_OPEN,
	FAIL_PIDFD_OPEN,
	FAIL_MMAP,
	FAIL_EPOLL,
	FAIL_EVENTFD,
	FAIL_THREAD,
	FAIL_MEMORY,
};

#define RANGES 8

/* Code whose calls are meant: the extension and libbpf. */
uintptr_t fail_from[RANGES], fail_to[RANGES];
int fail_what, fail_errno;
long fail_first, fail_last;	  /* numbers of the calls that fail, from 1 on */
int fail_command = -1;		  /* of bpf(2): this one alone */
char fail_name[BPF_OBJ_NAME_LEN]; /* of a map or program that is made: this one alone, if not "" */
int fail_attach_type = -1;	  /* of a link that is made: this one alone */
long fail_bytes;		  /* of memory: no less than this */
int fail_is_held;		  /* memory: instead of failing the call waits while this is not 0 */
atomic_long fail_seen;		  /* calls that were meant */
atomic_long fail_done;		  /* calls that failed, or wait */

static bool is_meant(int what, const void *caller)
{
	if (fail_what != what)
		return false;
	for (int i = 0; i < RANGES && fail_from[i]; i++)
		if ((uintptr_t)caller >= fail_from[i] && (uintptr_t)caller < fail_to[i])
			return true;
	return false;
}

static bool fails(int what, const void *caller)
{
	long number;

	if (!is_meant(what, caller))
		return false;
	number = atomic_fetch_add(&fail_seen, 1) + 1;
	if (number < fail_first || number > fail_last)
		return false;
	atomic_fetch_add(&fail_done, 1);
	errno = fail_errno;
	return true;
}

#define REAL(name)                                                                                                     \
	static __typeof__(&(name)) real_##name;                                                                        \
	if (!real_##name)                                                                                              \
	real_##name = (__typeof__(&(name)))dlsym(RTLD_NEXT, #name)

static bool is_meant_of_bpf(long command, const union bpf_attr *attr)
{
	if (fail_command >= 0 && command != fail_command)
		return false;
	if (fail_name[0] && command == BPF_MAP_CREATE && strncmp(attr->map_name, fail_name, sizeof(fail_name)) != 0)
		return false;
	if (fail_name[0] && command == BPF_PROG_LOAD && strncmp(attr->prog_name, fail_name, sizeof(fail_name)) != 0)
		return false;
	return fail_attach_type < 0 || command != BPF_LINK_CREATE ||
	       attr->link_create.attach_type == (unsigned)fail_attach_type;
}

long syscall(long number, ...)
{
	const void *caller = __builtin_return_address(0);
	va_list list;
	long words[6];

	REAL(syscall);
	va_start(list, number);
	for (int i = 0; i < 6; i++)
		words[i] = va_arg(list, long);
	va_end(list);
	if (number == SYS_bpf && is_meant_of_bpf(words[0], (const union bpf_attr *)words[1]) && fails(FAIL_BPF, caller))
		return -1;
	if (number == SYS_perf_event_open && fails(FAIL_PERF_EVENT_OPEN, caller))
		return -1;
	if (number == SYS_pidfd_open && fails(FAIL_PIDFD_OPEN, caller))
		return -1;
	return real_syscall(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	if (fails(FAIL_MMAP, __builtin_return_address(0)))
		return MAP_FAILED;
	/* Not by dlsym(), which may map. */
	return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	if (fails(FAIL_MMAP, __builtin_return_address(0)))
		return MAP_FAILED;
	return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}

int epoll_create1(int flags)
{
	REAL(epoll_create1);
	return fails(FAIL_EPOLL, __builtin_return_address(0)) ? -1 : real_epoll_create1(flags);
}

int epoll_ctl(int epfd, int operation, int fd, struct epoll_event *event)
{
	REAL(epoll_ctl);
	return fails(FAIL_EPOLL, __builtin_return_address(0)) ? -1 : real_epoll_ctl(epfd, operation, fd, event);
}

int epoll_wait(int epfd, struct epoll_event *events, int count, int timeout)
{
	REAL(epoll_wait);
	return fails(FAIL_EPOLL, __builtin_return_address(0)) ? -1 : real_epoll_wait(epfd, events, count, timeout);
}

int eventfd(unsigned int value, int flags)
{
	REAL(eventfd);
	return fails(FAIL_EVENTFD, __builtin_return_address(0)) ? -1 : real_eventfd(value, flags);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument)
{
	REAL(pthread_create);
	return fails(FAIL_THREAD, __builtin_return_address(0)) ? fail_errno :
								 real_pthread_create(thread, attributes, run, argument);
}

/* ---- memory: the C library's own functions under their other names ---- */

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);

static bool memory_fails(size_t bytes, const void *caller)
{
	if ((long)bytes < fail_bytes)
		return false;
	if (!fails(FAIL_MEMORY, caller))
		return false;
	if (!*(volatile int *)&fail_is_held)
		return true;
	while (*(volatile int *)&fail_is_held)
		usleep(1000);
	return false;
}

void *malloc(size_t bytes)
{
	return memory_fails(bytes, __builtin_return_address(0)) ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
	return memory_fails(count * bytes, __builtin_return_address(0)) ? NULL : __libc_calloc(count, bytes);
}

void *realloc(void *memory, size_t bytes)
{
	return memory_fails(bytes, __builtin_return_address(0)) ? NULL : __libc_realloc(memory, bytes);
}

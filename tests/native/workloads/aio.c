// SPDX-License-Identifier: MIT
/*
 * Submits what a plan says by io_submit(): see ../aio.py, which writes the plan and reads what came of it.
 *
 *   aio PLAN   (mapped at BASE, so that whoever writes it knows the addresses of its requests and buffers)
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define BASE ((void *)0x90000000) /* a 32-bit program could name it too */

enum step_kind {
	STEP_END,
	STEP_SUBMIT, /* number of requests, address of the array, whether by the 32-bit table: arguments[0 … 2] */
	STEP_REAP,   /* waits for so many completions */
	STEP_CALL,   /* number and five arguments */
	STEP_HOLD,   /* says so, and waits for a go */
	STEP_FORK,   /* the child does what follows, with a context of its own; the parent waits for it and ends */
	STEP_THREAD, /* from now on another thread puts descriptor arguments[0] and [1] over [2] in turn */
};

struct step {
	uint64_t kind;
	uint64_t arguments[6];
	int64_t result;
};

struct plan {
	_Atomic uint32_t ready, go;
	uint64_t requests; /* the context is made for so many */
	uint64_t compat_context;
	struct step steps[];
};

/* A request's data is the address where the result of its completion goes. */
static void reap(aio_context_t context, struct step *step)
{
	struct io_event events[64];
	uint64_t left = step->arguments[0];

	while (left) {
		long got = syscall(SYS_io_getevents, context, 1, left < 64 ? left : 64, events, NULL);

		if (got < 0) {
			step->result = -errno;
			return;
		}
		for (long i = 0; i < got; i++)
			*(int64_t *)(uintptr_t)events[i].data = events[i].res;
		left -= (uint64_t)got;
		step->result += got;
	}
}

static long compat_call(int result, uint64_t first, uint64_t second, uint64_t third)
{
	__asm__ volatile("int $0x80"
			 : "+a"(result)
			 : "b"((uint32_t)first), "c"((uint32_t)second), "d"((uint32_t)third)
			 : "r8", "r9", "r10", "r11", "memory");
	return result;
}

/* How often the other thread has put a descriptor over the third; 0: there is none. */
static _Atomic uint64_t turns;

static void *duplicate(void *of)
{
	struct step *step = of;

	for (;; turns++)
		syscall(SYS_dup2, step->arguments[turns & 1], step->arguments[2]);
	return NULL;
}

/* On a busy machine this thread would else have made all its calls before the other one had its turn. */
static void await_turn(void)
{
	uint64_t seen = turns;

	while (seen && turns == seen)
		sched_yield();
}

static aio_context_t setup(struct plan *plan)
{
	aio_context_t context = 0;

	if (syscall(SYS_io_setup, plan->requests, &context))
		exit(3);
	return context;
}

int main(int count, char **arguments)
{
	int fd = count == 2 ? open(arguments[1], O_RDWR) : -1;
	aio_context_t context;
	struct stat status;
	struct plan *plan;

	if (fd < 0 || fstat(fd, &status))
		return 2;
	plan = mmap(BASE, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, 0);
	close(fd);
	if (plan == MAP_FAILED)
		return 2;
	context = setup(plan);
	for (struct step *step = plan->steps; step->kind != STEP_END; step++) {
		uint64_t *with = step->arguments;
		pthread_t thread;
		int child;

		switch (step->kind) {
		case STEP_SUBMIT:
			await_turn();
			if (with[2]) {
				if (!plan->compat_context &&
				    compat_call(245, plan->requests, (uintptr_t)&plan->compat_context,
						0)) /* io_setup */
					exit(3);
				context = plan->compat_context;
				step->result = compat_call(248, context, with[0], with[1]);
				break;
			}
			step->result = syscall(SYS_io_submit, with[3] ? with[4] : context, with[0], with[1]);
			if (step->result == -1)
				step->result = -errno;
			break;
		case STEP_REAP:
			reap(context, step);
			break;
		case STEP_CALL:
			step->result = syscall((long)with[0], with[1], with[2], with[3], with[4], with[5]);
			if (step->result == -1)
				step->result = -errno;
			break;
		case STEP_HOLD:
			atomic_store(&plan->ready, 1);
			while (!atomic_load(&plan->go))
				usleep(1000);
			break;
		case STEP_FORK:
			child = fork();
			if (child)
				return waitpid(child, &child, 0) < 0 || child;
			context = setup(plan);
			break;
		case STEP_THREAD:
			if (pthread_create(&thread, NULL, duplicate, step))
				exit(3);
			while (!turns)
				sched_yield();
			break;
		}
	}
	_exit(0);
}

// SPDX-License-Identifier: MIT
/*
 * Submits what a plan says to rings of io_uring: see ../rings.py, which writes the plan and reads what came of it.
 *
 *   ring PLAN   (mapped at BASE, so that whoever writes it knows the addresses of its names and buffers)
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define BASE ((void *)0x90000000) /* a 32-bit program could name it too */
#define RINGS 4
#define RING_FD 0x7fd00000 /* of an argument: the descriptor of that ring */

enum step_kind {
	STEP_END,
	STEP_SETUP,  /* ring, entries, flags, whether by the 32-bit table: arguments[0 … 3] */
	STEP_ENTRY,  /* into ring arguments[0]: the entry */
	STEP_SUBMIT, /* ring, how many, completions to wait for */
	STEP_CALL,   /* number and six arguments */
	STEP_HOLD,   /* says so, and waits for a go */
	STEP_FORK,   /* the child does what follows, and the parent waits for it and ends */
};

struct step {
	uint64_t kind;
	uint64_t arguments[7];
	struct io_uring_sqe entry;
	int64_t result;
	uint32_t completions, flags;
};

struct plan {
	_Atomic uint32_t ready, go;
	uint64_t reserved;
	struct step steps[];
};

struct ring {
	int fd;
	struct io_uring_params parameters;
	char *queue;
	struct io_uring_sqe *entries;
} rings[RINGS];

static _Atomic uint32_t *at(struct ring *ring, uint32_t offset)
{
	return (_Atomic uint32_t *)(ring->queue + offset);
}

/* Its number and its parameters are the same there; what the kernel remembers of the ring is not. */
static long compat_setup(uint64_t entries, struct io_uring_params *parameters)
{
	struct io_uring_params *low = mmap(NULL, sizeof(*low), PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	int result = SYS_io_uring_setup;

	if (low == MAP_FAILED)
		exit(3);
	*low = *parameters;
	__asm__ volatile("int $0x80"
			 : "+a"(result)
			 : "b"((uint32_t)entries), "c"((uint32_t)(uintptr_t)low)
			 : "r8", "r9", "r10", "r11", "memory");
	*parameters = *low;
	return result;
}

static void setup(struct ring *ring, struct step *step)
{
	struct io_uring_params *parameters = &ring->parameters;
	size_t bytes;

	parameters->flags = (uint32_t)step->arguments[2];
	parameters->sq_thread_idle = 20000;
	if (step->arguments[3]) {
		step->result = compat_setup(step->arguments[1], parameters);
	} else {
		step->result = syscall(SYS_io_uring_setup, step->arguments[1], parameters);
		if (step->result < 0)
			step->result = -errno;
	}
	ring->fd = (int)step->result;
	if (ring->fd < 0)
		return;
	bytes = parameters->cq_off.cqes + parameters->cq_entries * sizeof(struct io_uring_cqe);
	if (bytes < parameters->sq_off.array + parameters->sq_entries * sizeof(uint32_t))
		bytes = parameters->sq_off.array + parameters->sq_entries * sizeof(uint32_t);
	ring->queue =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQ_RING);
	ring->entries = mmap(NULL, parameters->sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQES);
	if (ring->queue == MAP_FAILED || ring->entries == MAP_FAILED)
		exit(3);
}

/* An entry's user data is its step: what it was completed with is found there. */
static void add(struct ring *ring, struct step *step)
{
	uint32_t tail = atomic_load(at(ring, ring->parameters.sq_off.tail));
	uint32_t index = tail & (ring->parameters.sq_entries - 1);

	ring->entries[index] = step->entry;
	ring->entries[index].user_data = (uintptr_t)step;
	atomic_store(at(ring, ring->parameters.sq_off.array) + index, index);
	atomic_store(at(ring, ring->parameters.sq_off.tail), tail + 1);
}

static uint32_t reap(struct ring *ring)
{
	uint32_t head = atomic_load(at(ring, ring->parameters.cq_off.head)), count = 0;
	struct io_uring_cqe *completions = (void *)(ring->queue + ring->parameters.cq_off.cqes);

	while (head != atomic_load(at(ring, ring->parameters.cq_off.tail))) {
		struct io_uring_cqe *completion = &completions[head++ & (ring->parameters.cq_entries - 1)];
		struct step *step = (void *)(uintptr_t)completion->user_data;

		step->result = completion->res;
		step->flags = completion->flags;
		step->completions++;
		count++;
	}
	atomic_store(at(ring, ring->parameters.cq_off.head), head);
	return count;
}

static void submit(struct ring *ring, struct step *step)
{
	unsigned flags = IORING_ENTER_GETEVENTS;
	uint32_t left = (uint32_t)step->arguments[1], wanted = (uint32_t)step->arguments[2], seen = 0;

	if (ring->parameters.flags & IORING_SETUP_SQPOLL) {
		flags |= IORING_ENTER_SQ_WAKEUP;
		left = 0;
	}
	for (;;) {
		long done = syscall(SYS_io_uring_enter, ring->fd, left, seen < wanted, flags, NULL, 0);

		if (done < 0 && errno != EINTR) {
			step->result = -errno;
			return;
		}
		left -= done > 0 && left ? (uint32_t)done : 0;
		seen += reap(ring);
		if (!left && seen >= wanted)
			return;
	}
}

static uint64_t with_ring(uint64_t argument)
{
	return argument >> 8 == RING_FD >> 8 ? (uint64_t)rings[argument % RINGS].fd : argument;
}

int main(int count, char **arguments)
{
	int fd = count == 2 ? open(arguments[1], O_RDWR) : -1;
	struct stat status;
	struct plan *plan;

	if (fd < 0 || fstat(fd, &status))
		return 2;
	plan = mmap(BASE, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, 0);
	close(fd);
	if (plan == MAP_FAILED)
		return 2;
	for (struct step *step = plan->steps; step->kind != STEP_END; step++) {
		uint64_t *with = step->arguments;
		struct ring *ring = &rings[with[0] % RINGS];
		int child;

		switch (step->kind) {
		case STEP_SETUP:
			setup(ring, step);
			break;
		case STEP_ENTRY:
			add(ring, step);
			break;
		case STEP_SUBMIT:
			submit(ring, step);
			break;
		case STEP_CALL:
			step->result =
				syscall((long)with[0], with_ring(with[1]), with[2], with[3], with[4], with[5], with[6]);
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
			break;
		}
	}
	return 0;
}

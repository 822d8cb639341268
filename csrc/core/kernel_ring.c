// SPDX-License-Identifier: MIT
#include "kernel_ring.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void aa_ring_unmap(struct aa_ring *ring)
{
	if (ring->consumer)
		munmap((void *)ring->consumer, ring->page);
	if (ring->producer)
		munmap((void *)ring->producer, ring->page + ring->bytes);
	free(ring->joined);
	ring->consumer = NULL;
	ring->producer = NULL;
	ring->joined = NULL;
}

bool aa_ring_map(struct aa_ring *ring, int fd, size_t bytes)
{
	void *consumer, *producer;

	ring->fd = fd;
	ring->bytes = bytes;
	ring->page = (size_t)sysconf(_SC_PAGESIZE);
	ring->joined = malloc(AA_RING_RECORD_MAX);
	if (!ring->joined)
		return false;
	consumer = mmap(NULL, ring->page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (consumer == MAP_FAILED)
		return false;
	ring->consumer = consumer;
	producer = mmap(NULL, ring->page + bytes, PROT_READ, MAP_SHARED, fd, (off_t)ring->page);
	if (producer == MAP_FAILED)
		return false;
	ring->producer = producer;
	ring->data = (const unsigned char *)producer + ring->page;
	return !madvise(consumer, ring->page, MADV_DONTFORK) && !madvise(producer, ring->page + bytes, MADV_DONTFORK);
}

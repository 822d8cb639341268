// SPDX-License-Identifier: MIT
#include "kernel_ring.h"

#include <sys/mman.h>
#include <unistd.h>

void aa_ring_unmap(struct aa_ring *ring)
{
	if (ring->consumer)
		munmap((void *)ring->consumer, ring->page);
	if (ring->producer)
		munmap((void *)ring->producer, ring->page + 2 * ring->bytes);
	ring->consumer = NULL;
	ring->producer = NULL;
}

bool aa_ring_map(struct aa_ring *ring, int fd, size_t bytes)
{
	void *consumer, *producer;

	ring->fd = fd;
	ring->bytes = bytes;
	ring->page = (size_t)sysconf(_SC_PAGESIZE);
	consumer = mmap(NULL, ring->page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (consumer == MAP_FAILED)
		return false;
	ring->consumer = consumer;
	producer = mmap(NULL, ring->page + 2 * bytes, PROT_READ, MAP_SHARED, fd, (off_t)ring->page);
	if (producer == MAP_FAILED)
		return false;
	ring->producer = producer;
	ring->data = (const unsigned char *)producer + ring->page;
	return !madvise(consumer, ring->page, MADV_DONTFORK) &&
	       !madvise(producer, ring->page + 2 * bytes, MADV_DONTFORK);
}

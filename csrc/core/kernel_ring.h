/* SPDX-License-Identifier: MIT */
/*
 * A kernel ring (BPF_MAP_TYPE_RINGBUF) read by its one consumer.
 *
 * Mapped by ourselves and not by libbpf's ring_buffer: a mapping that a fork inherits keeps the map alive, and only the
 * owner of the addresses can keep it out of children (MADV_DONTFORK).
 * Layout: kernel/bpf/ringbuf.c, a page with the consumer's position, one with the producer's, the data twice in a row;
 * once is mapped, since the second would count as this process's memory, too, and a record that goes over the end is
 * copied together.
 */
#ifndef AA_KERNEL_RING_H
#define AA_KERNEL_RING_H

#include <linux/bpf.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct aa_ring {
	int fd;
	size_t bytes, page;
	_Atomic unsigned long *consumer;
	const _Atomic unsigned long *producer;
	const unsigned char *data;
	unsigned char *joined; /* AA_RING_RECORD_MAX bytes */
};

#define AA_RING_WAKE_PART 2u	  /* a ring more than this part of it full wakes a reader that naps */
#define AA_RING_RECORD_MAX 32768u /* longer ones are not sent */

/* Maps the ring of `bytes` bytes behind `fd`, which stays the caller's; false with errno. */
bool aa_ring_map(struct aa_ring *ring, int fd, size_t bytes);
/* Also of a ring that was not mapped, or not wholly. */
void aa_ring_unmap(struct aa_ring *ring);

/* A record that begins before the end and goes on at the beginning. */
static inline const unsigned char *aa_ring_join(const struct aa_ring *ring, size_t at, size_t bytes)
{
	size_t first = ring->bytes - at;

	if (bytes > AA_RING_RECORD_MAX)
		bytes = AA_RING_RECORD_MAX;
	memcpy(ring->joined, ring->data + at, first < bytes ? first : bytes);
	if (first < bytes)
		memcpy(ring->joined + first, ring->data, bytes - first);
	return ring->joined;
}

/*
 * The record at `position`, valid until the next one is asked for, or NULL when there is none that is complete.
 * *ret_header: its length, and BPF_RINGBUF_DISCARD_BIT.
 */
static inline const unsigned char *aa_ring_at(const struct aa_ring *ring, unsigned long position, uint32_t *ret_header)
{
	size_t at = position & (ring->bytes - 1), bytes;

	if (position >= atomic_load_explicit(ring->producer, memory_order_acquire))
		return NULL;
	*ret_header = atomic_load_explicit((const _Atomic uint32_t *)(ring->data + at), memory_order_acquire);
	if (*ret_header & BPF_RINGBUF_BUSY_BIT)
		return NULL;
	at += BPF_RINGBUF_HDR_SZ;
	bytes = *ret_header & ~BPF_RINGBUF_DISCARD_BIT;
	return at + bytes <= ring->bytes ? ring->data + at : aa_ring_join(ring, at, bytes);
}

static inline unsigned long aa_ring_after(unsigned long position, uint32_t header)
{
	uint32_t bytes = header & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);

	return position + ((bytes + BPF_RINGBUF_HDR_SZ + 7) & ~7UL);
}

static inline size_t aa_ring_waiting_bytes(const struct aa_ring *ring)
{
	return atomic_load_explicit(ring->producer, memory_order_acquire) -
	       atomic_load_explicit(ring->consumer, memory_order_relaxed);
}

static inline bool aa_ring_is_empty(const struct aa_ring *ring)
{
	return !aa_ring_waiting_bytes(ring);
}

#endif

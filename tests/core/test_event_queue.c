// SPDX-License-Identifier: MIT
/* What comes out is what went in, byte for byte and in order; what does not fit is refused; room comes back. */
#include "event_queue.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "random.h"

/* An event of a small world, so that templates are met, missed and replaced. */
static size_t make_event(struct aa_file_event *event, uint64_t seq, size_t string_bytes)
{
	size_t size = (sizeof(*event) + string_bytes + 7) & ~(size_t)7;

	memset(event, 0, size);
	event->size = (uint32_t)size;
	event->seq = seq;
	event->timestamp_ns = 1000000000ull + seq * 700 - random_number() % 3000;
	event->duration_ns = random_number() % 4 ? random_number() % 5000 : random_number();
	event->result = random_number() % 5 ? 1 : (int64_t)(random_number() % 70000) - 512;
	event->offset = (int64_t)(random_number() % 3 ? seq : random_number());
	event->count = random_number() % 7 ? 1 : random_number();
	event->tid = 100 + (uint32_t)(random_number() % 40);
	event->fd = (int32_t)(random_number() % 5);
	event->inode = random_number() % 3;
	event->call = (uint16_t)(random_number() % 4);
	event->present = (uint32_t)(random_number() % 2);
	memset(event->strings, 'a' + (int)(random_number() % 3), string_bytes);
	return size;
}

/* With memory enough: the next event, or NULL. */
static const struct aa_file_event *peek(struct aa_event_queue *queue)
{
	const struct aa_file_event *event;

	CHECK(aa_event_queue_peek(queue, &event));
	return event;
}

static void test_round_trip(void)
{
	enum { COUNT = 60000 };
	struct aa_event_queue *queue = aa_event_queue_create(512 << 20);
	struct aa_file_event **events = calloc(COUNT, sizeof(struct aa_file_event *));

	for (size_t i = 0; i < COUNT; i++) {
		size_t strings = random_number() % 50 ? 40 : random_number() % 20000;

		events[i] = malloc(sizeof(struct aa_file_event) + strings + 8);
		make_event(events[i], i, strings);
		CHECK(aa_event_queue_push(queue, events[i]));
		/* Read a part meanwhile, so that chunks are sealed before they are full. */
	}
	CHECK(aa_event_queue_length(queue) == COUNT);
	for (size_t i = 0; i < COUNT; i++) {
		const struct aa_file_event *event = peek(queue);

		CHECK(event && event == peek(queue));
		if (!event || event->size != events[i]->size || memcmp(event, events[i], event->size) != 0) {
			CHECK(!"the event that came out is the one that went in");
			break;
		}
		aa_event_queue_advance(queue);
	}
	CHECK(!peek(queue));
	CHECK(aa_event_queue_length(queue) == 0);
	for (size_t i = 0; i < COUNT; i++)
		free(events[i]);
	free(events);
	aa_event_queue_destroy(queue);
}

/* The promise behind the default queue size: a million reads of one file fit into eight megabytes. */
static void test_a_million_reads_fit(void)
{
	struct aa_event_queue *queue = aa_event_queue_create(8 << 20);
	union {
		struct aa_file_event event;
		char room[sizeof(struct aa_file_event) + 64];
	} one;

	for (uint64_t i = 0; i < 1000000; i++) {
		make_event(&one.event, i, 48);
		one.event.tid = 7;
		one.event.fd = 3;
		one.event.inode = 9;
		one.event.call = 1;
		one.event.present = 0;
		one.event.result = 1;
		one.event.count = 1;
		one.event.offset = (int64_t)i;
		one.event.duration_ns = 300 + i % 900;
		one.event.timestamp_ns = 1000000000ull + i * 2200;
		memset(one.event.strings, 'p', 48);
		if (!aa_event_queue_push(queue, &one.event)) {
			CHECK(!"a million reads fit into the default queue");
			break;
		}
	}
	aa_event_queue_destroy(queue);
}

static void test_bounds(void)
{
	struct aa_event_queue *queue = aa_event_queue_create(4096);
	struct aa_file_event *event = malloc(sizeof(*event) + 8192);
	unsigned pushed = 0;

	make_event(event, 0, 5000);
	CHECK(!aa_event_queue_could_hold(queue, event));
	CHECK(!aa_event_queue_push(queue, event));
	for (;; pushed++) {
		make_event(event, pushed, 100);
		CHECK(aa_event_queue_could_hold(queue, event));
		if (!aa_event_queue_push(queue, event))
			break;
		CHECK(pushed < 4096);
	}
	CHECK(pushed > 4 && aa_event_queue_length(queue) == pushed);
	/* Room for all but the chunk in hand comes back without another look of the reader. */
	for (unsigned i = 0; i < pushed; i++) {
		CHECK(peek(queue) && peek(queue)->seq == i);
		aa_event_queue_advance(queue);
	}
	make_event(event, 9, 3000);
	CHECK(aa_event_queue_push(queue, event));
	CHECK(aa_event_queue_clear(queue) == 1 && aa_event_queue_length(queue) == 0);
	CHECK(!peek(queue));
	make_event(event, 10, 3000);
	CHECK(aa_event_queue_push(queue, event) && peek(queue)->seq == 10);
	aa_event_queue_destroy(queue);
	aa_event_queue_destroy(NULL);
	free(event);
}

#define ACROSS_THREADS 300000

static void *produce(void *argument)
{
	struct aa_event_queue *queue = argument;
	struct aa_file_event *event = malloc(sizeof(*event) + 64);

	for (uint64_t i = 0; i < ACROSS_THREADS; i++) {
		make_event(event, i, 32);
		event->cgroup_id = event->timestamp_ns ^ event->tid;
		while (!aa_event_queue_push(queue, event))
			sched_yield();
	}
	free(event);
	return NULL;
}

static void test_two_threads(void)
{
	struct aa_event_queue *queue = aa_event_queue_create(64 << 10);
	pthread_t producer;

	pthread_create(&producer, NULL, produce, queue);
	for (uint64_t i = 0; i < ACROSS_THREADS;) {
		const struct aa_file_event *event = peek(queue);

		if (!event)
			continue;
		if (event->seq != i || event->cgroup_id != (event->timestamp_ns ^ event->tid)) {
			CHECK(!"events cross threads whole and in order");
			exit(1);
		}
		aa_event_queue_advance(queue);
		i++;
	}
	pthread_join(producer, NULL);
	aa_event_queue_destroy(queue);
}

void *__real_realloc(void *memory, size_t bytes); /* NOLINT(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */
void *__wrap_realloc(void *memory, size_t bytes); /* NOLINT(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

static bool has_no_memory;

/* NOLINTNEXTLINE(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */
void *__wrap_realloc(void *memory, size_t bytes)
{
	return has_no_memory ? NULL : __real_realloc(memory, bytes);
}

/* An event too large for a template, and no memory to show it: it stays the next, and so do those behind it. */
static void test_no_memory(void)
{
	struct aa_event_queue *queue = aa_event_queue_create(1 << 20);
	struct aa_file_event *event = malloc(8192);
	const struct aa_file_event *shown;

	make_event(event, 0, 3000);
	CHECK(aa_event_queue_push(queue, event));
	make_event(event, 1, 40);
	CHECK(aa_event_queue_push(queue, event));
	has_no_memory = true;
	for (int i = 0; i < 3; i++)
		CHECK(!aa_event_queue_peek(queue, &shown) && !shown && aa_event_queue_length(queue) == 2);
	has_no_memory = false;
	for (uint64_t seq = 0; seq < 2; seq++) {
		CHECK(peek(queue) && peek(queue)->seq == seq);
		aa_event_queue_advance(queue);
	}
	CHECK(!peek(queue));
	free(event);
	aa_event_queue_destroy(queue);
}

int main(void)
{
	test_round_trip();
	test_a_million_reads_fit();
	test_bounds();
	test_two_threads();
	test_no_memory();
	return CHECK_DONE();
}

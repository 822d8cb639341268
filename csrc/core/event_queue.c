// SPDX-License-Identifier: MIT
#include "event_queue.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define AA_CHUNK_BYTES (64u << 10)
#define AA_SLOTS 64	       /* templates a chunk's events refer to */
#define AA_TEMPLATE_BYTES 1024 /* a larger event is kept whole and is no template */
#define AA_TAG_WHOLE 0xff      /* an event that is no template's difference and becomes none */
#define AA_TAG_TEMPLATE 0x80   /* | slot: a whole event, kept as that slot's template */

/* What an entry carries beside its tag (a slot number), time and duration. */
enum aa_delta {
	AA_DELTA_RESULT = 1u << 0,
	AA_DELTA_OFFSET = 1u << 1, /* not where the template's call left off */
	AA_DELTA_COUNT = 1u << 2,
	AA_DELTA_SEQ = 1u << 3, /* not the number after the last one */
};

/* From here to its end an event must equal its template; what lies before is coded. */
#define AA_CONSTANT_PART offsetof(struct aa_file_event, size)

struct aa_chunk {
	struct aa_chunk *next;
	size_t capacity, used, read;
	unsigned char data[];
};

/* The templates and running values of one end; both ends go through the same changes. */
struct aa_codec {
	struct aa_file_event *slots[AA_SLOTS];
	bool is_set[AA_SLOTS];
	uint64_t timestamp_ns, seq;
};

struct aa_event_queue {
	size_t limit;
	pthread_mutex_t lock; /* the list and the chunk being filled; the reader takes it once a chunk */
	struct aa_chunk *first, *last;
	size_t allocated; /* capacities of all chunks */
	_Atomic uint64_t length;
	/* producer */
	struct aa_chunk *filling;
	struct aa_codec writer;
	/* consumer */
	struct aa_chunk *reading;
	struct aa_codec reader;
	struct aa_file_event *whole;
	size_t whole_capacity;
	const struct aa_file_event *peeked;
};

static unsigned aa_slot_of(const struct aa_file_event *event)
{
	uint64_t hash = ((uint64_t)event->tid << 32) ^ ((uint64_t)event->call << 24) ^ (uint64_t)(uint32_t)event->fd ^
			event->inode * 0x9e3779b97f4a7c15ULL;

	hash ^= hash >> 29;
	hash *= 0xbf58476d1ce4e5b9ULL;
	return (unsigned)(hash >> 58); /* 64 slots */
}

static void aa_codec_reset(struct aa_codec *codec)
{
	memset(codec->is_set, 0, sizeof(codec->is_set));
	codec->timestamp_ns = 0;
	codec->seq = 0;
}

static bool aa_codec_allocate(struct aa_codec *codec)
{
	for (unsigned slot = 0; slot < AA_SLOTS; slot++)
		if (!(codec->slots[slot] = malloc(AA_TEMPLATE_BYTES)))
			return false;
	return true;
}

static void aa_codec_free(struct aa_codec *codec)
{
	for (unsigned slot = 0; slot < AA_SLOTS; slot++)
		free(codec->slots[slot]);
}

struct aa_event_queue *aa_event_queue_create(size_t bytes)
{
	struct aa_event_queue *queue = calloc(1, sizeof(*queue));

	if (!queue)
		return NULL;
	queue->limit = bytes;
	pthread_mutex_init(&queue->lock, NULL);
	if (!aa_codec_allocate(&queue->writer) || !aa_codec_allocate(&queue->reader)) {
		aa_event_queue_destroy(queue);
		return NULL;
	}
	return queue;
}

void aa_event_queue_destroy(struct aa_event_queue *queue)
{
	if (!queue)
		return;
	aa_event_queue_clear(queue);
	free(queue->filling);
	aa_codec_free(&queue->writer);
	aa_codec_free(&queue->reader);
	free(queue->whole);
	pthread_mutex_destroy(&queue->lock);
	free(queue);
}

static size_t aa_put_number(unsigned char *at, uint64_t number)
{
	size_t bytes = 0;

	while (number >= 0x80) {
		at[bytes++] = (unsigned char)(number | 0x80);
		number >>= 7;
	}
	at[bytes++] = (unsigned char)number;
	return bytes;
}

static uint64_t aa_get_number(const unsigned char **at)
{
	uint64_t number = 0;
	unsigned shift = 0;

	for (;; shift += 7) {
		unsigned char byte = *(*at)++;

		number |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return number;
	}
}

/* Small differences of either sign to small numbers. */
static uint64_t aa_fold(int64_t value)
{
	return ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
}

static int64_t aa_unfold(uint64_t number)
{
	return (int64_t)(number >> 1) ^ -(int64_t)(number & 1);
}

static int64_t aa_difference(uint64_t a, uint64_t b)
{
	return (int64_t)(a - b);
}

/* Where the template's call left the file position. */
static int64_t aa_expected_offset(const struct aa_file_event *template)
{
	return (int64_t)((uint64_t) template->offset + (uint64_t)(template->result > 0 ? template->result : 0));
}

/* The longest difference: tag, flags and six numbers of ten bytes. */
#define AA_DIFFERENCE_BYTES_MAX (2 + 6 * 10)

static size_t aa_encode_difference(struct aa_codec *codec, unsigned slot, const struct aa_file_event *event,
				   unsigned char *ret_bytes)
{
	struct aa_file_event *template = codec->slots[slot];
	unsigned char flags = 0;
	size_t bytes = 2;

	/* The order here is the order in aa_decode_difference(). */
	bytes += aa_put_number(ret_bytes + bytes, aa_fold(aa_difference(event->timestamp_ns, codec->timestamp_ns)));
	bytes += aa_put_number(ret_bytes + bytes, event->duration_ns);
	if (event->offset != aa_expected_offset(template)) {
		flags |= AA_DELTA_OFFSET;
		bytes += aa_put_number(ret_bytes + bytes, aa_fold(event->offset));
	}
	if (event->result != template->result) {
		flags |= AA_DELTA_RESULT;
		bytes += aa_put_number(ret_bytes + bytes, aa_fold(event->result));
	}
	if (event->count != template->count) {
		flags |= AA_DELTA_COUNT;
		bytes += aa_put_number(ret_bytes + bytes, event->count);
	}
	if (event->seq != codec->seq + 1) {
		flags |= AA_DELTA_SEQ;
		bytes += aa_put_number(ret_bytes + bytes, event->seq);
	}
	ret_bytes[0] = (unsigned char)slot;
	ret_bytes[1] = flags;
	memcpy(template, event, AA_CONSTANT_PART);
	return bytes;
}

static void aa_decode_difference(struct aa_codec *codec, unsigned slot, const unsigned char **at)
{
	struct aa_file_event *template = codec->slots[slot];
	unsigned char flags = *(*at)++;
	int64_t offset = aa_expected_offset(template);

	template->timestamp_ns = codec->timestamp_ns + (uint64_t)aa_unfold(aa_get_number(at));
	template->duration_ns = aa_get_number(at);
	template->offset = flags &AA_DELTA_OFFSET ? aa_unfold(aa_get_number(at)) : offset;
	if (flags & AA_DELTA_RESULT)
		template->result = aa_unfold(aa_get_number(at));
	if (flags & AA_DELTA_COUNT)
		template->count = aa_get_number(at);
	template->seq = flags &AA_DELTA_SEQ ? aa_get_number(at) : codec->seq + 1;
}

/* Hands the chunk being filled over to the reader's list. */
static void aa_queue_seal(struct aa_event_queue *queue)
{
	if (!queue->filling || !queue->filling->used)
		return;
	if (queue->last)
		queue->last->next = queue->filling;
	else
		queue->first = queue->filling;
	queue->last = queue->filling;
	queue->filling = NULL;
}

/* Room for `bytes` more in the chunk being filled, or in a new one. */
static bool aa_queue_reserve(struct aa_event_queue *queue, size_t bytes)
{
	struct aa_chunk *chunk;
	size_t capacity;

	if (queue->filling && queue->filling->capacity - queue->filling->used >= bytes)
		return true;
	aa_queue_seal(queue);
	capacity = queue->limit / 4 < AA_CHUNK_BYTES ? queue->limit / 4 : AA_CHUNK_BYTES;
	if (capacity < bytes)
		capacity = bytes;
	if (queue->allocated + capacity > queue->limit)
		return false;
	chunk = malloc(sizeof(*chunk) + capacity);
	if (!chunk)
		return false;
	chunk->next = NULL;
	chunk->capacity = capacity;
	chunk->used = chunk->read = 0;
	if (queue->filling) /* empty, and too small */
		queue->allocated -= queue->filling->capacity;
	free(queue->filling);
	queue->filling = chunk;
	queue->allocated += capacity;
	/* Each chunk stands alone, so that the reader may drop any. */
	aa_codec_reset(&queue->writer);
	return true;
}

static void aa_codec_advance(struct aa_codec *codec, const struct aa_file_event *event)
{
	codec->timestamp_ns = event->timestamp_ns;
	codec->seq = event->seq;
}

bool aa_event_queue_push(struct aa_event_queue *queue, const struct aa_file_event *event)
{
	struct aa_codec *writer = &queue->writer;
	unsigned slot = aa_slot_of(event);
	bool is_template = event->size <= AA_TEMPLATE_BYTES, pushed = false;
	struct aa_chunk *chunk;

	pthread_mutex_lock(&queue->lock);
	if (is_template && writer->is_set[slot] && writer->slots[slot]->size == event->size &&
	    !memcmp((const char *)writer->slots[slot] + AA_CONSTANT_PART, (const char *)event + AA_CONSTANT_PART,
		    event->size - AA_CONSTANT_PART) &&
	    queue->filling && queue->filling->capacity - queue->filling->used >= AA_DIFFERENCE_BYTES_MAX) {
		chunk = queue->filling;
		chunk->used += aa_encode_difference(writer, slot, event, chunk->data + chunk->used);
	} else {
		if (!aa_queue_reserve(queue, 1 + event->size))
			goto out;
		chunk = queue->filling;
		chunk->data[chunk->used] = is_template ? (unsigned char)(AA_TAG_TEMPLATE | slot) : AA_TAG_WHOLE;
		memcpy(chunk->data + chunk->used + 1, event, event->size);
		chunk->used += 1 + event->size;
		if (is_template) {
			memcpy(writer->slots[slot], event, event->size);
			writer->is_set[slot] = true;
		}
	}
	aa_codec_advance(writer, event);
	atomic_fetch_add_explicit(&queue->length, 1, memory_order_release);
	pushed = true;
out:
	pthread_mutex_unlock(&queue->lock);
	return pushed;
}

/* The chunk the reader has finished goes, the next one comes. */
static bool aa_queue_next_chunk(struct aa_event_queue *queue)
{
	struct aa_chunk *finished = queue->reading;

	pthread_mutex_lock(&queue->lock);
	if (finished)
		queue->allocated -= finished->capacity;
	if (!queue->first)
		aa_queue_seal(queue);
	queue->reading = queue->first;
	if (queue->reading)
		queue->first = queue->reading->next;
	if (!queue->first)
		queue->last = NULL;
	pthread_mutex_unlock(&queue->lock);
	free(finished);
	if (queue->reading)
		aa_codec_reset(&queue->reader);
	return queue->reading != NULL;
}

bool aa_event_queue_peek(struct aa_event_queue *queue, const struct aa_file_event **ret_event)
{
	const struct aa_file_event *event;
	const unsigned char *at;
	unsigned char tag;
	uint32_t size;

	*ret_event = queue->peeked;
	if (queue->peeked)
		return true;
	if ((!queue->reading || queue->reading->read == queue->reading->used) && !aa_queue_next_chunk(queue))
		return true;
	at = queue->reading->data + queue->reading->read;
	tag = *at++;
	if (tag < AA_SLOTS) {
		aa_decode_difference(&queue->reader, tag, &at);
		event = queue->reader.slots[tag];
	} else {
		struct aa_file_event *room;

		/* Entries are not aligned. */
		memcpy(&size, at + offsetof(struct aa_file_event, size), sizeof(size));
		if (tag == AA_TAG_WHOLE) {
			if (queue->whole_capacity < size) {
				room = realloc(queue->whole, size);
				if (!room)
					return false;
				queue->whole = room;
				queue->whole_capacity = size;
			}
			room = queue->whole;
		} else {
			room = queue->reader.slots[tag & (AA_SLOTS - 1)];
		}
		memcpy(room, at, size);
		at += size;
		event = room;
	}
	queue->reading->read = (size_t)(at - queue->reading->data);
	aa_codec_advance(&queue->reader, event);
	queue->peeked = event;
	*ret_event = event;
	return true;
}

void aa_event_queue_advance(struct aa_event_queue *queue)
{
	if (!queue->peeked)
		return;
	aa_event_queue_pass(queue);
	aa_event_queue_passed(queue, 1);
}

void aa_event_queue_passed(struct aa_event_queue *queue, uint64_t count)
{
	atomic_fetch_sub_explicit(&queue->length, count, memory_order_release);
}

void aa_event_queue_pass(struct aa_event_queue *queue)
{
	queue->peeked = NULL;
	/* Room is given back at once: the producer may be waiting for it while the reader waits for the producer. */
	if (queue->reading->read == queue->reading->used) {
		pthread_mutex_lock(&queue->lock);
		queue->allocated -= queue->reading->capacity;
		pthread_mutex_unlock(&queue->lock);
		free(queue->reading);
		queue->reading = NULL;
	}
}

uint64_t aa_event_queue_clear(struct aa_event_queue *queue)
{
	uint64_t dropped;

	queue->peeked = NULL;
	pthread_mutex_lock(&queue->lock);
	aa_queue_seal(queue);
	while (queue->first) {
		struct aa_chunk *next = queue->first->next;

		queue->allocated -= queue->first->capacity;
		free(queue->first);
		queue->first = next;
	}
	queue->last = NULL;
	if (queue->reading)
		queue->allocated -= queue->reading->capacity;
	free(queue->reading);
	queue->reading = NULL;
	dropped = atomic_exchange(&queue->length, 0);
	pthread_mutex_unlock(&queue->lock);
	return dropped;
}

bool aa_event_queue_could_hold(const struct aa_event_queue *queue, const struct aa_file_event *event)
{
	return 1 + event->size <= queue->limit;
}

uint64_t aa_event_queue_length(const struct aa_event_queue *queue)
{
	return atomic_load_explicit(&queue->length, memory_order_acquire);
}

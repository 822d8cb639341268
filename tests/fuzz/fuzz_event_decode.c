// SPDX-License-Identifier: MIT
/*
 * Fuzzes the decoder and what follows it: the path rules, the queue and the columns.
 *
 * An input is a sequence of records. Most are well formed but for what the fuzzer changes, because random bytes seldom
 * pass the version check; shape 0 is raw bytes. Allocations of the core fail where the input says so.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "columns.h"
#include "event_decode.h"
#include "event_queue.h"
#include "input.h"
#include "path_rules.h"
#include "syscall_table.h"

#define RECORD_BYTES (160 << 10) /* four names of any length that a record can claim, about */

enum shape {
	SHAPE_RAW,
	SHAPE_THREAD,
	SHAPE_THREAD_END,
	SHAPE_EVENT,
	SHAPE_AGAIN,
	SHAPE_TOLD,
	SHAPE_COUNT,
};

/* The n-th allocation from now fails; 0: none. */
static unsigned fail_in;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);

static bool must_fail(void)
{
	return fail_in && --fail_in == 0;
}

void *__wrap_malloc(size_t bytes)
{
	return must_fail() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
	return must_fail() ? NULL : __real_calloc(count, bytes);
}

/* A record under construction. */
struct builder {
	unsigned char bytes[RECORD_BYTES] __attribute__((aligned(8)));
	size_t length;
};

static void build(struct builder *builder, const void *part, size_t bytes)
{
	if (bytes > RECORD_BYTES - builder->length)
		bytes = RECORD_BYTES - builder->length;
	memcpy(builder->bytes + builder->length, part, bytes);
	builder->length += bytes;
}

/* Up to 65,280 bytes; long names repeat a short text, so that inputs stay small. */
static uint16_t build_text(struct builder *builder, struct input *input)
{
	uint8_t size = input_byte(input);
	unsigned times = size & 0x80 ? input_byte(input) * (size & 0x40 ? 8u : 1u) : 1;
	char text[32];
	uint16_t length = 0;

	size &= sizeof(text) - 1;
	input_bytes(input, text, size);
	for (unsigned i = 0; i < times && length + size <= 0xff00; i++) {
		build(builder, text, size);
		length = (uint16_t)(length + size);
	}
	return length;
}

static struct aa_record head_of(struct input *input, enum aa_record_type type)
{
	uint8_t thread = input_byte(input);

	return (struct aa_record){
		.version = AA_ABI_VERSION,
		.type = (uint8_t)type,
		.operation = (uint8_t)(input_byte(input) % (AA_OPERATION_COUNT + 1)),
		.thread = thread % 8,
	};
}

static struct aa_name_facts name_of(struct input *input)
{
	struct aa_name_facts name;

	input_bytes(input, &name, sizeof(name));
	name.source = (uint8_t)(name.source % (AA_PATH_SOURCE_COUNT + 1));
	name.has_walk %= 4;
	return name;
}

/* The names' lengths are true, unless the input asks for others. */
static void build_names(struct builder *builder, struct input *input, struct aa_name_facts *first,
			struct aa_name_facts *second, bool are_wrong)
{
	uint16_t raw[2], walk[2];

	for (int i = 0; i < 2; i++)
		raw[i] = (i == 0 || second->source) ? build_text(builder, input) : 0;
	for (int i = 0; i < 2; i++)
		walk[i] = (i == 0 || second->source) ? build_text(builder, input) : 0;
	/* A walk's last byte is its NUL. */
	if ((walk[0] || walk[1]) && builder->length && input_byte(input) & 1)
		builder->bytes[builder->length - 1] = 0;
	if (are_wrong)
		return;
	first->raw_bytes = raw[0];
	first->walk_bytes = walk[0];
	second->raw_bytes = raw[1];
	second->walk_bytes = walk[1];
}

static void build_event(struct builder *builder, struct input *input)
{
	size_t start = builder->length;
	struct aa_second second = { 0 };
	struct aa_event event;
	struct aa_more more;
	uint8_t how = input_byte(input);

	input_bytes(input, &event, sizeof(event));
	event.record = head_of(input, AA_RECORD_EVENT);
	event.call = (uint16_t)(event.call % (AA_CALL_LIMIT + 1));
	event.name = name_of(input);
	event.file %= 64;
	build(builder, &event, sizeof(event));
	if (event.blocks & AA_BLOCK_SECOND) {
		input_bytes(input, &second, sizeof(second));
		second.name = name_of(input);
	}
	build_names(builder, input, &event.name, &second.name, how & 1);
	if (event.blocks & AA_BLOCK_SECOND)
		build(builder, &second, sizeof(second));
	if (event.blocks & AA_BLOCK_MORE) {
		input_bytes(input, &more, sizeof(more));
		build(builder, &more, sizeof(more));
	}
	memcpy(builder->bytes + start, &event, sizeof(event));
	if (how & 2)
		builder->length -= builder->length > how ? how : 0;
}

static void build_thread(struct builder *builder, struct input *input, enum aa_record_type type)
{
	struct aa_thread thread;

	input_bytes(input, &thread, sizeof(thread));
	thread.record = head_of(input, type);
	thread.is_new &= 1;
	build(builder, &thread, sizeof(thread));
}

static void build_again(struct builder *builder, struct input *input)
{
	struct aa_again again;

	input_bytes(input, &again, sizeof(again));
	again.record = head_of(input, AA_RECORD_AGAIN);
	again.call = (uint16_t)(again.call % (AA_CALL_LIMIT + 1));
	again.source = (uint8_t)(again.source % (AA_PATH_SOURCE_COUNT + 1));
	again.file %= 64;
	build(builder, &again, sizeof(again));
	if (input_byte(input) & 1)
		builder->length -= 8;
}

static void build_told(struct builder *builder, struct input *input)
{
	struct aa_told told;

	input_bytes(input, &told, sizeof(told));
	told.thread.record = head_of(input, AA_RECORD_TOLD);
	build(builder, &told, sizeof(told));
	build_event(builder, input);
}

static void build_record(struct builder *builder, struct input *input)
{
	enum shape shape = input_byte(input) % SHAPE_COUNT;

	builder->length = 0;
	switch (shape) {
	case SHAPE_THREAD:
		build_thread(builder, input, AA_RECORD_THREAD);
		break;
	case SHAPE_THREAD_END:
		build_thread(builder, input, AA_RECORD_THREAD_END);
		break;
	case SHAPE_EVENT:
		build_event(builder, input);
		break;
	case SHAPE_AGAIN:
		build_again(builder, input);
		break;
	case SHAPE_TOLD:
		build_told(builder, input);
		break;
	default:
		builder->length = input_byte(input);
		input_bytes(input, builder->bytes, builder->length);
		break;
	}
}

#define check(condition)                                                                                               \
	((condition) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition), abort()))

/* What an event promises to whoever reads it. */
static void check_event(const struct aa_file_event *event)
{
	const char *path = aa_file_event_path(event), *new_path = aa_file_event_new_path(event);
	const char *raw_path = aa_file_event_raw_path(event);

	check(event->size <= AA_EVENT_BYTES_MAX && event->size % 8 == 0 && event->size >= sizeof(*event));
	check(!path || path[event->path_length] == '\0');
	check(!new_path || new_path[event->new_path_length] == '\0');
	check(!raw_path || raw_path[event->raw_path_length] == '\0');
	check(event->call < AA_CALL_LIMIT && event->path_source < AA_PATH_SOURCE_COUNT);
	check(memchr(event->comm, 0, sizeof(event->comm)) != NULL);
}

/* The chain that a record takes in a session. */
struct chain {
	struct aa_decoder *decoder;
	struct aa_event_queue *queue;
	struct aa_columns *columns;
	struct aa_file_event *event;
};

static struct aa_path_rules *rules;

static void make_rules(void)
{
	static const char *watch[] = { "/a/", "/b/*", "/**/c", "/d" }, *sensitive[] = { "/s/[a-z]*" };
	static const char *ignore[] = { "/i/", "/a/b" };
	struct aa_rule_texts texts[AA_RULE_LISTS] = { { watch, 4 }, { sensitive, 1 }, { ignore, 2 } };

	check(!aa_path_rules_create(texts, &rules));
	aa_path_rules_look(rules);
}

/* What the queue gives back is what it was given, byte for byte. */
static void take_all(struct chain *chain)
{
	const struct aa_file_event *event;

	while (aa_event_queue_peek(chain->queue, &event) && event) {
		check_event(event);
		aa_columns_append(chain->columns, event, 0);
		aa_event_queue_advance(chain->queue);
	}
}

static void take_record(struct chain *chain, const struct builder *builder)
{
	/* A block of its exact size, so that a read beside it is found. */
	void *record = __real_malloc(builder->length ? builder->length : 1);
	enum aa_decoded decoded;
	uint32_t row;

	memcpy(record, builder->bytes, builder->length);
	(void)aa_record_is_event(record, builder->length);
	if (aa_decode_told(record, builder->length, &row, chain->event))
		check_event(chain->event);
	decoded = aa_decoder_take(chain->decoder, record, builder->length, chain->event);
	free(record);
	if (decoded != AA_DECODED_EVENT)
		return;
	check_event(chain->event);
	aa_path_rules_decide(rules, chain->event);
	if (!aa_event_queue_push(chain->queue, chain->event)) {
		take_all(chain);
		if (!aa_event_queue_push(chain->queue, chain->event))
			return;
	}
	if (aa_event_queue_length(chain->queue) == 1) {
		const struct aa_file_event *first;

		check(!aa_event_queue_peek(chain->queue, &first) || !first ||
		      (first->size == chain->event->size && !memcmp(first, chain->event, first->size)));
	}
}

/* The rows that came of the events are read back. */
static void finish(struct chain *chain)
{
	take_all(chain);
	aa_columns_finish(chain->columns);
	for (size_t row = 0; row < aa_columns_length(chain->columns); row++) {
		struct aa_row_strings strings;
		int64_t offset;

		aa_columns_get(chain->columns, row, chain->event, &strings, &offset);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct builder builder;
	struct input input = { data, size };
	struct chain chain;

	if (!rules)
		make_rules();
	fail_in = input_byte(&input);
	chain.decoder = aa_decoder_create();
	chain.queue = aa_event_queue_create(65536);
	chain.columns = aa_columns_create(64);
	chain.event = __real_calloc(1, AA_EVENT_BYTES_MAX);
	if (!chain.decoder || !chain.queue || !chain.columns)
		input.left = 0;
	fail_in = input_byte(&input);
	while (input.left) {
		build_record(&builder, &input);
		take_record(&chain, &builder);
	}
	fail_in = 0;
	if (chain.queue && chain.columns)
		finish(&chain);
	aa_columns_unref(chain.columns);
	aa_event_queue_destroy(chain.queue);
	aa_decoder_destroy(chain.decoder);
	free(chain.event);
	return 0;
}

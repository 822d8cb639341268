// SPDX-License-Identifier: MIT
/*
 * Rows that come back as they went in, columns that say the same by Arrow's rules, memory that ends at the wrong
 * moment, and receivers that release in any order. The linker's --wrap stands between the core and malloc, and a
 * session.
 */
#include "columns.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "arrow_export.h"
#include "check.h"
#include "random.h"

enum { EVENTS = 5000, STRINGS_MAX = 400 };

union one {
	struct aa_file_event event;
	char room[sizeof(struct aa_file_event) + (size_t)3 * STRINGS_MAX];
};

/* ---- the n-th allocation of the core fails ---- */

static long allocations_left = -1; /* -1: none fails */

static bool allocation_fails(void)
{
	return allocations_left >= 0 && allocations_left-- == 0;
}

/* The linker's names: see --wrap in the Makefile. NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp)
 */
void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
int __real_posix_memalign(void **ret_memory, size_t alignment, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);
int __wrap_posix_memalign(void **ret_memory, size_t alignment, size_t bytes);

void *__wrap_malloc(size_t bytes)
{
	return allocation_fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
	return allocation_fails() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *memory, size_t bytes)
{
	return allocation_fails() ? NULL : __real_realloc(memory, bytes);
}

int __wrap_posix_memalign(void **ret_memory, size_t alignment, size_t bytes)
{
	return allocation_fails() ? ENOMEM : __real_posix_memalign(ret_memory, alignment, bytes);
}

/* ---- a session whose events are an array ---- */

static union one *session_events;
static size_t session_length, session_at, session_counted;

enum aa_peek __wrap_aa_session_peek(struct aa_session *session, const struct aa_file_event **ret_event);
void __wrap_aa_session_pass(struct aa_session *session);
void __wrap_aa_session_passed(struct aa_session *session, uint64_t count);
int64_t __wrap_aa_session_boottime_to_realtime_ns(const struct aa_session *session);

enum aa_peek __wrap_aa_session_peek(struct aa_session *session, const struct aa_file_event **ret_event)
{
	(void)session;
	if (session_at == session_length)
		return AA_PEEK_EMPTY;
	*ret_event = &session_events[session_at].event;
	return AA_PEEK_EVENT;
}

void __wrap_aa_session_pass(struct aa_session *session)
{
	(void)session;
	session_at++;
}

void __wrap_aa_session_passed(struct aa_session *session, uint64_t count)
{
	(void)session;
	session_counted += count;
}

int64_t __wrap_aa_session_boottime_to_realtime_ns(const struct aa_session *session)
{
	(void)session;
	return 1000;
}

/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

/* ---- events ---- */

static char *put_name(char *at, uint16_t *ret_length)
{
	static const char *const names[] = { "/usr/lib/libc.so.6", "/", "a", "/\xff", "/\\xff", "/\xc3\xa9", "/\xc3" };
	size_t length;

	switch (random_number() % 4) {
	case 0: /* its own */
		length = (size_t)sprintf(at, "/tmp/%llx", (unsigned long long)random_number());
		break;
	case 1: /* any bytes */
		length = 1 + random_number() % (STRINGS_MAX - 2);
		for (size_t i = 0; i < length; i++)
			at[i] = (char)(1 + random_number() % 255);
		break;
	default: {
		const char *name = names[random_number() % (sizeof(names) / sizeof(names[0]))];

		length = strlen(name);
		memcpy(at, name, length);
	}
	}
	at[length] = '\0';
	*ret_length = (uint16_t)length;
	return at + length + 1;
}

static void make_event(union one *one, uint64_t seq, uint32_t present)
{
	struct aa_file_event *event = &one->event;
	char *at = event->strings;

	memset(one, 0, sizeof(*one));
	event->present = present;
	event->seq = seq;
	event->timestamp_ns = random_number();
	if (present & AA_FIELD_RESULT)
		event->result = (int64_t)random_number() >> (random_number() % 64);
	event->pid = (uint32_t)random_number();
	event->tid = (uint32_t)(random_number() % 5);
	event->ppid = (uint32_t)random_number();
	event->uid = (uint32_t)random_number();
	event->cgroup_id = random_number();
	event->call = (uint16_t)(random_number() % 7);
	event->operation = (uint8_t)(random_number() % (random_number() % 100 ? 20 : 256));
	event->path_source = (uint8_t)(random_number() % (random_number() % 100 ? 6 : 256));
	event->path_flags = (uint8_t)random_number();
	memcpy(event->comm, "abcdefghijklmno", random_number() % 16);
	if (random_number() % 50 == 0)
		event->comm[0] = (char)0xfe;
	if (present & AA_FIELD_DURATION)
		event->duration_ns = random_number();
	if (present & AA_FIELD_FD)
		event->fd = (int32_t)random_number();
	if (present & AA_FIELD_DIRFD)
		event->dirfd = (int32_t)random_number();
	if (present & AA_FIELD_FLAGS)
		event->flags = random_number();
	if (present & AA_FIELD_MODE)
		event->mode = (uint32_t)random_number();
	if (present & AA_FIELD_COUNT)
		event->count = random_number();
	if (present & AA_FIELD_OFFSET)
		event->offset = (int64_t)random_number();
	if (present & AA_FIELD_FILE) {
		event->device = random_number();
		event->inode = random_number() % 30;
	}
	if (present & AA_FIELD_KIND)
		event->kind = (uint8_t)(random_number() % (random_number() % 100 ? 4 : 256));
	if (present & AA_FIELD_PATH)
		at = put_name(at, &event->path_length);
	if (present & AA_FIELD_NEW_PATH)
		at = put_name(at, &event->new_path_length);
	if (present & AA_FIELD_RAW_PATH)
		put_name(at, &event->raw_path_length);
}

enum { ALL_FIELDS = (AA_FIELD_RESULT << 1) - 1 };

static union one *make_events(size_t count, uint32_t some, uint32_t always)
{
	union one *events = malloc(count * sizeof(*events));

	for (size_t i = 0; i < count; i++)
		make_event(&events[i], i, ((uint32_t)random_number() & some) | always);
	return events;
}

static bool same_string(const char *given, const char *got, size_t length)
{
	return !given ? !got : got && !memcmp(given, got, length);
}

static bool same_event(const struct aa_columns *columns, size_t row, const struct aa_file_event *event, int64_t offset)
{
	struct aa_row_strings strings;
	struct aa_file_event got;
	int64_t got_offset;

	aa_columns_get(columns, row, &got, &strings, &got_offset);
	return got_offset == offset && !memcmp(&got, event, offsetof(struct aa_file_event, strings)) &&
	       same_string(aa_file_event_path(event), strings.path, event->path_length) &&
	       same_string(aa_file_event_new_path(event), strings.new_path, event->new_path_length) &&
	       same_string(aa_file_event_raw_path(event), strings.raw_path, event->raw_path_length);
}

static struct aa_columns *make_columns(union one *events, size_t count, int64_t offset)
{
	struct aa_columns *columns = aa_columns_create(count);

	for (size_t i = 0; i < count; i++)
		CHECK(aa_columns_append(columns, &events[i].event, offset) == AA_APPEND_DONE);
	CHECK(aa_columns_append(columns, &events[0].event, offset) == AA_APPEND_FULL);
	aa_columns_finish(columns);
	CHECK(aa_columns_length(columns) == count);
	return columns;
}

static void test_rows_come_back(void)
{
	static const uint32_t shapes[][2] = {
		{ ALL_FIELDS, 0 },
		{ 0, 0 },
		{ 0, ALL_FIELDS },
		{ AA_FIELD_FD, AA_FIELD_PATH | AA_FIELD_FILE },
	};
	static const size_t counts[] = { 1, 63, 64, 65, 256, 257, EVENTS };

	for (size_t shape = 0; shape < sizeof(shapes) / sizeof(shapes[0]); shape++) {
		for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
			union one *events = make_events(counts[i], shapes[shape][0], shapes[shape][1]);
			struct aa_columns *columns = make_columns(events, counts[i], -5);
			size_t wrong = 0;

			for (size_t row = 0; row < counts[i]; row++)
				wrong += !same_event(columns, row, &events[row].event, -5);
			CHECK(wrong == 0);
			aa_columns_unref(columns);
			free(events);
		}
	}
}

/* A field that is first met late, in and at the edges of a block, is null in all rows before. */
static void test_fields_met_late(void)
{
	static const size_t firsts[] = { 1, 63, 64, 65, 255, 256, 300 };

	for (size_t i = 0; i < sizeof(firsts) / sizeof(firsts[0]); i++) {
		union one *events = make_events(400, 0, 0);
		struct aa_columns *columns;
		struct aa_column_buffers buffers;
		size_t column = 0, wrong = 0;

		make_event(&events[firsts[i]], firsts[i], AA_FIELD_MODE);
		columns = make_columns(events, 400, 0);
		while (strcmp(aa_column_info(column)->name, "mode") != 0)
			column++;
		aa_columns_buffers(columns, column, &buffers);
		CHECK(buffers.null_count == 399);
		for (size_t row = 0; row < 400; row++)
			wrong += (((const uint8_t *)buffers.validity)[row / 8] >> row % 8 & 1) != (row == firsts[i]) ||
				 ((const uint32_t *)buffers.values)[row] != events[row].event.mode ||
				 !same_event(columns, row, &events[row].event, 0);
		CHECK(wrong == 0);
		aa_columns_unref(columns);
		free(events);
	}
}

/* ---- Arrow ---- */

static const struct ArrowArray *child(const struct ArrowArray *array, const char *name)
{
	size_t column = 0;

	while (strcmp(aa_column_info(column)->name, name) != 0)
		column++;
	return array->children[column];
}

static bool is_valid(const struct ArrowArray *array, size_t row)
{
	const uint8_t *validity = array->buffers[0];

	return !validity || validity[row / 8] >> row % 8 & 1;
}

/* The text that a dictionary column shows. */
static bool shows(const struct ArrowArray *array, size_t row, const char *text)
{
	const int32_t *offsets = array->dictionary->buffers[1];
	int32_t index = ((const int32_t *)array->buffers[1])[row];

	return is_valid(array, row) && (size_t)(offsets[index + 1] - offsets[index]) == strlen(text) &&
	       !memcmp((const char *)array->dictionary->buffers[2] + offsets[index], text, strlen(text));
}

static bool has_bytes(const struct ArrowArray *array, size_t row, const char *bytes)
{
	const int32_t *offsets = array->buffers[1];

	if (!bytes)
		return !is_valid(array, row) && offsets[row] == offsets[row + 1];
	return is_valid(array, row) && (size_t)(offsets[row + 1] - offsets[row]) == strlen(bytes) &&
	       !memcmp((const char *)array->buffers[2] + offsets[row], bytes, strlen(bytes));
}

static struct ArrowArray export_array(struct aa_columns *columns)
{
	struct ArrowArray array;

	aa_arrow_export_array(columns, aa_arrow_room_create(), &array);
	return array;
}

/* Names that are UTF-8 and names that are not; the exact bytes are there only where they are needed. */
static void test_names(void)
{
	static const struct {
		const char *name, *shown;
	} names[] = {
		{ "/plain", "/plain" },
		{ "/\xff", "/\\xff" },
		{ "/\\xff", "/\\xff" },
		{ "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" },
		{ "\xc3", "\\xc3" },
		{ "\xc3(", "\\xc3(" },
		{ "\xc0\xaf", "\\xc0\\xaf" },			/* overlong */
		{ "\xe0\x80\xaf", "\\xe0\\x80\\xaf" },		/* overlong */
		{ "\xed\xa0\x80", "\\xed\\xa0\\x80" },		/* a surrogate */
		{ "\xed\x9f\xbf", "\xed\x9f\xbf" },		/* the last before them */
		{ "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80" }, /* beyond U+10FFFF */
		{ "\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf" },	/* U+10FFFF */
		{ "\xf0\x8f\xbf\xbf", "\\xf0\\x8f\\xbf\\xbf" }, /* overlong */
		{ "\xe2\x82", "\\xe2\\x82" },			/* cut */
		{ "a\xe2\x82z", "a\\xe2\\x82z" },
		{ "\xf5\x80\x80\x80\x80", "\\xf5\\x80\\x80\\x80\\x80" },
		{ "/\xff", "/\\xff" },
	};
	enum { NAMES = sizeof(names) / sizeof(names[0]) };
	struct aa_columns *columns = aa_columns_create(NAMES);
	struct ArrowArray array;

	for (size_t i = 0; i < NAMES; i++) {
		union one one;

		make_event(&one, i, AA_FIELD_PATH);
		one.event.path_length = (uint16_t)strlen(names[i].name);
		memcpy(one.event.strings, names[i].name, one.event.path_length + 1u);
		CHECK(aa_columns_append(columns, &one.event, 0) == AA_APPEND_DONE);
	}
	aa_columns_finish(columns);
	array = export_array(columns);
	CHECK(child(&array, "path")->null_count == 0 && child(&array, "new_path")->null_count == NAMES);
	for (size_t i = 0; i < NAMES; i++) {
		bool is_exact = strcmp(names[i].name, names[i].shown) == 0;

		CHECK(shows(child(&array, "path"), i, names[i].shown));
		CHECK(has_bytes(child(&array, "path_bytes"), i, is_exact ? NULL : names[i].name));
		CHECK(has_bytes(child(&array, "raw_path_bytes"), i, NULL));
	}
	/* Names that look alike are one entry. */
	CHECK(child(&array, "path")->dictionary->length == NAMES - 2);
	array.release(&array);
	aa_columns_unref(columns);
}

static void test_schema_and_array_agree(void)
{
	union one *events = make_events(300, ALL_FIELDS, 0);
	struct aa_columns *columns = make_columns(events, 300, 0);
	struct ArrowArray array = export_array(columns);
	struct ArrowSchema schema;

	CHECK(aa_arrow_export_schema(&schema) == 0);
	CHECK(!strcmp(schema.format, "+s") && schema.n_children == array.n_children && array.length == 300);
	for (int64_t i = 0; i < schema.n_children; i++) {
		const struct ArrowSchema *its_schema = schema.children[i];
		const struct ArrowArray *its = array.children[i];
		int64_t nulls = 0;

		CHECK(!strcmp(its_schema->name, aa_column_info((size_t)i)->name));
		CHECK(!its_schema->dictionary == !its->dictionary && its->length == 300 && its->offset == 0);
		for (size_t row = 0; row < 300; row++)
			nulls += !is_valid(its, row);
		CHECK(its->null_count == nulls);
		CHECK(nulls == 0 || its_schema->flags & ARROW_FLAG_NULLABLE);
		CHECK((uintptr_t)its->buffers[1] % 64 == 0);
	}
	CHECK(!aa_column_info((size_t)schema.n_children));
	schema.release(&schema);
	array.release(&array);
	aa_columns_unref(columns);
	free(events);
}

static void *release_array(void *array)
{
	((struct ArrowArray *)array)->release(array);
	return NULL;
}

/* Whoever holds something last frees it: run by the sanitizers, which see what is freed twice, too early or never. */
static void test_release_in_any_order(void)
{
	union one *events = make_events(200, ALL_FIELDS, 0);
	struct aa_columns *columns = make_columns(events, 200, 0);
	struct ArrowArray array = export_array(columns), other = export_array(columns), kept, dictionary;
	struct ArrowSchema schema, kept_schema;
	void (*release)(struct ArrowArray *) = array.release;
	pthread_t thread;

	aa_columns_unref(columns);
	/* A child and a dictionary are moved out of their parent, which goes first. */
	kept = *array.children[1];
	array.children[1]->release = NULL;
	dictionary = *array.children[6]->dictionary;
	array.children[6]->dictionary->release = NULL;
	array.release(&array);
	CHECK(!array.release);
	release(&array); /* again: nothing */
	CHECK(((const int64_t *)kept.buffers[1])[199] == (int64_t)events[199].event.timestamp_ns);
	CHECK(((const int32_t *)dictionary.buffers[1])[0] == 0);
	pthread_create(&thread, NULL, release_array, &kept);
	release_array(&dictionary);
	pthread_join(thread, NULL);
	CHECK(!kept.release && !dictionary.release);
	pthread_create(&thread, NULL, release_array, &other);
	pthread_join(thread, NULL);
	CHECK(!other.release);

	CHECK(aa_arrow_export_schema(&schema) == 0);
	kept_schema = *schema.children[6];
	schema.children[6]->release = NULL;
	schema.release(&schema);
	CHECK(!schema.release && !strcmp(kept_schema.dictionary->format, "u"));
	kept_schema.release(&kept_schema);

	aa_arrow_room_destroy(aa_arrow_room_create());
	aa_arrow_room_destroy(NULL);
	aa_columns_unref(NULL);
	free(events);
}

static void test_nothing_at_all(void)
{
	struct aa_columns *columns = aa_columns_create(10);
	struct ArrowArray array;

	aa_columns_finish(columns);
	array = export_array(columns);
	CHECK(array.length == 0);
	for (int64_t i = 0; i < array.n_children; i++)
		CHECK(array.children[i]->length == 0 && array.children[i]->null_count == 0);
	array.release(&array);
	aa_columns_unref(columns);
}

/* ---- memory that is not there ---- */

/* Each allocation in turn fails once: the row is not there, and the next attempt adds it. */
static void test_no_event_is_lost_when_memory_is_short(void)
{
	enum { COUNT = 600 };
	union one *events = make_events(COUNT, ALL_FIELDS, 0);
	long failing;
	bool failed = true;

	for (failing = 0; failed; failing++) {
		struct aa_columns *columns;
		size_t wrong = 0;

		allocations_left = failing;
		columns = aa_columns_create(COUNT);
		failed = !columns;
		if (failed)
			continue;
		for (size_t i = 0; i < COUNT; i++) {
			enum aa_append outcome = aa_columns_append(columns, &events[i].event, 0);

			if (outcome == AA_APPEND_NO_MEMORY) {
				CHECK(!failed && allocations_left == -1 && aa_columns_length(columns) == i);
				failed = true;
				outcome = aa_columns_append(columns, &events[i].event, 0);
			}
			CHECK(outcome == AA_APPEND_DONE);
		}
		aa_columns_finish(columns);
		for (size_t row = 0; row < COUNT; row++)
			wrong += !same_event(columns, row, &events[row].event, 0);
		CHECK(wrong == 0);
		aa_columns_unref(columns);
	}
	allocations_left = -1;
	CHECK(failing > 40);

	{
		struct ArrowSchema schema;

		allocations_left = 0;
		CHECK(aa_arrow_export_schema(&schema) == ENOMEM);
		allocations_left = 0;
		CHECK(!aa_arrow_room_create());
	}
	free(events);
}

/* What the session gives is in the batch or still in the session, wherever memory ends. */
static void test_fill(void)
{
	enum { COUNT = 1000 };

	session_events = make_events(COUNT, ALL_FIELDS, 0);
	session_length = COUNT;
	for (long failing = 0; failing < 60; failing++) {
		size_t taken = 0, wrong = 0;

		session_at = session_counted = 0;
		while (taken < COUNT) {
			struct aa_columns *columns = aa_columns_create(400);
			size_t rows;
			enum aa_append outcome;

			allocations_left = taken ? -1 : failing;
			outcome = aa_columns_fill(columns, NULL);
			allocations_left = -1;
			rows = aa_columns_length(columns);
			CHECK((outcome == AA_APPEND_NO_MEMORY) == (rows == 0));
			CHECK(taken + rows == session_at && session_counted == session_at);
			aa_columns_finish(columns);
			for (size_t row = 0; row < rows; row++)
				wrong += !same_event(columns, row, &session_events[taken + row].event, 1000);
			taken += rows;
			aa_columns_unref(columns);
			if (!rows)
				failing++;
		}
		CHECK(wrong == 0 && session_at == COUNT);
	}
	free(session_events);
}

int main(void)
{
	test_rows_come_back();
	test_fields_met_late();
	test_names();
	test_schema_and_array_agree();
	test_release_in_any_order();
	test_nothing_at_all();
	test_no_event_is_lost_when_memory_is_short();
	test_fill();
	return CHECK_DONE();
}

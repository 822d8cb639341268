// SPDX-License-Identifier: MIT
/* A record written down by hand becomes the event written down by hand; whatever else is refused, never believed. */
#include "event_decode.h"

#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "../../bpf/openers.h"
#include "check.h"
#include "session.h"

struct record {
	struct aa_event event;
	char data[512];
};

static struct aa_file_event *room;
static struct aa_decoder *decoder;

static struct aa_record head_of(enum aa_record_type type, __u32 thread)
{
	return (struct aa_record){ .version = AA_ABI_VERSION, .type = (__u8)type, .thread = thread };
}

static bool decode(const void *record, size_t bytes)
{
	return aa_decoder_take(decoder, record, bytes, room) == AA_DECODED_EVENT;
}

static bool meet(__u32 number, __u32 pid, bool is_new)
{
	struct aa_thread thread = {
		.record = head_of(AA_RECORD_THREAD, number), .pid = pid, .tid = pid + 1, .is_new = is_new
	};

	memcpy(thread.process.comm, "exactly15chars!", 16);
	thread.process.uid = 1000;
	return aa_decoder_take(decoder, &thread, sizeof(thread), room) == AA_DECODED_FACT;
}

static void begin(struct record *record, enum aa_call call)
{
	memset(record, 0, sizeof(*record));
	record->event.record = head_of(AA_RECORD_EVENT, 5);
	record->event.call = (__u16)call;
	record->event.duration_ns = 5;
}

static size_t put(struct record *record, size_t at, const char *bytes, size_t count)
{
	memcpy(record->data + at, bytes, count);
	return at + count;
}

static size_t put_second(struct record *record, size_t at, struct aa_second second)
{
	record->event.blocks |= AA_BLOCK_SECOND;
	return put(record, at, (const char *)&second, sizeof(second));
}

static size_t put_more(struct record *record, size_t at, struct aa_more more)
{
	record->event.blocks |= AA_BLOCK_MORE;
	return put(record, at, (const char *)&more, sizeof(more));
}

#define HEAD offsetof(struct record, data)

/* An empty name as passed leaves no path, and does not move the string behind it. */
static void test_empty_name(void)
{
	struct record record;
	size_t end;

	begin(&record, AA_CALL_rename);
	record.event.record.operation = AA_OPERATION_RENAME;
	record.event.name.source = AA_PATH_SOURCE_AS_PASSED;
	record.event.name.has_raw = 1;
	end = put(&record, 0, "/old", 4);
	record.event.name.raw_bytes = 4;
	end = put_second(&record, end,
			 (struct aa_second){ .name = { .source = AA_PATH_SOURCE_AS_PASSED, .has_raw = 1 } });
	CHECK(decode(&record, HEAD + end));
	CHECK(!strcmp(aa_file_event_path(room), "/old") && !aa_file_event_new_path(room));
	CHECK(room->raw_path_length == 4 && !strcmp(aa_file_event_raw_path(room), "/old"));
}

static void test_read_of_a_file(void)
{
	struct record record;
	size_t end;

	begin(&record, AA_CALL_read);
	record.event.record.operation = AA_OPERATION_READ;
	record.event.fd = 4;
	record.event.result = 42;
	record.event.object =
		(struct aa_file_facts){ .inode = 99, .device = 8u << 20 | 1, .kind = AA_KIND_FILE, .is_known = 1 };
	record.event.name.source = AA_PATH_SOURCE_FILE;
	record.event.name.has_walk = AA_WALK_OBJECT;
	end = put(&record, 0, "c\0bb\0a", 7);
	record.event.name.walk_bytes = 7;
	end = put_more(&record, end, (struct aa_more){ .count = 100, .offset = 7 });
	CHECK(decode(&record, HEAD + end));
	CHECK(!strcmp(aa_file_event_path(room), "/a/bb/c"));
	CHECK(!aa_file_event_new_path(room) && !aa_file_event_raw_path(room));
	CHECK(room->present == (AA_FIELD_RESULT | AA_FIELD_DURATION | AA_FIELD_FD | AA_FIELD_COUNT | AA_FIELD_OFFSET |
				AA_FIELD_BYTES | AA_FIELD_FILE | AA_FIELD_KIND | AA_FIELD_PATH));
	CHECK(room->device == makedev(8, 1) && room->inode == 99 && room->kind == AA_KIND_FILE);
	CHECK(room->fd == 4 && room->count == 100 && room->result == 42 && room->offset == 7);
	CHECK(room->path_source == AA_PATH_SOURCE_FILE && !strcmp(room->comm, "exactly15chars!"));
	CHECK(room->pid == 10 && room->tid == 11 && room->uid == 1000);
	CHECK(room->size % 8 == 0);

	/* The root directory is a walk of nothing. */
	record.event.blocks = 0;
	record.event.name.walk_bytes = 0;
	CHECK(decode(&record, HEAD) && !strcmp(aa_file_event_path(room), "/"));
	CHECK(!(room->present & AA_FIELD_OFFSET) && room->count == 0);

	/* A descriptor that changed has no name, whatever the record carries. */
	record.event.name.source = AA_PATH_SOURCE_FD_CHANGED;
	record.event.name.walk_bytes = 7;
	CHECK(decode(&record, HEAD + 7) && !aa_file_event_path(room));

	/* Objects that are nowhere are named as /proc/PID/fd does. */
	record.event.name.source = AA_PATH_SOURCE_FILE;
	record.event.name.walk_bytes = 0;
	record.event.object.kind = AA_KIND_PIPE | AA_KIND_PLACELESS;
	CHECK(decode(&record, HEAD) && !strcmp(aa_file_event_path(room), "pipe:[99]"));
	record.event.object.kind = AA_KIND_SOCKET | AA_KIND_PLACELESS;
	CHECK(decode(&record, HEAD) && !strcmp(aa_file_event_path(room), "socket:[99]"));
	CHECK(room->kind == AA_KIND_SOCKET);
	/* One that is somewhere, such as a socket opened with O_PATH, is named by its place. */
	record.event.object.kind = AA_KIND_SOCKET;
	CHECK(decode(&record, HEAD) && !strcmp(aa_file_event_path(room), "/"));
}

static void test_copy(void)
{
	const struct aa_file_facts pipe = { .inode = 77, .kind = AA_KIND_PIPE | AA_KIND_PLACELESS, .is_known = 1 };
	struct record record;
	size_t end;

	begin(&record, AA_CALL_splice);
	record.event.record.operation = AA_OPERATION_COPY;
	record.event.blocks = AA_MARK_NO_COUNT;
	record.event.fd = 3;
	record.event.result = 5;
	record.event.object = (struct aa_file_facts){ .inode = 99, .kind = AA_KIND_FILE, .is_known = 1 };
	record.event.name.source = AA_PATH_SOURCE_FILE;
	record.event.name.has_walk = AA_WALK_OBJECT;
	record.event.name.walk_bytes = 3;
	end = put(&record, 0, "ab", 3);
	end = put_second(&record, end,
			 (struct aa_second){ .object = pipe,
					     .name = { .source = AA_PATH_SOURCE_FILE, .has_walk = AA_WALK_OBJECT } });
	CHECK(decode(&record, HEAD + end));
	CHECK(!strcmp(aa_file_event_path(room), "/ab"));
	CHECK(!strcmp(aa_file_event_new_path(room), "pipe:[77]"));
	CHECK(room->inode == 99 && room->kind == AA_KIND_FILE);
	CHECK(!(room->present & AA_FIELD_COUNT));
	/* The second side must be there when the record says so. */
	CHECK(!decode(&record, HEAD + end - 1));
}

static const char *path_of(struct record *record, const char *walk, size_t bytes)
{
	record->event.name.walk_bytes = (__u16)bytes;
	return decode(record, HEAD + put(record, 0, walk, bytes)) ? aa_file_event_path(room) : "refused";
}

/* The form says how an object is named, and not the beginning of its own name. */
static void test_objects_of_no_place(void)
{
	struct record record;
	const char *path;

	begin(&record, AA_CALL_read);
	record.event.object = (struct aa_file_facts){ .inode = 99, .is_known = 1 };
	record.event.name.source = AA_PATH_SOURCE_DENTRY;
	record.event.name.has_walk = AA_WALK_OBJECT;
	record.event.object.kind = AA_KIND_ANON | AA_KIND_PLACELESS | AA_FORM_ANON_INODE;
	CHECK((path = path_of(&record, "[eventfd]", 10)) && !strcmp(path, "anon_inode:[eventfd]"));
	CHECK(room->kind == AA_KIND_ANON && room->present & AA_FIELD_NO_PLACE);
	record.event.object.kind = AA_KIND_ANON | AA_KIND_PLACELESS | AA_FORM_NAMESPACE;
	CHECK((path = path_of(&record, "mnt\0/", 6)) && !strcmp(path, "mnt:[99]"));
	CHECK(!path_of(&record, "/", 2) && !path_of(&record, "", 0));
	record.event.object.kind = AA_KIND_ANON | AA_KIND_PLACELESS | AA_FORM_PIDFD;
	CHECK((path = path_of(&record, "/", 2)) && !strcmp(path, "anon_inode:[pidfd]"));
	/* A message queue, and what no form is known of. */
	record.event.object.kind = AA_KIND_ANON | AA_KIND_PLACELESS;
	CHECK(!path_of(&record, "queue\0/", 8) && !path_of(&record, "secretmem", 10));
	CHECK(!(room->present & AA_FIELD_PATH) && room->present & AA_FIELD_NO_PLACE);
	record.event.object.kind = AA_KIND_MEMFD | AA_KIND_PLACELESS;
	CHECK((path = path_of(&record, "memfd:[eventfd]", 16)) && !strcmp(path, "/memfd:[eventfd]"));
	CHECK(!path_of(&record, "a\0b", 4) && !path_of(&record, "", 0));
	record.event.object.kind = AA_KIND_DEVICE | AA_KIND_PLACELESS;
	CHECK(!path_of(&record, "a", 2));
	record.event.object.kind = AA_KIND_FILE;
	CHECK((path = path_of(&record, "memfd:a", 8)) && !strcmp(path, "/memfd:a"));
	CHECK(!(room->present & AA_FIELD_NO_PLACE));
}

static const char *below(struct record *record, const char *raw)
{
	size_t bytes = strlen(raw);

	record->event.name.has_raw = 1;
	record->event.name.raw_bytes = (__u16)bytes;
	put(record, put(record, 0, raw, bytes), "d", record->event.name.walk_bytes);
	return decode(record, HEAD + bytes + record->event.name.walk_bytes) ? aa_file_event_path(room) : "refused";
}

/* A name starts where its walk ended, and says so if that was not at the root. */
static void test_names_that_start_elsewhere(void)
{
	struct record record;

	begin(&record, AA_CALL_openat2);
	record.event.result = -2;
	record.event.name.source = AA_PATH_SOURCE_DIR_AND_NAME;
	record.event.name.has_walk = AA_WALK_OWN_ROOT;
	record.event.name.walk_bytes = 2;
	CHECK(!strcmp(below(&record, "a"), "/d/a") && !strcmp(below(&record, "/a"), "/d/a"));
	CHECK(!strcmp(below(&record, "../../a"), "/d/a") && !strcmp(below(&record, "/../.."), "/d"));
	CHECK(!strcmp(below(&record, "a/../../b"), "/d/a/../b") && !strcmp(below(&record, "//a//b/"), "/d/a/b"));
	CHECK(!strcmp(below(&record, "./.././a/..b"), "/d/././a/..b"));
	record.event.name.walk_bytes = 0;
	CHECK(!strcmp(below(&record, "../a"), "/a"));
	record.event.name.has_walk = AA_WALK_DIRECTORY;
	record.event.name.flags = AA_PATH_UNREACHABLE;
	CHECK(!strcmp(below(&record, "a"), "(unreachable)/a"));
	record.event.name.walk_bytes = 2;
	CHECK(!strcmp(below(&record, "../a"), "(unreachable)/d/../a"));
	CHECK(room->path_flags == AA_PATH_UNREACHABLE);
}

static void test_names_as_passed(void)
{
	const struct aa_second second = {
		.name = { .source = AA_PATH_SOURCE_AS_PASSED, .flags = AA_PATH_TRUNCATED, .has_raw = 1, .raw_bytes = 4 }
	};
	struct record record;
	size_t end;

	begin(&record, AA_CALL_renameat2);
	record.event.record.operation = AA_OPERATION_RENAME;
	record.event.dirfd = -100;
	record.event.flags = 1;
	record.event.result = -2;
	record.event.name = (struct aa_name_facts){
		.source = AA_PATH_SOURCE_DIR_AND_NAME,
		.has_raw = 1,
		.has_walk = AA_WALK_DIRECTORY,
		.raw_bytes = 4,
		.walk_bytes = 4,
	};
	end = put(&record, 0, "../x", 4);
	end = put(&record, end, "/new", 4);
	end = put(&record, end, "tmp", 4);
	end = put_second(&record, end, second);
	end = put_more(&record, end, (struct aa_more){ .offset = AA_NO_OFFSET, .flags_above = 1 });
	CHECK(decode(&record, HEAD + end) && room->flags == (1ull << 32 | 1));
	CHECK(!strcmp(aa_file_event_path(room), "/tmp/../x"));
	CHECK(!strcmp(aa_file_event_new_path(room), "/new"));
	CHECK(!strcmp(aa_file_event_raw_path(room), "../x"));
	/* Of two names the less certain source, and the flags of both. */
	CHECK(room->path_source == AA_PATH_SOURCE_AS_PASSED && room->path_flags == AA_PATH_TRUNCATED);
	CHECK(room->present == (AA_FIELD_RESULT | AA_FIELD_DURATION | AA_FIELD_DIRFD | AA_FIELD_FLAGS | AA_FIELD_PATH |
				AA_FIELD_NEW_PATH | AA_FIELD_RAW_PATH));

	/* What is known of the directory says nothing about the kind of the object. */
	record.event.object = (struct aa_file_facts){ .inode = 5, .kind = AA_KIND_OF_START, .is_known = 1 };
	CHECK(decode(&record, HEAD + end));
	CHECK(room->present & AA_FIELD_FILE && !(room->present & AA_FIELD_KIND) && room->inode == 5);

	/* In the root directory the slash is not doubled. */
	record.event.name.walk_bytes = 0;
	record.event.blocks = 0;
	end = put_second(&record, 8, second);
	CHECK(decode(&record, HEAD + end) && !strcmp(aa_file_event_path(room), "/../x"));

	/* The directory changed meanwhile: no path, the raw one stays. */
	record.event.name.source = AA_PATH_SOURCE_RACED;
	record.event.name.has_walk = AA_WALK_NONE;
	CHECK(decode(&record, HEAD + end) && !aa_file_event_path(room) &&
	      !strcmp(aa_file_event_raw_path(room), "../x") && !strcmp(aa_file_event_new_path(room), "/new"));
}

static void test_missing_blocks(void)
{
	struct record record;

	begin(&record, AA_CALL_write);
	record.event.record.operation = AA_OPERATION_WRITE;
	record.event.duration_ns = AA_NO_DURATION;
	CHECK(decode(&record, sizeof(record.event)));
	CHECK(room->present == (AA_FIELD_RESULT | AA_FIELD_FD | AA_FIELD_COUNT | AA_FIELD_BYTES));
}

static void test_refusals(void)
{
	struct record record;

	begin(&record, AA_CALL_openat);
	CHECK(decode(&record, HEAD));
	for (size_t bytes = 0; bytes < HEAD; bytes++)
		CHECK(!decode(&record, bytes));
	record.event.record.version++;
	CHECK(!decode(&record, HEAD));
	begin(&record, AA_CALL_openat);
	record.event.record.type = 77;
	CHECK(!decode(&record, HEAD));
	begin(&record, AA_CALL_LIMIT);
	CHECK(!decode(&record, HEAD));
	begin(&record, AA_CALL_openat);
	record.event.name.source = 200;
	CHECK(!decode(&record, HEAD));
	begin(&record, AA_CALL_openat);
	CHECK(!decode(&record,
		      HEAD + put_second(&record, 0, (struct aa_second){ .name.source = AA_PATH_SOURCE_COUNT })));
	begin(&record, AA_CALL_openat);
	record.event.blocks = AA_BLOCK_SECOND | AA_BLOCK_MORE;
	CHECK(decode(&record, HEAD + sizeof(struct aa_second) + sizeof(struct aa_more)));
	for (size_t bytes = 0; bytes < HEAD + sizeof(struct aa_second) + sizeof(struct aa_more); bytes++)
		CHECK(!decode(&record, bytes));
	begin(&record, AA_CALL_openat);
	record.event.name.raw_bytes = 65535;
	CHECK(!decode(&record, sizeof(record)));
	begin(&record, AA_CALL_read);
	record.event.name.source = AA_PATH_SOURCE_FILE;
	record.event.name.has_walk = AA_WALK_OBJECT;
	record.event.name.walk_bytes = 3;
	memcpy(record.data, "abc", 3); /* no NUL at its end */
	CHECK(!decode(&record, HEAD + 3));
}

static struct aa_again again_of(__u32 thread, __u32 file)
{
	return (struct aa_again){ .record = { .version = AA_ABI_VERSION,
					      .type = AA_RECORD_AGAIN,
					      .operation = AA_OPERATION_WRITE,
					      .thread = thread },
				  .timestamp_ns = 8,
				  .duration_ns = 3,
				  .file = file,
				  .offset = AA_NO_OFFSET,
				  .result = -9,
				  .count = 4,
				  .fd = 6,
				  .call = AA_CALL_write,
				  .source = AA_PATH_SOURCE_FILE };
}

/* A record whose file the thread will speak of by that number. */
static void tell(__u32 thread, __u32 number, const char *name)
{
	struct record record;
	size_t end = strlen(name) + 1;

	begin(&record, AA_CALL_openat);
	record.event.record.thread = thread;
	record.event.file = number;
	record.event.object =
		(struct aa_file_facts){ .inode = number, .device = 8u << 20 | 1, .kind = AA_KIND_FILE, .is_known = 1 };
	record.event.name.source = AA_PATH_SOURCE_FILE;
	record.event.name.flags = AA_PATH_DELETED;
	record.event.name.has_walk = AA_WALK_OBJECT;
	record.event.name.walk_bytes = (__u16)end;
	put(&record, 0, name, end);
	CHECK(decode(&record, HEAD + end));
}

static bool decode_again(__u32 thread, __u32 number)
{
	struct aa_again again = again_of(thread, number);

	return decode(&again, sizeof(again));
}

static void test_files_by_number(void)
{
	const __u32 one = AA_THREAD_FILES | 3, same_place = 2 * AA_THREAD_FILES | 3, other_place = one + 1;
	struct aa_again again = again_of(5, one);
	struct aa_record end = head_of(AA_RECORD_THREAD_END, 5);

	/* A number of nothing, and a thread not heard of. */
	CHECK(!decode_again(5, one) && !decode_again(77, one));
	tell(5, one, "one");
	CHECK(decode_again(5, one) && !strcmp(aa_file_event_path(room), "/one"));
	CHECK(room->present == (AA_FIELD_RESULT | AA_FIELD_DURATION | AA_FIELD_FD | AA_FIELD_COUNT | AA_FIELD_BYTES |
				AA_FIELD_FILE | AA_FIELD_KIND | AA_FIELD_PATH));
	CHECK(room->device == makedev(8, 1) && room->inode == one && room->kind == AA_KIND_FILE && room->fd == 6);
	CHECK(room->result == -9 && room->count == 4 && room->duration_ns == 3 && room->timestamp_ns == 8);
	CHECK(room->path_flags == AA_PATH_DELETED && room->path_source == AA_PATH_SOURCE_FILE);
	CHECK(room->pid == 10 && room->operation == AA_OPERATION_WRITE && room->size % 8 == 0);
	again.duration_ns = (__u32)AA_NO_DURATION;
	CHECK(decode(&again, sizeof(again)) && !(room->present & AA_FIELD_DURATION));

	/* Another thread's numbers are its own. */
	CHECK(meet(6, 20, true) && !decode_again(6, one));
	tell(6, one, "of-another");
	CHECK(decode_again(6, one) && !strcmp(aa_file_event_path(room), "/of-another") && room->pid == 20);
	CHECK(decode_again(5, one) && !strcmp(aa_file_event_path(room), "/one"));

	/* One takes the place of another: the old number means nothing any more, not even something else. */
	tell(5, other_place, "beside");
	tell(5, same_place, "two");
	CHECK(!decode_again(5, one));
	CHECK(decode_again(5, same_place) && !strcmp(aa_file_event_path(room), "/two"));
	CHECK(decode_again(5, other_place) && !strcmp(aa_file_event_path(room), "/beside"));

	/* New facts of the same thread leave them, a new thread of that number and its end do not. */
	CHECK(meet(5, 30, false) && decode_again(5, same_place) && room->pid == 30);
	CHECK(meet(5, 40, true) && !decode_again(5, same_place));
	tell(5, one, "one");
	CHECK(aa_decoder_take(decoder, &end, sizeof(end), room) == AA_DECODED_FACT && !decode_again(5, one));
	CHECK(aa_decoder_take(decoder, &end, sizeof(end), room) == AA_DECODED_FACT);
	CHECK(meet(5, 10, true) && !decode_again(5, one));

	for (size_t bytes = 0; bytes < sizeof(again); bytes++)
		CHECK(!decode(&again, bytes));
	tell(5, one, "one");
	again.source = AA_PATH_SOURCE_COUNT;
	CHECK(!decode(&again, sizeof(again)));
	again = again_of(5, one);
	again.call = AA_CALL_LIMIT;
	CHECK(!decode(&again, sizeof(again)));
}

/* A row of the totals: its first event, with the thread that made it, and nothing that is remembered. */
static void test_told(void)
{
	struct {
		struct aa_told told;
		struct record record;
	} wire = { .told = { .thread = { .record = head_of(AA_RECORD_TOLD, 900), .pid = 70, .tid = 71 }, .row = 12 } };
	size_t bytes = sizeof(wire.told) + HEAD, walk = 0;
	__u32 row = 0;

	memcpy(wire.told.thread.process.comm, "teller", 7);
	begin(&wire.record, AA_CALL_read);
	wire.record.event.result = 3;
	wire.record.event.fd = 4;
	wire.record.event.file = AA_THREAD_FILES | 5;
	wire.record.event.record.operation = AA_OPERATION_READ;
	wire.record.event.object = (struct aa_file_facts){ .inode = 9, .is_known = 1, .kind = AA_KIND_FILE };
	wire.record.event.name.source = AA_PATH_SOURCE_FILE;
	wire.record.event.name.has_walk = AA_WALK_OBJECT;
	walk = put(&wire.record, walk, "file\0dir", sizeof("file\0dir"));
	wire.record.event.name.walk_bytes = (__u16)walk;
	bytes += walk;
	CHECK(aa_decode_told(&wire, bytes, &row, room) && row == 12);
	CHECK(!strcmp(aa_file_event_path(room), "/dir/file") && room->pid == 70 && room->tid == 71);
	CHECK(!strcmp(room->comm, "teller") && room->result == 3 && room->operation == AA_OPERATION_READ);
	/* Neither the thread nor the number is known to others by that. */
	CHECK(!decode_again(900, AA_THREAD_FILES | 5));
	/* A request of io_uring is told so among the events. */
	CHECK(aa_decoder_take(decoder, &wire, bytes, room) == AA_DECODED_EVENT);
	CHECK(!strcmp(aa_file_event_path(room), "/dir/file") && room->pid == 70 && room->present & AA_FIELD_RESULT);
	wire.record.event.call = AA_RING_FIRST + AA_RING_READ_ROW;
	wire.record.event.blocks |= AA_MARK_NO_RESULT | AA_MARK_NO_FD;
	CHECK(aa_decoder_take(decoder, &wire, bytes, room) == AA_DECODED_EVENT);
	CHECK(!(room->present & (AA_FIELD_RESULT | AA_FIELD_BYTES | AA_FIELD_FD)) && aa_call_via(room->call));
	CHECK(!strcmp(aa_call_name(room->call), "IORING_OP_READ"));
	/* So is an open by an exec: it has flags and nothing else of a call. */
	wire.record.event.call = AA_OPENERS_FIRST + AA_OPENER_EXEC;
	CHECK(aa_decoder_take(decoder, &wire, bytes, room) == AA_DECODED_EVENT);
	CHECK(!(room->present & (AA_FIELD_RESULT | AA_FIELD_FD | AA_FIELD_DIRFD | AA_FIELD_COUNT | AA_FIELD_MODE)));
	CHECK(room->present & AA_FIELD_FLAGS && !strcmp(aa_via_name(aa_call_via(room->call)), "exec"));
	for (size_t less = 0; less < bytes; less++)
		CHECK(!aa_decode_told(&wire, less, &row, room));
	wire.told.thread.record.type = AA_RECORD_THREAD;
	CHECK(!aa_decode_told(&wire, bytes, &row, room));
	wire.told.thread.record = head_of(AA_RECORD_TOLD, 900);
	wire.told.thread.record.version++;
	CHECK(!aa_decode_told(&wire, bytes, &row, room));
}

/* What is an event, also where it is looked at before those that it needs. */
static void test_events_are_told_from_facts(void)
{
	const struct aa_record facts[] = { head_of(AA_RECORD_THREAD, 1), head_of(AA_RECORD_THREAD_END, 1) },
			       events[] = { head_of(AA_RECORD_EVENT, 1), head_of(AA_RECORD_AGAIN, 1), head_of(77, 1) };

	for (size_t i = 0; i < sizeof(facts) / sizeof(*facts); i++)
		CHECK(!aa_record_is_event(&facts[i], sizeof(facts[i])));
	for (size_t i = 0; i < sizeof(events) / sizeof(*events); i++)
		CHECK(aa_record_is_event(&events[i], sizeof(events[i])));
	CHECK(aa_record_is_event(&facts[0], 3));
}

static void noisy_name(struct aa_name_facts *name, unsigned *seed)
{
	name->source = (__u8)(rand_r(seed) % (AA_PATH_SOURCE_COUNT + 1));
	name->has_raw = (__u8)(rand_r(seed) % 2);
	name->has_walk = (__u8)(rand_r(seed) % 4);
	name->raw_bytes = (__u16)(rand_r(seed) % 100);
	name->walk_bytes = (__u16)(rand_r(seed) % 100);
}

/* Any bytes at all: the sanitizers are the judge. */
static void test_noise(void)
{
	unsigned char *bytes = malloc(20000);
	unsigned seed = 1;

	for (int round = 0; round < 200000; round++) {
		struct record *record = (struct record *)bytes;
		size_t size = HEAD + sizeof(struct aa_more) + (size_t)rand_r(&seed) % 300, at;

		begin(record, (enum aa_call)(rand_r(&seed) % AA_CALL_COUNT));
		for (size_t i = HEAD; i < size; i++)
			bytes[i] = (unsigned char)(rand_r(&seed) % 4);
		record->event.object.kind = (__u8)(rand_r(&seed) % 12);
		record->event.object.is_known = (__u8)(rand_r(&seed) % 2);
		record->event.result = rand_r(&seed) % 3 - 1;
		record->event.record.type = (__u8)(1 + rand_r(&seed) % AA_RECORD_THREAD_END);
		record->event.file = (__u32)rand_r(&seed) % 64;
		record->event.blocks = (__u16)(rand_r(&seed) % 4);
		noisy_name(&record->event.name, &seed);
		at = size;
		if (record->event.blocks & AA_BLOCK_MORE)
			at -= sizeof(struct aa_more);
		if (record->event.blocks & AA_BLOCK_SECOND && at - HEAD >= sizeof(struct aa_second)) {
			struct aa_name_facts name = { 0 };

			noisy_name(&name, &seed);
			memcpy(bytes + at - sizeof(name), &name, sizeof(name));
		}
		if (rand_r(&seed) % 4 == 0)
			bytes[rand_r(&seed) % (int)HEAD] ^= (unsigned char)(1 << rand_r(&seed) % 8);
		if (decode(bytes, size))
			CHECK(room->size >= sizeof(*room) && room->size <= AA_EVENT_BYTES_MAX);
	}
	free(bytes);
}

int main(void)
{
	room = malloc(AA_EVENT_BYTES_MAX);
	decoder = aa_decoder_create();
	CHECK(meet(5, 10, true));
	test_empty_name();
	test_read_of_a_file();
	test_copy();
	test_objects_of_no_place();
	test_names_that_start_elsewhere();
	test_names_as_passed();
	test_missing_blocks();
	test_refusals();
	test_files_by_number();
	test_told();
	test_events_are_told_from_facts();
	test_noise();
	aa_decoder_destroy(decoder);
	free(room);
	return CHECK_DONE();
}

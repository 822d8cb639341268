// SPDX-License-Identifier: MIT
/* A record written down by hand becomes the event written down by hand; whatever else is refused, never believed. */
#include "event_decode.h"

#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "../../bpf/syscalls.h"
#include "check.h"
#include "session.h"

struct record {
	struct aa_event event;
	struct aa_process_facts process;
	struct aa_file_facts file;
	struct aa_name_facts names;
	char data[512];
};

static struct aa_file_event *room;

static void begin(struct record *record, enum aa_call call)
{
	memset(record, 0, sizeof(*record));
	record->event.version = AA_ABI_VERSION;
	record->event.type = AA_RECORD_EVENT;
	record->event.call = (__u16)call;
	record->event.blocks = AA_BLOCK_PROCESS | AA_BLOCK_FILE | AA_BLOCK_NAMES;
	record->event.offset = AA_NO_OFFSET;
	record->event.duration_ns = 5;
	record->event.pid = 10;
	record->event.tid = 11;
	memcpy(record->process.comm, "exactly15chars!", 16);
}

static size_t put(struct record *record, size_t at, const char *bytes, size_t count)
{
	memcpy(record->data + at, bytes, count);
	return at + count;
}

#define HEAD offsetof(struct record, data)

static void test_read_of_a_file(void)
{
	struct record record;
	size_t end;

	begin(&record, AA_CALL_read);
	record.event.operation = AA_OPERATION_READ;
	record.event.fd = 4;
	record.event.count = 100;
	record.event.result = 42;
	record.event.offset = 7;
	record.file =
		(struct aa_file_facts){ .inode = 99, .device = 8u << 20 | 1, .kind = AA_KIND_FILE, .is_known = 1 };
	record.names.source[0] = AA_PATH_SOURCE_FILE;
	record.names.has_walk[0] = AA_WALK_OBJECT;
	record.names.walk_bytes[0] = 6;
	end = put(&record, 0, "c\0bb\0a", 7);
	record.names.walk_bytes[0] = 7;
	CHECK(aa_event_decode(&record, HEAD + end, room));
	CHECK(!strcmp(aa_file_event_path(room), "/a/bb/c"));
	CHECK(!aa_file_event_new_path(room) && !aa_file_event_raw_path(room));
	CHECK(room->present == (AA_FIELD_DURATION | AA_FIELD_FD | AA_FIELD_COUNT | AA_FIELD_OFFSET | AA_FIELD_BYTES |
				AA_FIELD_FILE | AA_FIELD_KIND | AA_FIELD_PATH));
	CHECK(room->device == makedev(8, 1) && room->inode == 99 && room->kind == AA_KIND_FILE);
	CHECK(room->fd == 4 && room->count == 100 && room->result == 42 && room->offset == 7);
	CHECK(room->path_source == AA_PATH_SOURCE_FILE && !strcmp(room->comm, "exactly15chars!"));
	CHECK(room->size % 8 == 0);

	/* The root directory is a walk of nothing. */
	record.names.walk_bytes[0] = 0;
	CHECK(aa_event_decode(&record, HEAD, room) && !strcmp(aa_file_event_path(room), "/"));

	/* A descriptor that changed has no name, whatever the record carries. */
	record.names.source[0] = AA_PATH_SOURCE_FD_CHANGED;
	record.names.walk_bytes[0] = 7;
	CHECK(aa_event_decode(&record, HEAD + end, room) && !aa_file_event_path(room));

	/* Objects that are nowhere are named as /proc/PID/fd does. */
	record.names.source[0] = AA_PATH_SOURCE_FILE;
	record.names.walk_bytes[0] = 0;
	record.file.kind = AA_KIND_PIPE | AA_KIND_PLACELESS;
	CHECK(aa_event_decode(&record, HEAD, room) && !strcmp(aa_file_event_path(room), "pipe:[99]"));
	record.file.kind = AA_KIND_SOCKET | AA_KIND_PLACELESS;
	CHECK(aa_event_decode(&record, HEAD, room) && !strcmp(aa_file_event_path(room), "socket:[99]"));
	CHECK(room->kind == AA_KIND_SOCKET);
	/* One that is somewhere, such as a socket opened with O_PATH, is named by its place. */
	record.file.kind = AA_KIND_SOCKET;
	CHECK(aa_event_decode(&record, HEAD, room) && !strcmp(aa_file_event_path(room), "/"));
}

static void test_copy(void)
{
	const struct aa_file_facts pipe = { .inode = 77, .kind = AA_KIND_PIPE | AA_KIND_PLACELESS, .is_known = 1 };
	struct record record;
	size_t end;

	begin(&record, AA_CALL_splice);
	record.event.operation = AA_OPERATION_COPY;
	record.event.blocks |= AA_BLOCK_OTHER_FILE | AA_MARK_NO_COUNT;
	record.event.fd = 3;
	record.event.result = 5;
	record.file = (struct aa_file_facts){ .inode = 99, .kind = AA_KIND_FILE, .is_known = 1 };
	record.names.source[0] = record.names.source[1] = AA_PATH_SOURCE_FILE;
	record.names.has_walk[0] = record.names.has_walk[1] = AA_WALK_OBJECT;
	record.names.walk_bytes[0] = 3;
	end = put(&record, 0, "ab", 3);
	end = put(&record, end, (const char *)&pipe, sizeof(pipe));
	CHECK(aa_event_decode(&record, HEAD + end, room));
	CHECK(!strcmp(aa_file_event_path(room), "/ab"));
	CHECK(!strcmp(aa_file_event_new_path(room), "pipe:[77]"));
	CHECK(room->inode == 99 && room->kind == AA_KIND_FILE);
	CHECK(!(room->present & AA_FIELD_COUNT));
	/* The second file's facts must be there when the record says so. */
	CHECK(!aa_event_decode(&record, HEAD + end - 1, room));
}

static void test_names_as_passed(void)
{
	struct record record;
	size_t end;

	begin(&record, AA_CALL_renameat2);
	record.event.operation = AA_OPERATION_RENAME;
	record.event.dirfd = -100;
	record.event.flags = 1;
	record.event.result = -2;
	record.names = (struct aa_name_facts){
		.source = { AA_PATH_SOURCE_DIR_AND_NAME, AA_PATH_SOURCE_AS_PASSED },
		.flags = { 0, AA_PATH_TRUNCATED },
		.has_raw = { 1, 1 },
		.has_walk = { AA_WALK_DIRECTORY, AA_WALK_NONE },
		.raw_bytes = { 4, 4 },
		.walk_bytes = { 4, 0 },
	};
	end = put(&record, 0, "../x", 4);
	end = put(&record, end, "/new", 4);
	end = put(&record, end, "tmp", 4);
	CHECK(aa_event_decode(&record, HEAD + end, room));
	CHECK(!strcmp(aa_file_event_path(room), "/tmp/../x"));
	CHECK(!strcmp(aa_file_event_new_path(room), "/new"));
	CHECK(!strcmp(aa_file_event_raw_path(room), "../x"));
	/* Of two names the less certain source, and the flags of both. */
	CHECK(room->path_source == AA_PATH_SOURCE_AS_PASSED && room->path_flags == AA_PATH_TRUNCATED);
	CHECK(room->present == (AA_FIELD_DURATION | AA_FIELD_DIRFD | AA_FIELD_FLAGS | AA_FIELD_PATH |
				AA_FIELD_NEW_PATH | AA_FIELD_RAW_PATH));

	/* What is known of the directory says nothing about the kind of the object. */
	record.file = (struct aa_file_facts){ .inode = 5, .kind = AA_KIND_OF_START, .is_known = 1 };
	CHECK(aa_event_decode(&record, HEAD + end, room));
	CHECK(room->present & AA_FIELD_FILE && !(room->present & AA_FIELD_KIND) && room->inode == 5);

	/* In the root directory the slash is not doubled. */
	record.names.walk_bytes[0] = 0;
	CHECK(aa_event_decode(&record, HEAD + 8, room) && !strcmp(aa_file_event_path(room), "/../x"));

	/* The directory changed meanwhile: no path, the raw one stays. */
	record.names.source[0] = AA_PATH_SOURCE_RACED;
	record.names.has_walk[0] = AA_WALK_NONE;
	CHECK(aa_event_decode(&record, HEAD + 8, room) && !aa_file_event_path(room) &&
	      !strcmp(aa_file_event_raw_path(room), "../x") && !strcmp(aa_file_event_new_path(room), "/new"));
}

static void test_missing_blocks(void)
{
	struct record record;

	begin(&record, AA_CALL_write);
	record.event.operation = AA_OPERATION_WRITE;
	record.event.blocks = 0;
	record.event.duration_ns = AA_NO_DURATION;
	CHECK(aa_event_decode(&record, sizeof(record.event), room));
	CHECK(room->present == (AA_FIELD_FD | AA_FIELD_COUNT | AA_FIELD_BYTES));
}

static void test_refusals(void)
{
	struct record record;

	begin(&record, AA_CALL_openat);
	CHECK(aa_event_decode(&record, HEAD, room));
	for (size_t bytes = 0; bytes < HEAD; bytes++)
		CHECK(!aa_event_decode(&record, bytes, room));
	record.event.version++;
	CHECK(!aa_event_decode(&record, HEAD, room));
	begin(&record, AA_CALL_openat);
	record.event.type = 77;
	CHECK(!aa_event_decode(&record, HEAD, room));
	begin(&record, AA_CALL_COUNT);
	CHECK(!aa_event_decode(&record, HEAD, room));
	begin(&record, AA_CALL_openat);
	record.names.source[1] = 200;
	CHECK(!aa_event_decode(&record, HEAD, room));
	begin(&record, AA_CALL_openat);
	record.names.raw_bytes[0] = 65535;
	CHECK(!aa_event_decode(&record, sizeof(record), room));
	begin(&record, AA_CALL_read);
	record.names.source[0] = AA_PATH_SOURCE_FILE;
	record.names.has_walk[0] = AA_WALK_OBJECT;
	record.names.walk_bytes[0] = 3;
	memcpy(record.data, "abc", 3); /* no NUL at its end */
	CHECK(!aa_event_decode(&record, HEAD + 3, room));
}

/* Any bytes at all: the sanitizers are the judge. */
static void test_noise(void)
{
	unsigned char *bytes = malloc(20000);
	unsigned seed = 1;

	for (int round = 0; round < 200000; round++) {
		struct record *record = (struct record *)bytes;
		size_t size = HEAD + (size_t)rand_r(&seed) % 300;

		begin(record, (enum aa_call)(rand_r(&seed) % AA_CALL_COUNT));
		for (size_t i = HEAD; i < size; i++)
			bytes[i] = (unsigned char)(rand_r(&seed) % 4);
		record->file.kind = (__u8)(rand_r(&seed) % 12);
		record->file.is_known = (__u8)(rand_r(&seed) % 2);
		record->event.result = rand_r(&seed) % 3 - 1;
		for (int i = 0; i < 2; i++) {
			record->names.source[i] = (__u8)(rand_r(&seed) % (AA_PATH_SOURCE_COUNT + 1));
			record->names.has_raw[i] = (__u8)(rand_r(&seed) % 2);
			record->names.has_walk[i] = (__u8)(rand_r(&seed) % 4);
			record->names.raw_bytes[i] = (__u16)(rand_r(&seed) % 100);
			record->names.walk_bytes[i] = (__u16)(rand_r(&seed) % 100);
		}
		if (rand_r(&seed) % 4 == 0)
			bytes[rand_r(&seed) % (int)HEAD] ^= (unsigned char)(1 << rand_r(&seed) % 8);
		if (aa_event_decode(bytes, size, room))
			CHECK(room->size >= sizeof(*room) && room->size <= AA_EVENT_BYTES_MAX);
	}
	free(bytes);
}

int main(void)
{
	room = malloc(AA_EVENT_BYTES_MAX);
	test_read_of_a_file();
	test_copy();
	test_names_as_passed();
	test_missing_blocks();
	test_refusals();
	test_noise();
	free(room);
	return CHECK_DONE();
}

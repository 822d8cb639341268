// SPDX-License-Identifier: MIT
#include "event_decode.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "session.h"
#include "syscall_table.h"

#define AA_O_CREAT 0100		   /* include/uapi/asm-generic/fcntl.h */
#define AA_O_TMPFILE_BIT 020000000 /* __O_TMPFILE */
#define AA_MKDEV_MINOR_BITS 20	   /* include/linux/kdev_t.h */

#define AA_FIELDS_OF_FILE (AA_FIELD_FILE | AA_FIELD_KIND | AA_FIELD_PATH | AA_FIELD_NO_PLACE)

/* What a thread's number for a file stands for. */
struct aa_known_file {
	uint32_t number;
	uint32_t present; /* AA_FIELDS_OF_FILE, as far as they apply */
	uint64_t device, inode;
	uint8_t kind, path_flags;
	uint8_t rule_files;
	uint16_t path_length;
	char path[];
};

struct aa_known_thread {
	uint32_t thread; /* the key: first, as compare_threads() takes it */
	uint32_t pid, tid;
	struct aa_process_facts process;
	struct aa_known_file *files[AA_THREAD_FILES];
};

struct aa_decoder {
	void *threads; /* tsearch(3) */
	struct aa_known_thread *last;
};

struct aa_cursor {
	const unsigned char *at;
	size_t left;
};

/* A block from the end; of a record that is too short for it nothing is there. */
static bool aa_take_last(struct aa_cursor *cursor, void *ret_block, size_t bytes)
{
	if (bytes > cursor->left)
		return false;
	cursor->left -= bytes;
	memcpy(ret_block, cursor->at + cursor->left, bytes);
	return true;
}

static const void *aa_take(struct aa_cursor *cursor, size_t bytes)
{
	const void *part = cursor->at;

	if (bytes > cursor->left)
		return NULL;
	cursor->at += bytes;
	cursor->left -= bytes;
	return part;
}

/* A name as the wire carries it. */
struct aa_wire_name {
	struct aa_name_facts facts;
	const char *raw, *components;
};

struct aa_writer {
	char *at;
	size_t left;
};

static bool aa_append(struct aa_writer *writer, const char *text, size_t bytes)
{
	if (bytes >= writer->left)
		return false;
	memcpy(writer->at, text, bytes);
	writer->at += bytes;
	writer->left -= bytes;
	return true;
}

/* Components come leaf first, each with its NUL: "c\0b\0a\0" is /a/b/c. An empty walk is the root. */
static bool aa_append_walk(struct aa_writer *writer, const struct aa_wire_name *name)
{
	const char *end = name->components + name->facts.walk_bytes;

	if (name->facts.walk_bytes == 0)
		return aa_append(writer, "/", 1);
	if (end[-1] != '\0')
		return false;
	end--;
	for (;;) {
		const char *start = end;

		while (start > name->components && start[-1] != '\0')
			start--;
		if (!aa_append(writer, "/", 1) || !aa_append(writer, start, (size_t)(end - start)))
			return false;
		if (start == name->components)
			return true;
		end = start - 1;
	}
}

/*
 * Objects without a place in the tree are named as /proc/PID/fd names them (d_dname of each file system), by the form
 * that the kernel side says; one whose form is not known, or that lies below a directory there, has no name.
 */
static bool aa_append_object(struct aa_writer *writer, const struct aa_wire_name *name,
			     const struct aa_file_facts *file)
{
	unsigned kind = file->kind & AA_KIND_NUMBER, form = file->kind & AA_KIND_FORM;
	int length = name->facts.walk_bytes ? (int)strnlen(name->components, name->facts.walk_bytes) : 0;
	const char *own = length ? name->components : "";
	unsigned long long inode = file->inode;
	char text[AA_NAME_BYTES + 64];
	int bytes = 0;

	if (kind == AA_KIND_PIPE)
		bytes = snprintf(text, sizeof(text), "pipe:[%llu]", inode);
	else if (kind == AA_KIND_SOCKET)
		bytes = snprintf(text, sizeof(text), "socket:[%llu]", inode);
	else if (kind == AA_KIND_MEMFD && length + 1 == name->facts.walk_bytes)
		bytes = snprintf(text, sizeof(text), "/%.*s", length, own);
	else if (kind == AA_KIND_ANON && form == AA_FORM_ANON_INODE)
		bytes = snprintf(text, sizeof(text), "anon_inode:%.*s", length, own);
	else if (kind == AA_KIND_ANON && form == AA_FORM_NAMESPACE && length && own[0] != '/')
		bytes = snprintf(text, sizeof(text), "%.*s:[%llu]", length, own, inode);
	else if (kind == AA_KIND_ANON && form == AA_FORM_PIDFD)
		bytes = snprintf(text, sizeof(text), "anon_inode:[pidfd]");
	return aa_append(writer, text, (size_t)bytes < sizeof(text) ? (size_t)bytes : sizeof(text) - 1);
}

/* A name whose root is the directory that it starts from: "/" and ".." do not lead above it. */
static bool aa_append_below(struct aa_writer *writer, const char *raw, size_t bytes)
{
	const char *end = raw + bytes;
	size_t depth = 0;

	while (raw < end) {
		const char *slash = memchr(raw, '/', (size_t)(end - raw));
		size_t length = (size_t)((slash ? slash : end) - raw);
		bool is_up = length == 2 && raw[0] == '.' && raw[1] == '.';

		if (length && !(is_up && !depth) && (!aa_append(writer, "/", 1) || !aa_append(writer, raw, length)))
			return false;
		if (is_up)
			depth -= depth > 0;
		else
			depth += length && !(length == 1 && raw[0] == '.');
		raw += length + (slash != NULL);
	}
	return true;
}

/* A directory's name and the name as passed. */
static bool aa_append_relative(struct aa_writer *writer, const struct aa_wire_name *name)
{
	bool is_root = !name->facts.walk_bytes;

	if (name->facts.has_walk == AA_WALK_OWN_ROOT)
		return (is_root || aa_append_walk(writer, name)) &&
		       aa_append_below(writer, name->raw, name->facts.raw_bytes);
	return aa_append_walk(writer, name) && (is_root || aa_append(writer, "/", 1)) &&
	       aa_append(writer, name->raw, name->facts.raw_bytes);
}

static bool aa_is_placeless(const struct aa_wire_name *name, const struct aa_file_facts *file)
{
	return name->facts.has_walk == AA_WALK_OBJECT && file->kind & AA_KIND_PLACELESS;
}

static bool aa_append_name(struct aa_writer *writer, const struct aa_wire_name *name, const struct aa_file_facts *file)
{
	if (aa_is_placeless(name, file))
		return aa_append_object(writer, name, file);
	if (name->facts.has_walk == AA_WALK_NONE)
		/* Without the directory of a relative name (it changed meanwhile) no path. An absolute one may be
		 * raced. */
		return (name->facts.source != AA_PATH_SOURCE_AS_PASSED &&
			(!name->facts.raw_bytes || name->raw[0] != '/')) ||
		       aa_append(writer, name->raw, name->facts.raw_bytes);
	/* As getcwd(2) says it: no rule and no reader takes it for a place below the root. */
	if (name->facts.flags & AA_PATH_UNREACHABLE && !aa_append(writer, "(unreachable)", 13))
		return false;
	return name->facts.has_walk == AA_WALK_OBJECT ? aa_append_walk(writer, name) : aa_append_relative(writer, name);
}

/* The path of one name, if there is one to tell; *ret_length 0 means none. */
static bool aa_append_path(struct aa_writer *writer, const struct aa_wire_name *name, const struct aa_file_facts *file,
			   uint16_t *ret_length)
{
	const char *start = writer->at;

	*ret_length = 0;
	if (name->facts.source == AA_PATH_SOURCE_NONE || name->facts.source == AA_PATH_SOURCE_FD_CHANGED)
		return true;
	if (!aa_append_name(writer, name, file) || writer->at - start > UINT16_MAX)
		return false;
	*ret_length = (uint16_t)(writer->at - start);
	/* An empty name is no name, and a string that is not present has no NUL: see struct aa_file_event. */
	return *ret_length == 0 || aa_append(writer, "", 1);
}

static int compare_threads(const void *one, const void *other)
{
	uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;

	return a < b ? -1 : a > b;
}

struct aa_decoder *aa_decoder_create(void)
{
	return calloc(1, sizeof(struct aa_decoder));
}

static void aa_known_thread_forget_files(struct aa_known_thread *thread)
{
	for (unsigned i = 0; i < AA_THREAD_FILES; i++) {
		free(thread->files[i]);
		thread->files[i] = NULL;
	}
}

static void aa_known_thread_free(void *thread)
{
	aa_known_thread_forget_files(thread);
	free(thread);
}

void aa_decoder_destroy(struct aa_decoder *decoder)
{
	if (!decoder)
		return;
	while (decoder->threads) {
		struct aa_known_thread *thread = *(struct aa_known_thread **)decoder->threads;

		tdelete(thread, &decoder->threads, compare_threads);
		aa_known_thread_free(thread);
	}
	free(decoder);
}

static struct aa_known_thread *aa_decoder_thread(struct aa_decoder *decoder, uint32_t number)
{
	struct aa_known_thread **node;

	if (decoder->last && decoder->last->thread == number)
		return decoder->last;
	node = tfind(&number, &decoder->threads, compare_threads);
	if (!node)
		return NULL;
	decoder->last = *node;
	return *node;
}

static void aa_known_thread_set(struct aa_known_thread *thread, const struct aa_thread *wire)
{
	thread->pid = wire->pid;
	thread->tid = wire->tid;
	thread->process = wire->process;
	thread->process.comm[AA_COMM_BYTES - 1] = '\0';
}

static bool aa_decoder_meet(struct aa_decoder *decoder, const struct aa_thread *wire)
{
	struct aa_known_thread *thread = aa_decoder_thread(decoder, wire->record.thread);

	if (!thread) {
		thread = calloc(1, sizeof(*thread));
		if (!thread)
			return false;
		thread->thread = wire->record.thread;
		if (!tsearch(thread, &decoder->threads, compare_threads)) {
			free(thread);
			return false;
		}
	}
	if (wire->is_new)
		aa_known_thread_forget_files(thread);
	aa_known_thread_set(thread, wire);
	return true;
}

static void aa_decoder_part(struct aa_decoder *decoder, uint32_t number)
{
	struct aa_known_thread *thread = aa_decoder_thread(decoder, number);

	if (!thread)
		return;
	tdelete(thread, &decoder->threads, compare_threads);
	decoder->last = NULL;
	aa_known_thread_free(thread);
}

/* Under this number the event's file will be spoken of. */
static bool aa_known_thread_number(struct aa_known_thread *thread, uint32_t number, const struct aa_file_event *event)
{
	struct aa_known_file **place = &thread->files[number % AA_THREAD_FILES];
	struct aa_known_file *file = malloc(sizeof(*file) + event->path_length + 1);

	if (!file)
		return false;
	file->number = number;
	file->present = event->present & AA_FIELDS_OF_FILE;
	file->device = event->device;
	file->inode = event->inode;
	file->kind = event->kind;
	file->rule_files = event->rule_files;
	file->path_flags = event->path_flags;
	file->path_length = event->path_length;
	if (event->present & AA_FIELD_PATH)
		memcpy(file->path, event->strings, (size_t)event->path_length + 1);
	free(*place);
	*place = file;
	return true;
}

/* What both kinds of events tell of the call itself. `other`: what its second descriptor names. */
static void aa_take_call(const struct aa_event *wire, const struct aa_more *more, const struct aa_file_facts *other,
			 const struct aa_known_thread *thread, struct aa_file_event *ret_event)
{
	const struct aa_call_spec *spec = &aa_call_specs[wire->call];
	bool has_fd;

	memset(ret_event, 0, sizeof(*ret_event));
	ret_event->timestamp_ns = wire->timestamp_ns;
	ret_event->result = wire->result;
	ret_event->pid = thread->pid;
	ret_event->tid = thread->tid;
	ret_event->ppid = thread->process.ppid;
	ret_event->uid = thread->process.uid;
	ret_event->cgroup_id = thread->process.cgroup_id;
	memcpy(ret_event->comm, thread->process.comm, sizeof(ret_event->comm));
	ret_event->call = wire->call;
	ret_event->operation = wire->record.operation;
	ret_event->rule_files = AA_EVENT_FILES_LOOKED_AT;
	if (wire->duration_ns != AA_NO_DURATION) {
		ret_event->present |= AA_FIELD_DURATION;
		ret_event->duration_ns = wire->duration_ns;
	}
	if (!(wire->blocks & AA_MARK_NO_RESULT))
		ret_event->present |= AA_FIELD_RESULT;
	/* Of a message that may have had a descriptor nobody knows which it was. */
	has_fd = spec->fd || ((spec->when == AA_WHEN_RECEIVES || spec->when == AA_WHEN_GIVES) && wire->fd >= 0);
	if (!(wire->blocks & (AA_MARK_NO_FD | (has_fd ? 0 : AA_MARK_NO_RESULT))) &&
	    (has_fd || (spec->returns_fd && wire->result >= 0))) {
		ret_event->present |= AA_FIELD_FD;
		ret_event->fd = has_fd ? wire->fd : (int32_t)wire->result;
	}
	if (spec->dirfd) {
		ret_event->present |= AA_FIELD_DIRFD;
		ret_event->dirfd = wire->dirfd;
	}
	if ((spec->flags || spec->how || spec->implied) && !(wire->blocks & AA_MARK_NO_FLAGS)) {
		ret_event->present |= AA_FIELD_FLAGS;
		ret_event->flags = wire->flags | more->flags_above << 32;
	}
	if ((spec->mode || spec->how) &&
	    (wire->record.operation != AA_OPERATION_OPEN || wire->flags & (AA_O_CREAT | AA_O_TMPFILE_BIT))) {
		ret_event->present |= AA_FIELD_MODE;
		ret_event->mode = wire->mode;
	}
	if (spec->count && !(wire->blocks & AA_MARK_NO_COUNT)) {
		ret_event->present |= AA_FIELD_COUNT;
		ret_event->count = more->count;
	}
	if (more->offset != AA_NO_OFFSET) {
		ret_event->present |= AA_FIELD_OFFSET;
		ret_event->offset = more->offset;
	}
	if (spec->moves && !(wire->blocks & AA_MARK_NO_RESULT))
		ret_event->present |= AA_FIELD_BYTES;
	ret_event->changes = aa_event_changes(
		ret_event, other->is_known & AA_FILE_IS_KNOWN ? other->kind & AA_KIND_NUMBER : AA_KIND_COUNT);
}

/* The event's end: its size, a multiple of 8. */
static bool aa_end_event(struct aa_writer *writer, struct aa_file_event *event)
{
	while ((writer->at - (char *)event) % 8)
		if (!aa_append(writer, "", 1))
			return false;
	event->size = (uint32_t)(writer->at - (char *)event);
	return true;
}

static struct aa_writer aa_strings_of(struct aa_file_event *event)
{
	return (struct aa_writer){ event->strings, AA_EVENT_BYTES_MAX - sizeof(*event) };
}

/* `numbers`: where to remember the file's number, or NULL: no other record speaks of it. */
static bool aa_take_event(struct aa_cursor *cursor, const struct aa_known_thread *thread,
			  struct aa_known_thread *numbers, struct aa_file_event *ret_event)
{
	const struct aa_event *wire = aa_take(cursor, sizeof(*wire));
	struct aa_more more = { .offset = AA_NO_OFFSET };
	struct aa_wire_name names[2] = { 0 };
	struct aa_second second = { 0 };
	const struct aa_file_facts *file;
	struct aa_writer writer;

	if (!wire || wire->call >= AA_CALL_LIMIT)
		return false;
	if (wire->blocks & AA_BLOCK_MORE && !aa_take_last(cursor, &more, sizeof(more)))
		return false;
	if (wire->blocks & AA_BLOCK_SECOND && !aa_take_last(cursor, &second, sizeof(second)))
		return false;
	file = &wire->object;
	names[0].facts = wire->name;
	names[1].facts = second.name;
	for (int i = 0; i < 2; i++)
		if (names[i].facts.source >= AA_PATH_SOURCE_COUNT ||
		    !(names[i].raw = aa_take(cursor, names[i].facts.raw_bytes)))
			return false;
	for (int i = 0; i < 2; i++)
		if (!(names[i].components = aa_take(cursor, names[i].facts.walk_bytes)))
			return false;

	aa_take_call(wire, &more, &second.object, thread, ret_event);
	ret_event->rule_files |= (file->is_known | second.object.is_known) & ~AA_FILE_IS_KNOWN;
	if (file->is_known & AA_FILE_IS_KNOWN) {
		ret_event->present |= AA_FIELD_FILE;
		ret_event->device =
			makedev(file->device >> AA_MKDEV_MINOR_BITS, file->device & ((1u << AA_MKDEV_MINOR_BITS) - 1));
		ret_event->inode = file->inode;
		if (!(file->kind & AA_KIND_OF_START)) {
			ret_event->present |= AA_FIELD_KIND;
			ret_event->kind = file->kind & AA_KIND_NUMBER;
		}
	}

	/* Of two names the less certain source is told; flags of both. */
	ret_event->path_source = wire->name.source > second.name.source ? wire->name.source : second.name.source;
	ret_event->path_flags = wire->name.flags | second.name.flags;
	writer = aa_strings_of(ret_event);
	if (!aa_append_path(&writer, &names[0], file, &ret_event->path_length) ||
	    !aa_append_path(&writer, &names[1], &second.object, &ret_event->new_path_length))
		return false;
	if (ret_event->path_length)
		ret_event->present |= AA_FIELD_PATH;
	if (ret_event->new_path_length)
		ret_event->present |= AA_FIELD_NEW_PATH;
	if (aa_is_placeless(&names[0], file))
		ret_event->present |= AA_FIELD_NO_PLACE;
	if (aa_is_placeless(&names[1], &second.object))
		ret_event->present |= AA_FIELD_NEW_NO_PLACE;
	if (numbers && wire->file && !aa_known_thread_number(numbers, wire->file, ret_event))
		return false;
	if (wire->name.has_raw) {
		ret_event->present |= AA_FIELD_RAW_PATH;
		ret_event->raw_path_length = wire->name.raw_bytes;
		if (!aa_append(&writer, names[0].raw, wire->name.raw_bytes) || !aa_append(&writer, "", 1))
			return false;
	}
	return aa_end_event(&writer, ret_event);
}

static bool aa_take_again(struct aa_cursor *cursor, const struct aa_known_thread *thread,
			  struct aa_file_event *ret_event)
{
	const struct aa_again *wire = aa_take(cursor, sizeof(*wire));
	const struct aa_known_file *file;
	struct aa_writer writer;

	if (!wire || wire->call >= AA_CALL_LIMIT || wire->source >= AA_PATH_SOURCE_COUNT)
		return false;
	file = thread->files[wire->file % AA_THREAD_FILES];
	if (!file || file->number != wire->file)
		return false;
	aa_take_call(&(struct aa_event){ .record = wire->record,
					 .timestamp_ns = wire->timestamp_ns,
					 .duration_ns = wire->duration_ns == (uint32_t)AA_NO_DURATION ?
								AA_NO_DURATION :
								wire->duration_ns,
					 .result = wire->result,
					 .fd = wire->fd,
					 .call = wire->call },
		     &(struct aa_more){ .count = wire->count, .offset = wire->offset }, &(struct aa_file_facts){ 0 },
		     thread, ret_event);
	ret_event->present |= file->present;
	ret_event->device = file->device;
	ret_event->inode = file->inode;
	ret_event->kind = file->kind;
	ret_event->rule_files = file->rule_files;
	ret_event->path_source = wire->source;
	ret_event->path_flags = file->path_flags;
	ret_event->path_length = file->path_length;
	writer = aa_strings_of(ret_event);
	if (file->present & AA_FIELD_PATH && !aa_append(&writer, file->path, (size_t)file->path_length + 1))
		return false;
	return aa_end_event(&writer, ret_event);
}

static const struct aa_record *aa_record_at(const void *record, size_t bytes)
{
	const struct aa_record *head = record;

	return bytes < sizeof(*head) || head->version != AA_ABI_VERSION ? NULL : head;
}

enum aa_decoded aa_decoder_take(struct aa_decoder *decoder, const void *record, size_t bytes,
				struct aa_file_event *ret_event)
{
	const struct aa_record *head = aa_record_at(record, bytes);
	struct aa_cursor cursor = { record, bytes };
	struct aa_known_thread *thread;
	uint32_t ignored;
	bool is_taken;

	if (!head)
		return AA_DECODED_ERROR;
	switch (head->type) {
	case AA_RECORD_THREAD:
		if (bytes < sizeof(struct aa_thread) || !aa_decoder_meet(decoder, record))
			return AA_DECODED_ERROR;
		return AA_DECODED_FACT;
	case AA_RECORD_THREAD_END:
		aa_decoder_part(decoder, head->thread);
		return AA_DECODED_FACT;
	case AA_RECORD_TOLD:
		return aa_decode_told(record, bytes, &ignored, ret_event) ? AA_DECODED_EVENT : AA_DECODED_ERROR;
	case AA_RECORD_EVENT:
	case AA_RECORD_AGAIN:
		thread = aa_decoder_thread(decoder, head->thread);
		if (!thread)
			return AA_DECODED_ERROR;
		is_taken = head->type == AA_RECORD_EVENT ? aa_take_event(&cursor, thread, thread, ret_event) :
							   aa_take_again(&cursor, thread, ret_event);
		return is_taken ? AA_DECODED_EVENT : AA_DECODED_ERROR;
	default:
		return AA_DECODED_ERROR;
	}
}

bool aa_decode_told(const void *record, size_t bytes, uint32_t *ret_row, struct aa_file_event *ret_event)
{
	const struct aa_record *head = aa_record_at(record, bytes);
	struct aa_cursor cursor = { record, bytes };
	const struct aa_told *told = aa_take(&cursor, sizeof(*told));
	struct aa_known_thread thread = { 0 };

	if (!head || head->type != AA_RECORD_TOLD || !told)
		return false;
	aa_known_thread_set(&thread, &told->thread);
	*ret_row = told->row;
	return aa_take_event(&cursor, &thread, NULL, ret_event);
}

bool aa_record_is_event(const void *record, size_t bytes)
{
	const struct aa_record *head = aa_record_at(record, bytes);

	return !head || (head->type != AA_RECORD_THREAD && head->type != AA_RECORD_THREAD_END);
}

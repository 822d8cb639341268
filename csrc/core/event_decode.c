// SPDX-License-Identifier: MIT
#include "event_decode.h"

#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "syscall_table.h"

#define AA_O_CREAT 0100		   /* include/uapi/asm-generic/fcntl.h */
#define AA_O_TMPFILE_BIT 020000000 /* __O_TMPFILE */
#define AA_MKDEV_MINOR_BITS 20	   /* include/linux/kdev_t.h */

struct aa_cursor {
	const unsigned char *at;
	size_t left;
};

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
	const char *raw, *components;
	size_t raw_bytes, walk_bytes;
	bool has_raw;
	uint8_t walk; /* enum aa_walk */
	uint8_t source, flags;
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
	const char *end = name->components + name->walk_bytes;

	if (name->walk_bytes == 0)
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
 * Objects without a place in the tree are named as /proc/PID/fd names them (fs/d_path.c, d_dname of each file system).
 */
static bool aa_append_object(struct aa_writer *writer, const struct aa_wire_name *name,
			     const struct aa_file_facts *file)
{
	uint8_t kind = file->kind & ~AA_KIND_PLACELESS;
	char text[64];
	int length;

	if (!(file->kind & AA_KIND_PLACELESS) || name->source == AA_PATH_SOURCE_DENTRY)
		return aa_append_walk(writer, name);
	if (kind == AA_KIND_PIPE)
		length = snprintf(text, sizeof(text), "pipe:[%llu]", (unsigned long long)file->inode);
	else if (kind == AA_KIND_SOCKET)
		length = snprintf(text, sizeof(text), "socket:[%llu]", (unsigned long long)file->inode);
	else if (kind == AA_KIND_ANON)
		length = snprintf(text, sizeof(text), "anon_inode:%.*s",
				  name->walk_bytes ? (int)strnlen(name->components, name->walk_bytes) : 0,
				  name->components);
	else
		return aa_append_walk(writer, name);
	return aa_append(writer, text, (size_t)length < sizeof(text) ? (size_t)length : sizeof(text) - 1);
}

/* The path of one name, if there is one to tell; *ret_length 0 means none. */
static bool aa_append_path(struct aa_writer *writer, const struct aa_wire_name *name, const struct aa_file_facts *file,
			   uint16_t *ret_length)
{
	const char *start = writer->at;

	*ret_length = 0;
	if (name->source == AA_PATH_SOURCE_NONE || name->source == AA_PATH_SOURCE_FD_CHANGED)
		return true;
	if (name->walk == AA_WALK_OBJECT) {
		if (!aa_append_object(writer, name, file))
			return false;
	} else if (name->source == AA_PATH_SOURCE_AS_PASSED) {
		if (!aa_append(writer, name->raw, name->raw_bytes))
			return false;
	} else {
		/* A directory's name and the name as passed; without the directory (it changed meanwhile) no path. */
		if (name->walk != AA_WALK_DIRECTORY)
			return true;
		if (!aa_append_walk(writer, name))
			return false;
		if (name->walk_bytes && !aa_append(writer, "/", 1))
			return false;
		if (!aa_append(writer, name->raw, name->raw_bytes))
			return false;
	}
	if (writer->at - start > UINT16_MAX)
		return false;
	*ret_length = (uint16_t)(writer->at - start);
	return aa_append(writer, "", 1);
}

bool aa_event_decode(const void *record, size_t bytes, struct aa_file_event *ret_event)
{
	static const struct aa_process_facts no_process;
	static const struct aa_file_facts no_file;
	const struct aa_process_facts *process = &no_process;
	const struct aa_file_facts *file = &no_file;
	struct aa_wire_name names[2] = { 0 };
	struct aa_cursor cursor = { record, bytes };
	const struct aa_event *wire = aa_take(&cursor, sizeof(*wire));
	struct aa_writer writer;
	const struct aa_call_spec *spec;
	struct aa_file_facts other = { 0 };
	bool failed;
	uint8_t source;

	if (!wire || wire->version != AA_ABI_VERSION || wire->type != AA_RECORD_EVENT || wire->call >= AA_CALL_COUNT)
		return false;
	spec = &aa_call_specs[wire->call];
	if (wire->blocks & AA_BLOCK_PROCESS && !(process = aa_take(&cursor, sizeof(*process))))
		return false;
	if (wire->blocks & AA_BLOCK_FILE && !(file = aa_take(&cursor, sizeof(*file))))
		return false;
	if (wire->blocks & AA_BLOCK_NAMES) {
		const struct aa_name_facts *facts = aa_take(&cursor, sizeof(*facts));

		if (!facts)
			return false;
		for (int i = 0; i < 2; i++) {
			names[i].source = facts->source[i];
			names[i].flags = facts->flags[i];
			names[i].has_raw = facts->has_raw[i];
			names[i].walk = facts->has_walk[i];
			names[i].raw_bytes = facts->raw_bytes[i];
			names[i].walk_bytes = facts->walk_bytes[i];
			if (names[i].source >= AA_PATH_SOURCE_COUNT)
				return false;
		}
		for (int i = 0; i < 2; i++)
			if (!(names[i].raw = aa_take(&cursor, names[i].raw_bytes)))
				return false;
		for (int i = 0; i < 2; i++)
			if (!(names[i].components = aa_take(&cursor, names[i].walk_bytes)))
				return false;
	}

	if (wire->blocks & AA_BLOCK_OTHER_FILE) {
		const void *facts = aa_take(&cursor, sizeof(other));

		if (!facts)
			return false;
		memcpy(&other, facts, sizeof(other));
	}

	failed = wire->result < 0;
	memset(ret_event, 0, sizeof(*ret_event));
	ret_event->timestamp_ns = wire->timestamp_ns;
	ret_event->result = wire->result;
	ret_event->pid = wire->pid;
	ret_event->tid = wire->tid;
	ret_event->ppid = process->ppid;
	ret_event->uid = process->uid;
	ret_event->cgroup_id = process->cgroup_id;
	memcpy(ret_event->comm, process->comm, sizeof(ret_event->comm));
	ret_event->comm[sizeof(ret_event->comm) - 1] = '\0';
	ret_event->call = wire->call;
	ret_event->operation = wire->operation;
	if (wire->duration_ns != AA_NO_DURATION) {
		ret_event->present |= AA_FIELD_DURATION;
		ret_event->duration_ns = wire->duration_ns;
	}
	if (spec->fd || (spec->returns_fd && !failed)) {
		ret_event->present |= AA_FIELD_FD;
		ret_event->fd = spec->fd ? wire->fd : (int32_t)wire->result;
	}
	if (spec->dirfd) {
		ret_event->present |= AA_FIELD_DIRFD;
		ret_event->dirfd = wire->dirfd;
	}
	if ((spec->flags || spec->how || spec->implied) && !(wire->blocks & AA_MARK_NO_FLAGS)) {
		ret_event->present |= AA_FIELD_FLAGS;
		ret_event->flags = wire->flags;
	}
	if ((spec->mode || spec->how) &&
	    (wire->operation != AA_OPERATION_OPEN || wire->flags & (AA_O_CREAT | AA_O_TMPFILE_BIT))) {
		ret_event->present |= AA_FIELD_MODE;
		ret_event->mode = wire->mode;
	}
	if (spec->count && !(wire->blocks & AA_MARK_NO_COUNT)) {
		ret_event->present |= AA_FIELD_COUNT;
		ret_event->count = wire->count;
	}
	if (wire->offset != AA_NO_OFFSET) {
		ret_event->present |= AA_FIELD_OFFSET;
		ret_event->offset = wire->offset;
	}
	if (spec->moves)
		ret_event->present |= AA_FIELD_BYTES;
	if (file->is_known) {
		ret_event->present |= AA_FIELD_FILE;
		ret_event->device =
			makedev(file->device >> AA_MKDEV_MINOR_BITS, file->device & ((1u << AA_MKDEV_MINOR_BITS) - 1));
		ret_event->inode = file->inode;
		if (!(file->kind & AA_KIND_OF_START)) {
			ret_event->present |= AA_FIELD_KIND;
			ret_event->kind = file->kind & ~AA_KIND_PLACELESS;
		}
	}

	/* Of two names the less certain source is told; flags of both. */
	source = names[0].source > names[1].source ? names[0].source : names[1].source;
	ret_event->path_source = source;
	ret_event->path_flags = names[0].flags | names[1].flags;
	writer = (struct aa_writer){ ret_event->strings, AA_EVENT_BYTES_MAX - sizeof(*ret_event) };
	if (!aa_append_path(&writer, &names[0], file, &ret_event->path_length) ||
	    !aa_append_path(&writer, &names[1], &other, &ret_event->new_path_length))
		return false;
	if (ret_event->path_length)
		ret_event->present |= AA_FIELD_PATH;
	if (ret_event->new_path_length)
		ret_event->present |= AA_FIELD_NEW_PATH;
	if (names[0].has_raw) {
		ret_event->present |= AA_FIELD_RAW_PATH;
		ret_event->raw_path_length = (uint16_t)names[0].raw_bytes;
		if (!aa_append(&writer, names[0].raw, names[0].raw_bytes) || !aa_append(&writer, "", 1))
			return false;
	}
	while ((writer.at - (char *)ret_event) % 8)
		if (!aa_append(&writer, "", 1))
			return false;
	ret_event->size = (uint32_t)(writer.at - (char *)ret_event);
	return true;
}

/* SPDX-License-Identifier: MIT */
/*
 * Columns as Arrow takes them: the C data interface and the C stream interface. The three structures are an ABI, so
 * names, order and types of their members are those of the specification; nothing else of Arrow is needed.
 * https://arrow.apache.org/docs/format/CDataInterface.html, https://arrow.apache.org/docs/format/CStreamInterface.html
 *
 * What is handed out is plain memory with atomic counts of references. The receiver may move a structure or a child of
 * one, keep it as long as it likes, and release it on any thread, without a lock of anybody's.
 */
#ifndef AA_ARROW_EXPORT_H
#define AA_ARROW_EXPORT_H

#include <stdint.h>

#include "columns.h"

#define ARROW_FLAG_NULLABLE 2

struct ArrowSchema {
	const char *format;
	const char *name;
	const char *metadata;
	int64_t flags;
	int64_t n_children;
	struct ArrowSchema **children;
	struct ArrowSchema *dictionary;
	void (*release)(struct ArrowSchema *schema);
	void *private_data;
};

struct ArrowArray {
	int64_t length;
	int64_t null_count;
	int64_t offset;
	int64_t n_buffers;
	int64_t n_children;
	const void **buffers;
	struct ArrowArray **children;
	struct ArrowArray *dictionary;
	void (*release)(struct ArrowArray *array);
	void *private_data;
};

struct ArrowArrayStream {
	int (*get_schema)(struct ArrowArrayStream *stream, struct ArrowSchema *out);
	int (*get_next)(struct ArrowArrayStream *stream, struct ArrowArray *out);
	const char *(*get_last_error)(struct ArrowArrayStream *stream);
	void (*release)(struct ArrowArrayStream *stream);
	void *private_data;
};

/* 0 or ENOMEM; on failure nothing is to be released. The schema is the same for all batches. */
int aa_arrow_export_schema(struct ArrowSchema *ret_schema);

/* What an exported array needs of memory, for whoever must not fail any more once it has the columns. NULL: no memory.
 */
struct aa_arrow_room *aa_arrow_room_create(void);
/* Accepts NULL; not for one that was exported with. */
void aa_arrow_room_destroy(struct aa_arrow_room *room);
/* Finished columns, as one struct array, which holds a reference to them. Uses up the room. */
void aa_arrow_export_array(struct aa_columns *columns, struct aa_arrow_room *room, struct ArrowArray *ret_array);

#endif

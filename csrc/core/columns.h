/* SPDX-License-Identifier: MIT */
/*
 * Events as columns, in the layout of Arrow's C data interface (arrow_export.h hands them out).
 *
 * One row is appended after the other and nothing is visited twice. A batch is plain memory with an atomic count of
 * references: once it is finished it never changes, and any thread may read and release it.
 */
#ifndef AA_COLUMNS_H
#define AA_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event_fields.h"
#include "session.h"

struct aa_columns;

/* Room for at most `rows_max` events, of which little is taken before they come. NULL when memory is short. */
struct aa_columns *aa_columns_create(size_t rows_max);
struct aa_columns *aa_columns_ref(struct aa_columns *columns);
/* The last one frees. Accepts NULL. */
void aa_columns_unref(struct aa_columns *columns);

enum aa_append {
	AA_APPEND_DONE,
	AA_APPEND_FULL,	     /* no room by rows_max or by Arrow's 32-bit offsets: for the next batch */
	AA_APPEND_NO_MEMORY, /* the batch is as it was before */
};
/* Copies the event. offset_ns: CLOCK_REALTIME - CLOCK_BOOTTIME. */
enum aa_append aa_columns_append(struct aa_columns *columns, const struct aa_file_event *event, int64_t offset_ns);

/*
 * Takes what the session has queued until the columns are full. An event leaves the session only when it is in the
 * columns: when memory runs short, what was taken is in the batch and the rest is still queued. The caller is the
 * session's reader. NO_MEMORY only if not a single one was taken.
 */
enum aa_append aa_columns_fill(struct aa_columns *columns, struct aa_session *session);

/* No more rows. Cannot fail. */
void aa_columns_finish(struct aa_columns *columns);

size_t aa_columns_length(const struct aa_columns *columns);

/* The event of a row of finished columns: its fixed part, and its strings (NULL where not present; not terminated). */
struct aa_row_strings {
	const char *path, *new_path, *raw_path;
};
void aa_columns_get(const struct aa_columns *columns, size_t row, struct aa_file_event *ret_event,
		    struct aa_row_strings *ret_strings, int64_t *ret_offset_ns);

/* What the columns are: the fields of the table in its order, then the exact bytes of its strings. */
struct aa_column_info {
	const char *name;
	const char *format; /* Arrow's, of the values or of the indices into the dictionary */
	bool is_dictionary; /* of UTF-8 */
	bool is_nullable;
};
/* NULL past the end. */
const struct aa_column_info *aa_column_info(size_t column);

/* The memory behind a column of finished columns. */
struct aa_column_buffers {
	const void *validity; /* NULL: none is null */
	const void *values;   /* of a binary column: its offsets */
	const void *data;     /* of a binary column */
	size_t null_count;
	/* The dictionary. */
	const int32_t *dictionary_offsets;
	const void *dictionary_data;
	size_t dictionary_length;
};
void aa_columns_buffers(const struct aa_columns *columns, size_t column, struct aa_column_buffers *ret_buffers);

#endif

// SPDX-License-Identifier: MIT
#include "arrow_export.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/*
 * All structures of one tree lie in one block. Each that is not released yet counts, for a receiver may move a child
 * out of its parent, release the parent and keep the child.
 */

#define AA_BUFFERS_MAX 3 /* validity, offsets, data */

static size_t aa_columns_count(void)
{
	size_t count = 0;

	while (aa_column_info(count))
		count++;
	return count;
}

/* ---- schema ---- */

struct aa_schema_block {
	_Atomic size_t references;
	struct ArrowSchema **children;
	struct aa_schema_field {
		struct ArrowSchema schema, dictionary;
	} fields[];
};

static void aa_schema_release(struct ArrowSchema *schema)
{
	struct aa_schema_block *block = schema->private_data;

	if (!schema->release)
		return;
	for (int64_t i = 0; i < schema->n_children; i++)
		if (schema->children[i]->release)
			schema->children[i]->release(schema->children[i]);
	if (schema->dictionary && schema->dictionary->release)
		schema->dictionary->release(schema->dictionary);
	schema->release = NULL;
	if (atomic_fetch_sub_explicit(&block->references, 1, memory_order_acq_rel) == 1)
		free(block);
}

static void aa_schema_set(struct aa_schema_block *block, struct ArrowSchema *schema, const char *format,
			  const char *name, int64_t flags)
{
	*schema = (struct ArrowSchema){
		.format = format,
		.name = name,
		.flags = flags,
		.release = aa_schema_release,
		.private_data = block,
	};
	block->references++;
}

int aa_arrow_export_schema(struct ArrowSchema *ret_schema)
{
	size_t count = aa_columns_count();
	struct aa_schema_block *block =
		calloc(1, sizeof(*block) + count * (sizeof(block->fields[0]) + sizeof(struct ArrowSchema *)));

	if (!block)
		return ENOMEM;
	block->children = (void *)&block->fields[count];
	aa_schema_set(block, ret_schema, "+s", "", 0);
	ret_schema->n_children = (int64_t)count;
	ret_schema->children = block->children;
	for (size_t i = 0; i < count; i++) {
		const struct aa_column_info *info = aa_column_info(i);
		struct aa_schema_field *field = &block->fields[i];

		block->children[i] = &field->schema;
		aa_schema_set(block, &field->schema, info->format, info->name,
			      info->is_nullable ? ARROW_FLAG_NULLABLE : 0);
		if (info->is_dictionary) {
			aa_schema_set(block, &field->dictionary, "u", "", 0);
			field->schema.dictionary = &field->dictionary;
		}
	}
	return 0;
}

/* ---- array ---- */

struct aa_arrow_room {
	_Atomic size_t references;
	struct aa_columns *columns;
	struct ArrowArray **children;
	const void *no_validity[1];
	struct aa_array_field {
		struct ArrowArray array, dictionary;
		const void *buffers[AA_BUFFERS_MAX], *dictionary_buffers[AA_BUFFERS_MAX];
	} fields[];
};

static void aa_array_release(struct ArrowArray *array)
{
	struct aa_arrow_room *room = array->private_data;

	if (!array->release)
		return;
	for (int64_t i = 0; i < array->n_children; i++)
		if (array->children[i]->release)
			array->children[i]->release(array->children[i]);
	if (array->dictionary && array->dictionary->release)
		array->dictionary->release(array->dictionary);
	array->release = NULL;
	if (atomic_fetch_sub_explicit(&room->references, 1, memory_order_acq_rel) == 1) {
		aa_columns_unref(room->columns);
		free(room);
	}
}

static void aa_array_set(struct aa_arrow_room *room, struct ArrowArray *array, size_t length, size_t null_count,
			 const void **buffers, unsigned buffers_count)
{
	*array = (struct ArrowArray){
		.length = (int64_t)length,
		.null_count = (int64_t)null_count,
		.n_buffers = buffers_count,
		.buffers = buffers,
		.release = aa_array_release,
		.private_data = room,
	};
	room->references++;
}

struct aa_arrow_room *aa_arrow_room_create(void)
{
	struct aa_arrow_room *room;

	return calloc(1, sizeof(*room) + aa_columns_count() * (sizeof(room->fields[0]) + sizeof(struct ArrowArray *)));
}

void aa_arrow_room_destroy(struct aa_arrow_room *room)
{
	free(room);
}

void aa_arrow_export_array(struct aa_columns *columns, struct aa_arrow_room *room, struct ArrowArray *ret_array)
{
	static const int32_t no_offsets[1];
	size_t count = aa_columns_count(), rows = aa_columns_length(columns);

	room->columns = aa_columns_ref(columns);
	room->children = (void *)&room->fields[count];
	aa_array_set(room, ret_array, rows, 0, room->no_validity, 1);
	ret_array->n_children = (int64_t)count;
	ret_array->children = room->children;
	for (size_t i = 0; i < count; i++) {
		const struct aa_column_info *info = aa_column_info(i);
		struct aa_array_field *field = &room->fields[i];
		bool is_binary = !strcmp(info->format, "z");
		struct aa_column_buffers buffers;

		aa_columns_buffers(columns, i, &buffers);
		room->children[i] = &field->array;
		field->buffers[0] = buffers.validity;
		field->buffers[1] = rows ? buffers.values : no_offsets;
		field->buffers[2] = buffers.data;
		aa_array_set(room, &field->array, rows, buffers.null_count, field->buffers, is_binary ? 3 : 2);
		if (info->is_dictionary) {
			field->dictionary_buffers[1] = buffers.dictionary_offsets;
			field->dictionary_buffers[2] = buffers.dictionary_data;
			aa_array_set(room, &field->dictionary, buffers.dictionary_length, 0, field->dictionary_buffers,
				     3);
			field->array.dictionary = &field->dictionary;
		}
	}
}

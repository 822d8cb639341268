// SPDX-License-Identifier: MIT
#include "columns.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * A column of which nothing was seen yet is not written at all: a storm of reads has no flags, no mode and no second
 * name, and memory that is not touched costs nothing. What it shows then is one common region of zeros.
 */

#define AA_BLOCK_ROWS 64u  /* rows whose validity is one word */
#define AA_ROWS_FIRST 256u /* capacity of the first arena; each next one is GROWTH times as large */
#define AA_ROWS_GROWTH 8u
#define AA_ROWS_MAX (1u << 30)
#define AA_ALIGNMENT 64u /* what Arrow recommends */
/* Columns of the same width would begin at the same place in a page each, and the thirty lines that a row is written to
 * would share the eight ways of one set of the cache. */
#define AA_STAGGER ((size_t)3 * AA_ALIGNMENT)
#define AA_MEMOS 64u	/* of each kind of name, the last few that were met */
#define AA_NUMBERS 256u /* an operation, a kind, a source is a byte */
#define AA_FIELD_BITS 32u
#define AA_ESCAPED_BYTES 4u /* \xNN */

/* ---- what the table becomes: C types, Arrow's formats, the list of columns ---- */

#define AA_TYPE_U64 uint64_t
#define AA_TYPE_I64 int64_t
#define AA_TYPE_U32 uint32_t
#define AA_TYPE_I32 int32_t
#define AA_TYPE_U16 uint16_t
#define AA_TYPE_U8 uint8_t

#define AA_ELEMENT_NUMBER(width) AA_TYPE_##width
#define AA_ELEMENT_TIME(width) int64_t
#define AA_ELEMENT_ERRNO(width) int32_t
#define AA_ELEMENT_BYTES(width) int64_t
/* Signed indices: pyarrow makes categories of pandas of these only. */
#define AA_ELEMENT_OPERATION(width) int16_t
#define AA_ELEMENT_CALL(width) int16_t
#define AA_ELEMENT_VIA(width) int16_t
#define AA_ELEMENT_TRUTH(width) AA_TYPE_##width
#define AA_ELEMENT_KIND(width) int16_t
#define AA_ELEMENT_SOURCE(width) int16_t
#define AA_ELEMENT_PATH_FLAGS(width) AA_TYPE_##width
#define AA_ELEMENT_STRING(width) int32_t
#define AA_ELEMENT_COMM(width) int32_t

#define AA_FORMAT_OF_U64 "L"
#define AA_FORMAT_OF_I64 "l"
#define AA_FORMAT_OF_U32 "I"
#define AA_FORMAT_OF_I32 "i"
#define AA_FORMAT_OF_U16 "S"
#define AA_FORMAT_OF_U8 "C"

#define AA_FORMAT_NUMBER(width) AA_FORMAT_OF_##width
#define AA_FORMAT_TIME(width) "tsn:UTC"
#define AA_FORMAT_ERRNO(width) "i"
#define AA_FORMAT_BYTES(width) "l"
#define AA_FORMAT_OPERATION(width) "s"
#define AA_FORMAT_CALL(width) "s"
#define AA_FORMAT_VIA(width) "s"
#define AA_FORMAT_TRUTH(width) AA_FORMAT_OF_##width
#define AA_FORMAT_KIND(width) "s"
#define AA_FORMAT_SOURCE(width) "s"
#define AA_FORMAT_PATH_FLAGS(width) AA_FORMAT_OF_##width
#define AA_FORMAT_STRING(width) "i"
#define AA_FORMAT_COMM(width) "i"

enum aa_column {
#define AA_X(name, ...) AA_COLUMN_##name,
	AA_EVENT_FIELDS(AA_X)
#undef AA_X
		AA_FIELD_COLUMNS,
};

/* For each row of the table that is a string, and for no other. */
#define AA_IF_STRING_NUMBER(...)
#define AA_IF_STRING_TIME(...)
#define AA_IF_STRING_ERRNO(...)
#define AA_IF_STRING_BYTES(...)
#define AA_IF_STRING_OPERATION(...)
#define AA_IF_STRING_CALL(...)
#define AA_IF_STRING_VIA(...)
#define AA_IF_STRING_TRUTH(...)
#define AA_IF_STRING_KIND(...)
#define AA_IF_STRING_SOURCE(...)
#define AA_IF_STRING_PATH_FLAGS(...)
#define AA_IF_STRING_STRING(...) __VA_ARGS__
#define AA_IF_STRING_COMM(...) __VA_ARGS__

enum aa_name {
#define AA_X(name, as, ...) AA_IF_STRING_##as(AA_NAME_##name, )
	AA_EVENT_FIELDS(AA_X)
#undef AA_X
		AA_NAMES,
};

#define AA_COLUMNS (AA_FIELD_COLUMNS + AA_NAMES)

/* Which dictionary a column's indices go into. */
enum aa_dictionary_kind {
	AA_DICTIONARY_NONE,
	AA_DICTIONARY_OPERATIONS,
	AA_DICTIONARY_KINDS,
	AA_DICTIONARY_SOURCES,
	AA_DICTIONARY_CALLS,
	AA_DICTIONARY_VIAS,
	AA_DICTIONARY_NAMES, /* + enum aa_name */
	AA_DICTIONARIES = AA_DICTIONARY_NAMES + AA_NAMES,
};
#define AA_LISTS (AA_DICTIONARY_SOURCES + 1u) /* of numbers that are bytes */

#define AA_DICTIONARY_OF_NUMBER(name) AA_DICTIONARY_NONE
#define AA_DICTIONARY_OF_TIME(name) AA_DICTIONARY_NONE
#define AA_DICTIONARY_OF_ERRNO(name) AA_DICTIONARY_NONE
#define AA_DICTIONARY_OF_BYTES(name) AA_DICTIONARY_NONE
#define AA_DICTIONARY_OF_OPERATION(name) AA_DICTIONARY_OPERATIONS
#define AA_DICTIONARY_OF_CALL(name) AA_DICTIONARY_CALLS
#define AA_DICTIONARY_OF_VIA(name) AA_DICTIONARY_VIAS
#define AA_DICTIONARY_OF_TRUTH(name) AA_DICTIONARY_NONE
#define AA_DICTIONARY_OF_KIND(name) AA_DICTIONARY_KINDS
#define AA_DICTIONARY_OF_SOURCE(name) AA_DICTIONARY_SOURCES
#define AA_DICTIONARY_OF_PATH_FLAGS(name) AA_DICTIONARY_NONE
#define AA_DICTIONARY_OF_STRING(name) (AA_DICTIONARY_NAMES + AA_NAME_##name)
#define AA_DICTIONARY_OF_COMM(name) (AA_DICTIONARY_NAMES + AA_NAME_##name)

static const struct aa_column_plan {
	struct aa_column_info info;
	size_t bytes;	     /* of an element */
	uint32_t present;    /* AA_FIELD_* */
	unsigned dictionary; /* enum aa_dictionary_kind */
} aa_column_plans[AA_COLUMNS] = {
#define AA_X(name, as, member, width, present)                                                                         \
	{                                                                                                              \
		{ #name, AA_FORMAT_##as(width), AA_DICTIONARY_OF_##as(name) != AA_DICTIONARY_NONE, (present) != 0 },   \
		sizeof(AA_ELEMENT_##as(width)),                                                                        \
		present,                                                                                               \
		AA_DICTIONARY_OF_##as(name),                                                                           \
	},
	AA_EVENT_FIELDS(AA_X)
#undef AA_X
#define AA_X(name, as, ...)                                                                                            \
	AA_IF_STRING_##as({ { #name "_bytes", "z", false, true }, sizeof(int32_t), 0, AA_DICTIONARY_NONE }, )
		AA_EVENT_FIELDS(AA_X)
#undef AA_X
};

/* Every AA_FIELD_* of the table. */
static const uint32_t aa_optional = 0
#define AA_X(name, as, member, width, present) | (present)
	AA_EVENT_FIELDS(AA_X)
#undef AA_X
	;

const struct aa_column_info *aa_column_info(size_t column)
{
	return column < AA_COLUMNS ? &aa_column_plans[column].info : NULL;
}

/* ---- the batch ---- */

struct aa_dictionary {
	char *text;
	int32_t *offsets; /* count + 1 */
	size_t text_used, text_capacity, count, capacity;
	/* Where a name is: open addressing; only for names, not for lists. */
	struct aa_place {
		uint32_t hash, number; /* index + 1; 0: free */
	} * places;
	size_t places_count; /* a power of two */
};

/* The exact bytes of names that are not UTF-8. */
struct aa_exact {
	bool is_active;
	int32_t *offsets;
	uint64_t *validity;
	char *data;
	size_t used, capacity, valid;
};

struct aa_columns {
	_Atomic size_t references;
	size_t rows, rows_max, capacity;
	uint32_t active;     /* AA_FIELD_* that some row has */
	uint32_t everywhere; /* … that every row has */
	char *arena;
	void *values[AA_FIELD_COLUMNS];
	uint64_t *validity[AA_FIELD_BITS];
	void *zeros;
	size_t valid[AA_FIELD_BITS];
	uint32_t present[AA_BLOCK_ROWS]; /* of the rows whose word of validity is not written yet */
	struct aa_dictionary dictionaries[AA_DICTIONARIES];
	struct aa_exact exact[AA_NAMES];
	uint32_t memos[AA_NAMES][AA_MEMOS]; /* index + 1 into the dictionary */
	/* A list has what the core knows first; a number that it does not know is shown by its digits. */
	int16_t list_index[AA_LISTS][AA_NUMBERS]; /* -1: not in it yet */
	uint8_t list_number[AA_LISTS][AA_NUMBERS];
};

/* ---- dictionaries ---- */

/* Room for one more text. The limits are those of 32-bit offsets. */
static enum aa_append aa_dictionary_reserve(struct aa_dictionary *dictionary, size_t bytes)
{
	size_t text = dictionary->text_used + bytes, capacity;
	void *room;

	if (text > INT32_MAX || dictionary->count >= INT32_MAX - 1)
		return AA_APPEND_FULL;
	if (text > dictionary->text_capacity || !dictionary->text) {
		capacity = text < 512 ? 1024 : 2 * text;
		room = realloc(dictionary->text, capacity);
		if (!room)
			return AA_APPEND_NO_MEMORY;
		dictionary->text = room;
		dictionary->text_capacity = capacity;
	}
	if (dictionary->count >= dictionary->capacity) {
		capacity = dictionary->capacity ? 2 * dictionary->capacity : 128;
		room = realloc(dictionary->offsets, (capacity + 1) * sizeof(*dictionary->offsets));
		if (!room)
			return AA_APPEND_NO_MEMORY;
		dictionary->offsets = room;
		dictionary->offsets[0] = 0;
		dictionary->capacity = capacity;
	}
	return AA_APPEND_DONE;
}

/* The text stands behind the last one already, or is copied there. Room is reserved. */
static void aa_dictionary_push(struct aa_dictionary *dictionary, const char *text, size_t bytes)
{
	if (text)
		memcpy(dictionary->text + dictionary->text_used, text, bytes);
	dictionary->text_used += bytes;
	dictionary->offsets[++dictionary->count] = (int32_t)dictionary->text_used;
}

static const char *aa_dictionary_text(const struct aa_dictionary *dictionary, size_t index, size_t *ret_bytes)
{
	*ret_bytes = (size_t)(dictionary->offsets[index + 1] - dictionary->offsets[index]);
	return dictionary->text + dictionary->offsets[index];
}

static bool aa_dictionary_equals(const struct aa_dictionary *dictionary, size_t index, const char *text, size_t bytes)
{
	size_t its_bytes;
	const char *its = aa_dictionary_text(dictionary, index, &its_bytes);

	return its_bytes == bytes && !memcmp(its, text, bytes);
}

static uint32_t aa_hash(const char *text, size_t bytes)
{
	uint64_t hash = bytes * 0x9e3779b97f4a7c15ull, part;

	for (; bytes >= sizeof(part); bytes -= sizeof(part), text += sizeof(part)) {
		memcpy(&part, text, sizeof(part));
		hash = (hash ^ part) * 0xbf58476d1ce4e5b9ull;
		hash ^= hash >> 31;
	}
	part = 0;
	memcpy(&part, text, bytes);
	hash = (hash ^ part) * 0x94d049bb133111ebull;
	return (uint32_t)(hash >> 32);
}

static struct aa_place *aa_dictionary_find(const struct aa_dictionary *dictionary, uint32_t hash, const char *text,
					   size_t bytes)
{
	size_t mask = dictionary->places_count - 1, at = hash & mask;

	for (;; at = (at + 1) & mask) {
		struct aa_place *place = &dictionary->places[at];

		if (!place->number ||
		    (place->hash == hash && aa_dictionary_equals(dictionary, place->number - 1, text, bytes)))
			return place;
	}
}

/* At least a quarter of the places stays free. */
static bool aa_dictionary_grow(struct aa_dictionary *dictionary)
{
	size_t count = dictionary->places_count ? 4 * dictionary->places_count : 64, at;
	struct aa_place *places;

	if (dictionary->places_count && dictionary->count + 1 <= dictionary->places_count / 4 * 3)
		return true;
	places = calloc(count, sizeof(*places));
	if (!places)
		return false;
	for (size_t i = 0; i < dictionary->places_count; i++) {
		if (!dictionary->places[i].number)
			continue;
		at = dictionary->places[i].hash & (count - 1);
		while (places[at].number)
			at = (at + 1) & (count - 1);
		places[at] = dictionary->places[i];
	}
	free(dictionary->places);
	dictionary->places = places;
	dictionary->places_count = count;
	return true;
}

/* Bytes of the well-formed UTF-8 sequence at the text's beginning (Unicode, table 3-7), or 0. */
static size_t aa_sequence_bytes(const unsigned char *text, size_t left)
{
	unsigned char first = text[0], low = 0x80, high = 0xbf;
	size_t bytes;

	if (first < 0x80)
		return 1;
	if (first < 0xc2 || first > 0xf4)
		return 0;
	bytes = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
	if (bytes > left)
		return 0;
	if (first == 0xe0)
		low = 0xa0;
	else if (first == 0xed)
		high = 0x9f;
	else if (first == 0xf0)
		low = 0x90;
	else if (first == 0xf4)
		high = 0x8f;
	if (text[1] < low || text[1] > high)
		return 0;
	for (size_t i = 2; i < bytes; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	return bytes;
}

static bool aa_is_utf8(const char *text, size_t bytes)
{
	const unsigned char *at = (const unsigned char *)text, *end = at + bytes;

	while (at < end) {
		size_t sequence = aa_sequence_bytes(at, (size_t)(end - at));

		if (!sequence)
			return false;
		at += sequence;
	}
	return true;
}

/* Each byte that belongs to no character as \xNN; returns the bytes written. */
static size_t aa_escape(const char *text, size_t bytes, char *ret_text)
{
	const unsigned char *at = (const unsigned char *)text, *end = at + bytes;
	char *to = ret_text;

	while (at < end) {
		size_t sequence = aa_sequence_bytes(at, (size_t)(end - at));

		if (sequence) {
			memcpy(to, at, sequence);
			to += sequence;
			at += sequence;
		} else {
			static const char digits[] = "0123456789abcdef";

			*to++ = '\\';
			*to++ = 'x';
			*to++ = digits[*at >> 4];
			*to++ = digits[*at & 15];
			at++;
		}
	}
	return (size_t)(to - ret_text);
}

/* The index of the name as it is shown; two names that look alike are one. */
static enum aa_append aa_dictionary_intern(struct aa_dictionary *dictionary, const char *text, size_t bytes,
					   int32_t *ret_index, bool *ret_is_utf8)
{
	uint32_t hash = aa_hash(text, bytes);
	struct aa_place *place;
	enum aa_append outcome;
	const char *shown = text;

	*ret_is_utf8 = true;
	if (!aa_dictionary_grow(dictionary))
		return AA_APPEND_NO_MEMORY;
	place = aa_dictionary_find(dictionary, hash, text, bytes);
	if (!place->number) {
		*ret_is_utf8 = aa_is_utf8(text, bytes);
		outcome = aa_dictionary_reserve(dictionary, *ret_is_utf8 ? bytes : AA_ESCAPED_BYTES * bytes);
		if (outcome != AA_APPEND_DONE)
			return outcome;
		if (!*ret_is_utf8) {
			char *room = dictionary->text + dictionary->text_used;

			bytes = aa_escape(text, bytes, room);
			hash = aa_hash(room, bytes);
			place = aa_dictionary_find(dictionary, hash, room, bytes);
			shown = NULL;
		}
		if (!place->number) {
			aa_dictionary_push(dictionary, shown, bytes);
			*place = (struct aa_place){ hash, (uint32_t)dictionary->count };
		}
	}
	*ret_index = (int32_t)(place->number - 1);
	return AA_APPEND_DONE;
}

static enum aa_append aa_list_push(struct aa_columns *columns, unsigned list, unsigned number, const char *name)
{
	struct aa_dictionary *dictionary = &columns->dictionaries[list];
	enum aa_append outcome;
	char digits[16];

	if (!name) {
		snprintf(digits, sizeof(digits), "%u", number);
		name = digits;
	}
	outcome = aa_dictionary_reserve(dictionary, strlen(name));
	if (outcome != AA_APPEND_DONE)
		return outcome;
	columns->list_index[list][number] = (int16_t)dictionary->count;
	columns->list_number[list][dictionary->count] = (uint8_t)number;
	aa_dictionary_push(dictionary, name, strlen(name));
	return AA_APPEND_DONE;
}

static bool aa_lists_fill(struct aa_columns *columns)
{
	static const char *(*const name_of[AA_LISTS])(unsigned) = {
		[AA_DICTIONARY_OPERATIONS] = aa_operation_name,
		[AA_DICTIONARY_KINDS] = aa_kind_name,
		[AA_DICTIONARY_SOURCES] = aa_path_source_name,
	};
	struct aa_dictionary *calls = &columns->dictionaries[AA_DICTIONARY_CALLS];
	struct aa_dictionary *vias = &columns->dictionaries[AA_DICTIONARY_VIAS];
	const char *name;

	memset(columns->list_index, -1, sizeof(columns->list_index));
	for (unsigned list = AA_DICTIONARY_OPERATIONS; list < AA_LISTS; list++)
		for (unsigned number = 0; (name = name_of[list](number)); number++)
			if (aa_list_push(columns, list, number, name) != AA_APPEND_DONE)
				return false;
	for (unsigned call = 0; (name = aa_call_name(call)); call++) {
		if (aa_dictionary_reserve(calls, strlen(name)) != AA_APPEND_DONE)
			return false;
		aa_dictionary_push(calls, name, strlen(name));
	}
	for (unsigned via = 0; (name = aa_via_name(via)); via++) {
		if (aa_dictionary_reserve(vias, strlen(name)) != AA_APPEND_DONE)
			return false;
		aa_dictionary_push(vias, name, strlen(name));
	}
	/* The last one stands for every number that is none of them, as FileEvent shows it. */
	if (aa_dictionary_reserve(calls, strlen("unknown")) != AA_APPEND_DONE)
		return false;
	aa_dictionary_push(calls, "unknown", strlen("unknown"));
	return true;
}

/* ---- memory ---- */

static bool aa_column_is_active(const struct aa_columns *columns, size_t column)
{
	uint32_t present = aa_column_plans[column].present;

	return !present || columns->active & present;
}

static size_t aa_aligned(size_t bytes)
{
	return (bytes + AA_ALIGNMENT - 1) & ~(size_t)(AA_ALIGNMENT - 1);
}

/* Places everything into one arena and returns its size; with arena NULL it only measures. */
static size_t aa_columns_place(struct aa_columns *columns, char *arena, size_t capacity)
{
	size_t used = 0;

#define AA_PLACE(pointer, bytes)                                                                                       \
	do {                                                                                                           \
		if (arena)                                                                                             \
			(pointer) = (void *)(arena + used);                                                            \
		used += aa_aligned(bytes) + AA_STAGGER;                                                                \
	} while (0)
	for (size_t column = 0; column < AA_FIELD_COLUMNS; column++)
		AA_PLACE(columns->values[column], (size_t)capacity * aa_column_plans[column].bytes);
	for (unsigned bit = 0; bit < AA_FIELD_BITS; bit++)
		if (aa_optional >> bit & 1)
			AA_PLACE(columns->validity[bit], capacity / 8);
	for (unsigned name = 0; name < AA_NAMES; name++) {
		AA_PLACE(columns->exact[name].offsets, ((size_t)capacity + 1) * sizeof(int32_t));
		AA_PLACE(columns->exact[name].validity, capacity / 8);
	}
	AA_PLACE(columns->zeros, ((size_t)capacity + 1) * sizeof(uint64_t));
#undef AA_PLACE
	return used;
}

static bool aa_columns_grow(struct aa_columns *columns)
{
	size_t capacity = columns->capacity ? AA_ROWS_GROWTH * columns->capacity : AA_ROWS_FIRST;
	size_t rows = columns->rows, words = (rows + AA_BLOCK_ROWS - 1) / AA_BLOCK_ROWS;
	struct aa_columns old = *columns;
	void *arena;

	if (capacity > columns->rows_max)
		capacity = columns->rows_max;
	capacity = (capacity + AA_BLOCK_ROWS - 1) & ~(size_t)(AA_BLOCK_ROWS - 1);
	if (posix_memalign(&arena, AA_ALIGNMENT, aa_columns_place(columns, NULL, capacity)))
		return false;
	aa_columns_place(columns, arena, capacity);
	for (size_t column = 0; rows && column < AA_FIELD_COLUMNS; column++)
		if (aa_column_is_active(columns, column))
			memcpy(columns->values[column], old.values[column], rows * aa_column_plans[column].bytes);
	for (unsigned bit = 0; rows && bit < AA_FIELD_BITS; bit++)
		if (columns->active >> bit & 1)
			memcpy(columns->validity[bit], old.validity[bit], words * sizeof(uint64_t));
	for (unsigned name = 0; name < AA_NAMES; name++) {
		struct aa_exact *exact = &columns->exact[name];

		if (!exact->is_active)
			continue;
		memset(exact->validity, 0, capacity / 8);
		memcpy(exact->validity, old.exact[name].validity, words * sizeof(uint64_t));
		memcpy(exact->offsets, old.exact[name].offsets, (rows + 1) * sizeof(int32_t));
	}
	free(columns->arena);
	columns->arena = arena;
	columns->capacity = capacity;
	return true;
}

struct aa_columns *aa_columns_create(size_t rows_max)
{
	struct aa_columns *columns = calloc(1, sizeof(*columns));

	if (!columns)
		return NULL;
	atomic_init(&columns->references, 1);
	columns->rows_max = rows_max < AA_ROWS_MAX ? rows_max : AA_ROWS_MAX;
	columns->everywhere = aa_optional;
	if (!aa_lists_fill(columns)) {
		aa_columns_unref(columns);
		return NULL;
	}
	return columns;
}

struct aa_columns *aa_columns_ref(struct aa_columns *columns)
{
	atomic_fetch_add_explicit(&columns->references, 1, memory_order_relaxed);
	return columns;
}

void aa_columns_unref(struct aa_columns *columns)
{
	if (!columns || atomic_fetch_sub_explicit(&columns->references, 1, memory_order_acq_rel) != 1)
		return;
	for (unsigned i = 0; i < AA_DICTIONARIES; i++) {
		free(columns->dictionaries[i].text);
		free(columns->dictionaries[i].offsets);
		free(columns->dictionaries[i].places);
	}
	for (unsigned name = 0; name < AA_NAMES; name++)
		free(columns->exact[name].data);
	free(columns->arena);
	free(columns);
}

size_t aa_columns_length(const struct aa_columns *columns)
{
	return columns->rows;
}

/* ---- rows ---- */

/* Fields that were never there until now are nothing in the rows before. */
static void aa_columns_activate(struct aa_columns *columns, uint32_t present)
{
	uint32_t fresh = present & ~columns->active;

	columns->active |= fresh;
	for (size_t column = 0; column < AA_FIELD_COLUMNS; column++)
		if (aa_column_plans[column].present & fresh)
			memset(columns->values[column], 0, columns->rows * aa_column_plans[column].bytes);
	for (unsigned bit = 0; bit < AA_FIELD_BITS; bit++)
		if (fresh >> bit & 1)
			memset(columns->validity[bit], 0, columns->rows / 8);
}

/* The words of validity for the rows since the last whole block. */
static void aa_columns_write_validity(struct aa_columns *columns)
{
	size_t count = (columns->rows - 1) % AA_BLOCK_ROWS + 1, word = (columns->rows - 1) / AA_BLOCK_ROWS;
	uint64_t all = count < AA_BLOCK_ROWS ? (1ull << count) - 1 : ~0ull;
	uint32_t in_some = 0, in_every = ~0u;

	for (size_t row = 0; row < count; row++) {
		in_some |= columns->present[row];
		in_every &= columns->present[row];
	}
	columns->everywhere &= in_every;
	for (uint32_t left = columns->active; left; left &= left - 1) {
		unsigned bit = (unsigned)__builtin_ctz(left);
		uint64_t valid = 0;

		if (in_every >> bit & 1)
			valid = all;
		else if (in_some >> bit & 1)
			for (size_t row = 0; row < count; row++)
				valid |= (uint64_t)(columns->present[row] >> bit & 1) << row;
		columns->validity[bit][word] = valid;
		columns->valid[bit] += (size_t)__builtin_popcountll(valid);
	}
}

/* Room for the exact bytes of a name in this row. */
static enum aa_append aa_exact_reserve(struct aa_columns *columns, struct aa_exact *exact, size_t bytes)
{
	size_t needed = exact->used + bytes;
	char *data;

	if (needed > INT32_MAX)
		return AA_APPEND_FULL;
	if (needed > exact->capacity) {
		data = realloc(exact->data, 2 * needed);
		if (!data)
			return AA_APPEND_NO_MEMORY;
		exact->data = data;
		exact->capacity = 2 * needed;
	}
	if (!exact->is_active) {
		exact->is_active = true;
		memset(exact->validity, 0, columns->capacity / 8);
		memset(exact->offsets, 0, (columns->rows + 1) * sizeof(*exact->offsets));
	}
	return AA_APPEND_DONE;
}

/* What appending an event has found out before it writes anything. */
struct aa_row {
	int32_t names[AA_NAMES];
	uint32_t inexact; /* bit per name that is not UTF-8 */
	size_t bytes[AA_NAMES];
	const char *texts[AA_NAMES];
};

static inline enum aa_append aa_row_name(struct aa_columns *columns, unsigned name, const char *text, size_t bytes,
					 unsigned memo, struct aa_row *row)
{
	struct aa_dictionary *dictionary = &columns->dictionaries[AA_DICTIONARY_NAMES + name];
	uint32_t *remembered = &columns->memos[name][memo];
	enum aa_append outcome;
	bool is_utf8;

	if (*remembered && aa_dictionary_equals(dictionary, *remembered - 1, text, bytes)) {
		row->names[name] = (int32_t)(*remembered - 1);
		return AA_APPEND_DONE;
	}
	outcome = aa_dictionary_intern(dictionary, text, bytes, &row->names[name], &is_utf8);
	if (outcome != AA_APPEND_DONE)
		return outcome;
	if (is_utf8) {
		*remembered = (uint32_t)row->names[name] + 1;
		return AA_APPEND_DONE;
	}
	row->inexact |= 1u << name;
	row->bytes[name] = bytes;
	row->texts[name] = text;
	return aa_exact_reserve(columns, &columns->exact[name], bytes);
}

enum aa_append aa_columns_append(struct aa_columns *columns, const struct aa_file_event *event, int64_t offset_ns)
{
	uint64_t who =
		((uint64_t)event->tid << 32 ^ event->inode ^ (uint64_t)event->call << 24) * 0x9e3779b97f4a7c15ull;
	unsigned memo = (unsigned)(who >> 58);
	struct aa_row names = { .inexact = 0 };
	size_t row = columns->rows;
	enum aa_append outcome;

	_Static_assert(AA_MEMOS == 1u << (64 - 58), "a memo's number is the top of the hash");
	if (row == columns->rows_max)
		return AA_APPEND_FULL;
	if (row == columns->capacity && !aa_columns_grow(columns))
		return AA_APPEND_NO_MEMORY;

		/* All that may fail comes first, */
#define AA_FIND_NUMBER(...)
#define AA_FIND_TIME(...)
#define AA_FIND_ERRNO(...)
#define AA_FIND_BYTES(...)
#define AA_FIND_CALL(...)
#define AA_FIND_VIA(...)
#define AA_FIND_TRUTH(...)
#define AA_FIND_PATH_FLAGS(...)
#define AA_FIND_LIST(list, member)                                                                                     \
	if (columns->list_index[list][event->member] < 0) {                                                            \
		outcome = aa_list_push(columns, list, event->member, NULL);                                            \
		if (outcome != AA_APPEND_DONE)                                                                         \
			return outcome;                                                                                \
	}
#define AA_FIND_OPERATION(name, member, present) AA_FIND_LIST(AA_DICTIONARY_OPERATIONS, member)
#define AA_FIND_KIND(name, member, present) AA_FIND_LIST(AA_DICTIONARY_KINDS, member)
#define AA_FIND_SOURCE(name, member, present) AA_FIND_LIST(AA_DICTIONARY_SOURCES, member)
#define AA_FIND_STRING(name, member, present_)                                                                         \
	if (event->present & (present_)) {                                                                             \
		outcome = aa_row_name(columns, AA_NAME_##name, aa_file_event_##name(event), event->member, memo,       \
				      &names);                                                                         \
		if (outcome != AA_APPEND_DONE)                                                                         \
			return outcome;                                                                                \
	}
#define AA_FIND_COMM(name, member, present_)                                                                           \
	outcome = aa_row_name(columns, AA_NAME_##name, event->member, strnlen(event->member, sizeof(event->member)),   \
			      memo, &names);                                                                           \
	if (outcome != AA_APPEND_DONE)                                                                                 \
		return outcome;
#define AA_X(name, as, member, width, present) AA_FIND_##as(name, member, present)
	AA_EVENT_FIELDS(AA_X)
#undef AA_X

	/* and then the row is written, which cannot. */
	if (event->present & aa_optional & ~columns->active)
		aa_columns_activate(columns, event->present & aa_optional);
#define AA_PUT_NUMBER(name, member) event->member
#define AA_PUT_TIME(name, member) (int64_t)(event->member + (uint64_t)offset_ns)
#define AA_PUT_ERRNO(name, member) (int32_t) aa_file_event_errno(event)
#define AA_PUT_BYTES(name, member) aa_file_event_bytes(event)
#define AA_PUT_OPERATION(name, member) columns->list_index[AA_DICTIONARY_OPERATIONS][event->member]
#define AA_PUT_KIND(name, member) columns->list_index[AA_DICTIONARY_KINDS][event->member]
#define AA_PUT_SOURCE(name, member) columns->list_index[AA_DICTIONARY_SOURCES][event->member]
#define AA_PUT_CALL(name, member)                                                                                      \
	(int16_t)(event->member < calls ? event->member : calls) /* the last entry of the list */
#define AA_PUT_VIA(name, member) (int16_t) aa_call_via(event->member)
#define AA_PUT_TRUTH(name, member) event->member
#define AA_PUT_PATH_FLAGS(name, member) event->member
#define AA_PUT_STRING(name, member) names.names[AA_NAME_##name]
#define AA_PUT_COMM(name, member) names.names[AA_NAME_##name]
#define AA_X(name, as, member, width, present)                                                                         \
	if (!(present) || columns->active & (present))                                                                 \
		((AA_ELEMENT_##as(width) *)columns->values[AA_COLUMN_##name])[row] = AA_PUT_##as(name, member);
	{
		const size_t calls = columns->dictionaries[AA_DICTIONARY_CALLS].count - 1;

		AA_EVENT_FIELDS(AA_X)
	}
#undef AA_X
	for (unsigned name = 0; name < AA_NAMES; name++) {
		struct aa_exact *exact = &columns->exact[name];

		if (!exact->is_active)
			continue;
		if (names.inexact >> name & 1) {
			memcpy(exact->data + exact->used, names.texts[name], names.bytes[name]);
			exact->used += names.bytes[name];
			exact->validity[row / AA_BLOCK_ROWS] |= 1ull << row % AA_BLOCK_ROWS;
			exact->valid++;
		}
		exact->offsets[row + 1] = (int32_t)exact->used;
	}
	columns->present[row % AA_BLOCK_ROWS] = event->present;
	columns->rows = row + 1;
	if (columns->rows % AA_BLOCK_ROWS == 0)
		aa_columns_write_validity(columns);
	return AA_APPEND_DONE;
}

enum aa_append aa_columns_fill(struct aa_columns *columns, struct aa_session *session)
{
	int64_t offset_ns = aa_session_boottime_to_realtime_ns(session);
	enum aa_append outcome = AA_APPEND_DONE;
	const struct aa_file_event *event;
	size_t rows = columns->rows;
	enum aa_peek peek;

	while ((peek = aa_session_peek(session, &event)) == AA_PEEK_EVENT) {
		outcome = aa_columns_append(columns, event, offset_ns);
		if (outcome != AA_APPEND_DONE)
			break;
		aa_session_pass(session);
	}
	if (peek == AA_PEEK_NO_MEMORY)
		outcome = AA_APPEND_NO_MEMORY;
	aa_session_passed(session, columns->rows - rows);
	return outcome == AA_APPEND_NO_MEMORY && columns->rows ? AA_APPEND_DONE : outcome;
}

void aa_columns_finish(struct aa_columns *columns)
{
	if (columns->rows % AA_BLOCK_ROWS)
		aa_columns_write_validity(columns);
	columns->rows_max = columns->rows;
	if (columns->rows)
		memset(columns->zeros, 0, (columns->rows + 1) * sizeof(uint64_t));
}

/* ---- reading them back ---- */

static bool aa_row_has(const struct aa_columns *columns, size_t row, unsigned bit)
{
	return columns->active >> bit & 1 && columns->validity[bit][row / AA_BLOCK_ROWS] >> row % AA_BLOCK_ROWS & 1;
}

static const char *aa_row_text(const struct aa_columns *columns, size_t row, unsigned name, int32_t index,
			       size_t *ret_bytes)
{
	const struct aa_exact *exact = &columns->exact[name];

	if (exact->is_active && exact->validity[row / AA_BLOCK_ROWS] >> row % AA_BLOCK_ROWS & 1) {
		*ret_bytes = (size_t)(exact->offsets[row + 1] - exact->offsets[row]);
		return exact->data + exact->offsets[row];
	}
	return aa_dictionary_text(&columns->dictionaries[AA_DICTIONARY_NAMES + name], (size_t)index, ret_bytes);
}

void aa_columns_get(const struct aa_columns *columns, size_t row, struct aa_file_event *ret_event,
		    struct aa_row_strings *ret_strings, int64_t *ret_offset_ns)
{
	struct aa_file_event *event = ret_event;
	const char *text;
	size_t bytes;

	memset(event, 0, sizeof(*event));
	*ret_strings = (struct aa_row_strings){ NULL, NULL, NULL };
	*ret_offset_ns = 0;
	for (uint32_t left = columns->active; left; left &= left - 1)
		if (aa_row_has(columns, row, (unsigned)__builtin_ctz(left)))
			event->present |= left & -left;
#define AA_VALUE(name, as, width) ((const AA_ELEMENT_##as(width) *)columns->values[AA_COLUMN_##name])[row]
#define AA_GET_NUMBER(name, member, width) event->member = AA_VALUE(name, NUMBER, width);
#define AA_GET_TIME(name, member, width)                                                                               \
	*ret_offset_ns = (int64_t)((uint64_t)AA_VALUE(name, TIME, width) - event->member);
#define AA_GET_ERRNO(name, member, width) /* from the number that it was made of */
#define AA_GET_BYTES(name, member, width)
#define AA_GET_OPERATION(name, member, width)                                                                          \
	event->member = columns->list_number[AA_DICTIONARY_OPERATIONS][AA_VALUE(name, OPERATION, width)];
#define AA_GET_KIND(name, member, width)                                                                               \
	event->member = columns->list_number[AA_DICTIONARY_KINDS][AA_VALUE(name, KIND, width)];
#define AA_GET_SOURCE(name, member, width)                                                                             \
	event->member = columns->list_number[AA_DICTIONARY_SOURCES][AA_VALUE(name, SOURCE, width)];
#define AA_GET_CALL(name, member, width)                                                                               \
	event->member = aa_call_name((unsigned)AA_VALUE(name, CALL, width)) ? (uint16_t)AA_VALUE(name, CALL, width) :  \
									      UINT16_MAX;
#define AA_GET_VIA(name, member, width) /* from the call */
#define AA_GET_TRUTH(name, member, width) event->member = AA_VALUE(name, TRUTH, width);
#define AA_GET_PATH_FLAGS(name, member, width) event->member = AA_VALUE(name, PATH_FLAGS, width);
#define AA_GET_STRING(name, member, width)                                                                             \
	ret_strings->name = aa_row_text(columns, row, AA_NAME_##name, AA_VALUE(name, STRING, width), &bytes);          \
	event->member = (uint16_t)bytes;
#define AA_GET_COMM(name, member, width)                                                                               \
	text = aa_row_text(columns, row, AA_NAME_##name, AA_VALUE(name, COMM, width), &bytes);                         \
	memcpy(event->member, text, bytes);
#define AA_X(name, as, member, width, present_)                                                                        \
	if (!(present_) || event->present & (present_)) {                                                              \
		AA_GET_##as(name, member, width)                                                                       \
	}
	AA_EVENT_FIELDS(AA_X)
#undef AA_X
}

void aa_columns_buffers(const struct aa_columns *columns, size_t column, struct aa_column_buffers *ret_buffers)
{
	const struct aa_column_plan *plan = &aa_column_plans[column];
	struct aa_column_buffers *buffers = ret_buffers;

	*buffers = (struct aa_column_buffers){ .values = columns->zeros, .data = "" };
	if (column >= AA_FIELD_COLUMNS) {
		const struct aa_exact *exact = &columns->exact[column - AA_FIELD_COLUMNS];

		buffers->validity = exact->is_active ? (void *)exact->validity : columns->zeros;
		buffers->null_count = columns->rows - exact->valid;
		if (exact->is_active) {
			buffers->values = exact->offsets;
			buffers->data = exact->data;
		}
		return;
	}
	if (aa_column_is_active(columns, column))
		buffers->values = columns->values[column];
	if (plan->present) {
		/* A field has one bit, which may be that of others too. */
		unsigned bit = (unsigned)__builtin_ctz(plan->present);

		if (!(columns->active & plan->present)) {
			buffers->validity = columns->zeros;
			buffers->null_count = columns->rows;
		} else if (!(columns->everywhere & plan->present)) {
			buffers->validity = columns->validity[bit];
			buffers->null_count = columns->rows - columns->valid[bit];
		}
	}
	if (plan->info.is_dictionary) {
		const struct aa_dictionary *dictionary = &columns->dictionaries[plan->dictionary];
		static const int32_t empty[1];

		buffers->dictionary_offsets = dictionary->offsets ? dictionary->offsets : empty;
		buffers->dictionary_data = dictionary->text ? dictionary->text : "";
		buffers->dictionary_length = dictionary->count;
	}
}

// SPDX-License-Identifier: MIT
#include "totals.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../../bpf/fileio_abi.h"
#include "event_decode.h"
#include "kernel_ring.h"

_Static_assert(AA_TOTAL_HISTOGRAM == AA_TOTAL_BUCKETS, "session.h and the wire agree");

_Static_assert(sizeof(struct aa_told) + sizeof(struct aa_event) + AA_DATA_BYTES <= AA_RING_RECORD_MAX,
	       "the longest record there is");

struct aa_totals {
	pthread_mutex_t lock; /* of the ring and of what came through it */
	uint32_t rows;
	const struct aa_total *table; /* rows, then one for each operation */
	size_t table_bytes;
	struct aa_ring ring;
	struct aa_file_event **first; /* of each row, or NULL */
	struct aa_file_event *scratch;
};

struct aa_error *aa_totals_create(int totals_fd, int names_fd, uint32_t rows, struct aa_totals **ret_totals)
{
	struct aa_totals *totals = calloc(1, sizeof(*totals));
	void *table;
	int code;

	if (!totals)
		return aa_error_create(AA_ERROR_MEMORY, ENOMEM, "out of memory");
	pthread_mutex_init(&totals->lock, NULL);
	totals->rows = rows;
	totals->first = calloc(rows, sizeof(struct aa_file_event *));
	totals->scratch = malloc(AA_EVENT_BYTES_MAX);
	if (!totals->first || !totals->scratch) {
		aa_totals_destroy(totals);
		return aa_error_create(AA_ERROR_MEMORY, ENOMEM, "out of memory");
	}
	totals->table_bytes = (rows + AA_OPERATION_COUNT) * sizeof(*totals->table);
	table = mmap(NULL, totals->table_bytes, PROT_READ, MAP_SHARED, totals_fd, 0);
	totals->table = table == MAP_FAILED ? NULL : table;
	if (!totals->table || madvise(table, totals->table_bytes, MADV_DONTFORK) ||
	    !aa_ring_map(&totals->ring, names_fd, AA_NAMES_BYTES)) {
		code = errno;
		aa_totals_destroy(totals);
		return aa_error_create(AA_ERROR_SYSTEM, code, "cannot map the totals, %u rows: %s", rows,
				       strerror(code));
	}
	*ret_totals = totals;
	return NULL;
}

void aa_totals_destroy(struct aa_totals *totals)
{
	if (!totals)
		return;
	aa_ring_unmap(&totals->ring);
	if (totals->table)
		munmap((void *)totals->table, totals->table_bytes);
	for (uint32_t row = 0; totals->first && row < totals->rows; row++)
		free(totals->first[row]);
	free(totals->first);
	free(totals->scratch);
	pthread_mutex_destroy(&totals->lock);
	free(totals);
}

/* The lock is held. What cannot be understood or kept leaves its row without a name. */
static void aa_totals_take(struct aa_totals *totals, const unsigned char *record, uint32_t bytes)
{
	struct aa_file_event *event;
	uint32_t row;

	if (!aa_decode_told(record, bytes, &row, totals->scratch) || row >= totals->rows || totals->first[row])
		return;
	event = malloc(totals->scratch->size);
	if (!event)
		return;
	memcpy(event, totals->scratch, totals->scratch->size);
	totals->first[row] = event;
}

bool aa_totals_take_names(struct aa_totals *totals)
{
	struct aa_ring *ring = &totals->ring;
	const unsigned char *record;
	unsigned long position;
	bool has_some = false;
	uint32_t header;

	pthread_mutex_lock(&totals->lock);
	position = atomic_load_explicit(ring->consumer, memory_order_relaxed);
	while ((record = aa_ring_at(ring, position, &header))) {
		if (!(header & BPF_RINGBUF_DISCARD_BIT))
			aa_totals_take(totals, record, header);
		has_some = true;
		position = aa_ring_after(position, header);
		atomic_store_explicit(ring->consumer, position, memory_order_release);
	}
	pthread_mutex_unlock(&totals->lock);
	return has_some;
}

int aa_totals_ring(const struct aa_totals *totals)
{
	return totals->ring.fd;
}

bool aa_totals_is_told(const struct aa_totals *totals)
{
	return aa_ring_is_empty(&totals->ring);
}

static void aa_total_copy(const struct aa_total *total, struct aa_total_row *ret_row)
{
	ret_row->started_ns = total->started_ns;
	ret_row->operation = (uint8_t)total->operation;
	ret_row->calls = __atomic_load_n(&total->calls, __ATOMIC_RELAXED);
	ret_row->errors = __atomic_load_n(&total->errors, __ATOMIC_RELAXED);
	ret_row->bytes = __atomic_load_n(&total->bytes, __ATOMIC_RELAXED);
	ret_row->duration_ns = __atomic_load_n(&total->duration_ns, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < AA_TOTAL_BUCKETS; i++)
		ret_row->histogram[i] = __atomic_load_n(&total->buckets[i], __ATOMIC_RELAXED);
}

/* The lock is held. A row counts from its first call on; those behind the rows have no name. */
static bool aa_totals_has(const struct aa_totals *totals, uint32_t row)
{
	return __atomic_load_n(&totals->table[row].calls, __ATOMIC_ACQUIRE) != 0;
}

/* The lock is held. The rows that count now, and the bytes of their events; those that begin meanwhile come next time.
 */
static size_t aa_totals_list(const struct aa_totals *totals, uint32_t *ret_list, size_t *ret_bytes)
{
	size_t count = 0;

	*ret_bytes = 0;
	for (uint32_t row = 0; row < totals->rows + AA_OPERATION_COUNT; row++) {
		if (!aa_totals_has(totals, row))
			continue;
		ret_list[count++] = row;
		if (row < totals->rows && totals->first[row])
			*ret_bytes += totals->first[row]->size;
	}
	return count;
}

struct aa_error *aa_totals_read(struct aa_totals *totals, const struct aa_path_rules *rules,
				struct aa_total_row **ret_rows, size_t *ret_count)
{
	uint32_t *list = malloc((totals->rows + AA_OPERATION_COUNT) * sizeof(*list));
	struct aa_total_row *rows = NULL;
	unsigned char *events;
	size_t count, kept = 0, bytes = 0;

	aa_totals_take_names(totals);
	pthread_mutex_lock(&totals->lock);
	count = list ? aa_totals_list(totals, list, &bytes) : 0;
	if (list)
		rows = malloc(count * sizeof(*rows) + bytes + 1);
	events = rows ? (unsigned char *)(rows + count) : NULL;
	for (size_t i = 0; rows && i < count; i++) {
		const struct aa_file_event *first = list[i] < totals->rows ? totals->first[list[i]] : NULL;
		struct aa_total_row *row = &rows[kept];
		struct aa_file_event *copy;

		copy = first ? memcpy(events, first, first->size) : NULL;
		if (copy && !aa_path_rules_apply(rules, copy))
			continue;
		kept++;
		aa_total_copy(&totals->table[list[i]], row);
		if (list[i] >= totals->rows)
			row->operation = (uint8_t)(list[i] - totals->rows);
		row->first = copy;
		events += copy ? copy->size : 0;
	}
	pthread_mutex_unlock(&totals->lock);
	free(list);
	if (!rows)
		return aa_error_create(AA_ERROR_MEMORY, ENOMEM, "out of memory");
	*ret_rows = rows;
	*ret_count = kept;
	return NULL;
}

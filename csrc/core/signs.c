// SPDX-License-Identifier: MIT
#include "signs.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../../bpf/fileio_abi.h"
#include "../../bpf/syscalls.h"

#define AA_MAPS_WRITABLE 2u /* PROT_WRITE */

struct aa_signs {
	pthread_mutex_t lock;
	struct aa_sign items[AA_SIGNS_MAX]; /* their paths are ours */
	size_t count;
};

struct aa_signs *aa_signs_create(void)
{
	struct aa_signs *signs = calloc(1, sizeof(*signs));

	if (signs)
		pthread_mutex_init(&signs->lock, NULL);
	return signs;
}

void aa_signs_clear(struct aa_signs *signs)
{
	pthread_mutex_lock(&signs->lock);
	for (size_t i = 0; i < signs->count; i++)
		free(signs->items[i].path);
	signs->count = 0;
	pthread_mutex_unlock(&signs->lock);
}

void aa_signs_destroy(struct aa_signs *signs)
{
	if (!signs)
		return;
	aa_signs_clear(signs);
	pthread_mutex_destroy(&signs->lock);
	free(signs);
}

static bool aa_paths_equal(const char *one, const char *other)
{
	return one && other ? !strcmp(one, other) : !one && !other;
}

static bool aa_sign_is_alike(const struct aa_sign *one, const struct aa_sign *other)
{
	return one->what == other->what && one->call == other->call && one->pid == other->pid &&
	       one->is_named == other->is_named && one->has_range == other->has_range &&
	       !memcmp(one->comm, other->comm, sizeof(one->comm)) && aa_paths_equal(one->path, other->path);
}

static void aa_sign_grow(struct aa_sign *sign, const struct aa_sign *by)
{
	sign->count += by->count;
	sign->is_writable |= by->is_writable;
	if (by->start < sign->start)
		sign->start = by->start;
	if (by->end > sign->end)
		sign->end = by->end;
}

void aa_signs_add(struct aa_signs *signs, const struct aa_sign *sign)
{
	struct aa_sign *added;
	size_t i;

	pthread_mutex_lock(&signs->lock);
	for (i = 0; i < signs->count; i++)
		if (aa_sign_is_alike(&signs->items[i], sign))
			break;
	added = &signs->items[i];
	if (i < signs->count) {
		aa_sign_grow(added, sign);
	} else if (i < AA_SIGNS_MAX) {
		*added = *sign;
		added->path = sign->path ? strdup(sign->path) : NULL;
		signs->count += added->path || !sign->path;
	}
	pthread_mutex_unlock(&signs->lock);
}

void aa_signs_add_all(struct aa_signs *signs, struct aa_signs *others)
{
	pthread_mutex_lock(&others->lock);
	for (size_t i = 0; i < others->count; i++)
		aa_signs_add(signs, &others->items[i]);
	pthread_mutex_unlock(&others->lock);
}

/* The name is of the very file, and all of it is known. */
static bool aa_event_names_it(const struct aa_file_event *event)
{
	const unsigned harmless = AA_PATH_DELETED | AA_PATH_OTHER_ROOT;

	if (!(event->present & AA_FIELD_PATH) || event->path_flags & ~harmless)
		return false;
	if (event->call == AA_CALL_connect &&
	    (event->path_source == AA_PATH_SOURCE_AS_PASSED || event->path_source == AA_PATH_SOURCE_DIR_AND_NAME))
		return true; /* of a socket: the name it was spoken to by */
	return event->path_source == AA_PATH_SOURCE_FILE || event->path_source == AA_PATH_SOURCE_DENTRY;
}

void aa_signs_add_event(struct aa_signs *signs, const struct aa_file_event *event)
{
	struct aa_sign sign = { .what = AA_SIGN_CALL, .call = event->call, .count = 1, .pid = event->pid };

	memcpy(sign.comm, event->comm, sizeof(sign.comm));
	sign.path = (char *)aa_file_event_path(event);
	sign.is_named = aa_event_names_it(event);
	if (event->call == AA_CALL_mmap && event->present & AA_FIELD_OFFSET && event->present & AA_FIELD_COUNT) {
		sign.has_range = true;
		sign.start = (uint64_t)event->offset;
		sign.end = sign.start + event->count;
		sign.is_writable = event->mode & AA_MAPS_WRITABLE;
	}
	aa_signs_add(signs, &sign);
}

struct aa_sign *aa_signs_copy(struct aa_signs *signs, size_t *ret_count)
{
	struct aa_sign *copy;
	size_t bytes = 0;
	char *text;

	pthread_mutex_lock(&signs->lock);
	*ret_count = signs->count;
	for (size_t i = 0; i < signs->count; i++)
		bytes += sizeof(*copy) + (signs->items[i].path ? strlen(signs->items[i].path) + 1 : 0);
	copy = bytes ? malloc(bytes) : NULL;
	errno = bytes && !copy ? ENOMEM : 0;
	if (copy) {
		text = (char *)(copy + signs->count);
		memcpy(copy, signs->items, signs->count * sizeof(*copy));
		for (size_t i = 0; i < signs->count; i++) {
			if (!copy[i].path)
				continue;
			bytes = strlen(copy[i].path) + 1;
			copy[i].path = memcpy(text, copy[i].path, bytes);
			text += bytes;
		}
	}
	pthread_mutex_unlock(&signs->lock);
	return copy;
}

// SPDX-License-Identifier: MIT
#include "kept_probes.h"

#include <pthread.h>

/* Each has a ring, of 16 MB if nothing else was said. */
#define AA_KEPT_MAX 4

static pthread_mutex_t aa_kept_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned aa_keepers;
static struct aa_probes *aa_kept[AA_KEPT_MAX]; /* the oldest first */
static unsigned aa_kept_count;

static struct aa_probes *aa_kept_remove(unsigned i)
{
	struct aa_probes *probes = aa_kept[i];

	for (aa_kept_count--; i < aa_kept_count; i++)
		aa_kept[i] = aa_kept[i + 1];
	return probes;
}

bool aa_kept_wanted(void)
{
	bool wanted;

	pthread_mutex_lock(&aa_kept_lock);
	wanted = aa_keepers > 0;
	pthread_mutex_unlock(&aa_kept_lock);
	return wanted;
}

bool aa_kept_give(struct aa_probes *probes)
{
	struct aa_probes *oldest = NULL;
	bool wanted;

	pthread_mutex_lock(&aa_kept_lock);
	wanted = aa_keepers > 0;
	if (wanted) {
		if (aa_kept_count == AA_KEPT_MAX)
			oldest = aa_kept_remove(0);
		aa_kept[aa_kept_count++] = probes;
	}
	pthread_mutex_unlock(&aa_kept_lock);
	aa_probes_unload(oldest);
	return wanted;
}

struct aa_probes *aa_kept_take(const char *backend, const struct aa_probe_options *options)
{
	struct aa_probes *probes = NULL;

	pthread_mutex_lock(&aa_kept_lock);
	for (unsigned i = aa_kept_count; !probes && i > 0; i--)
		if (aa_probes_are_for(aa_kept[i - 1], backend, options))
			probes = aa_kept_remove(i - 1);
	pthread_mutex_unlock(&aa_kept_lock);
	return probes;
}

void aa_keep_loaded_begin(void)
{
	pthread_mutex_lock(&aa_kept_lock);
	aa_keepers++;
	pthread_mutex_unlock(&aa_kept_lock);
}

void aa_keep_loaded_end(void)
{
	struct aa_probes *last;

	pthread_mutex_lock(&aa_kept_lock);
	aa_keepers--;
	pthread_mutex_unlock(&aa_kept_lock);
	do {
		pthread_mutex_lock(&aa_kept_lock);
		last = !aa_keepers && aa_kept_count ? aa_kept_remove(aa_kept_count - 1) : NULL;
		pthread_mutex_unlock(&aa_kept_lock);
		aa_probes_unload(last);
	} while (last);
}

void aa_keep_loaded_after_fork_in_child(void)
{
	/* Another thread of the parent may have held it. */
	pthread_mutex_init(&aa_kept_lock, NULL);
	while (aa_kept_count)
		aa_probes_abandon(aa_kept_remove(aa_kept_count - 1));
}

// SPDX-License-Identifier: MIT
#include "libbpf_log.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local struct aa_log *aa_current_log;
/* The hook that the program had set, or libbpf's own. */
static _Atomic(libbpf_print_fn_t) aa_hook_before;

int aa_log_print(enum libbpf_print_level level, const char *format, va_list arguments)
{
	struct aa_log *log = aa_current_log;
	const size_t room = sizeof(log->text) - 1;
	libbpf_print_fn_t before;
	char *words = NULL;
	int length;
	size_t bytes, kept;

	if (!log) {
		before = atomic_load(&aa_hook_before);
		return before ? before(level, format, arguments) : 0;
	}
	if (level == LIBBPF_DEBUG)
		return 0;
	length = vasprintf(&words, format, arguments);
	if (length < 0)
		return 0;
	/* The end is what matters: a verifier's complaint comes after all that it looked at. */
	bytes = (size_t)length < room ? (size_t)length : room;
	kept = log->used < room - bytes ? log->used : room - bytes;
	memmove(log->text, log->text + log->used - kept, kept);
	memcpy(log->text + kept, words + length - bytes, bytes);
	log->used = kept + bytes;
	log->text[log->used] = '\0';
	free(words);
	return 0;
}

void aa_log_begin(struct aa_log *log)
{
	libbpf_print_fn_t before = libbpf_set_print(aa_log_print);

	/* The program may have set another one since our last call. */
	if (before != aa_log_print)
		atomic_store(&aa_hook_before, before);
	log->used = 0;
	log->text[0] = '\0';
	log->outer = aa_current_log;
	aa_current_log = log;
}

void aa_log_end(struct aa_log *log)
{
	aa_current_log = log->outer;
}

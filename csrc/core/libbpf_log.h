/* SPDX-License-Identifier: MIT */
/*
 * What libbpf says during our calls, for the error that they may end with.
 *
 * libbpf has one print hook for the whole process. Ours is set when it is first needed, and stays: taken back at the
 * end of one thread's call, it would be missing in another thread's. Outside our calls it hands on to the hook before
 * it.
 */
#ifndef AA_LIBBPF_LOG_H
#define AA_LIBBPF_LOG_H

#include <bpf/libbpf.h>
#include <stdarg.h>
#include <stddef.h>

/* The last AA_LIBBPF_LOG_BYTES - 1 bytes that libbpf said to the calling thread, and a 0. */
#define AA_LIBBPF_LOG_BYTES 8192

struct aa_log {
	char text[AA_LIBBPF_LOG_BYTES];
	size_t used;
	struct aa_log *outer;
};

/* From here to aa_log_end() libbpf's words of the calling thread go to this log, which is emptied. They nest. */
void aa_log_begin(struct aa_log *log);
void aa_log_end(struct aa_log *log);

/* The hook itself, a libbpf_print_fn_t: adds to the calling thread's log what we say in libbpf's place. */
int aa_log_print(enum libbpf_print_level level, const char *format, va_list arguments);

#endif

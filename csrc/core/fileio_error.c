// SPDX-License-Identifier: MIT
#include "fileio_error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Returned when there is no memory for the error itself; aa_error_destroy() knows it. */
static char aa_no_memory_text[] = "out of memory";
static struct aa_error aa_no_memory = { .code = AA_ERROR_MEMORY, .message = aa_no_memory_text };

struct aa_error *aa_error_create(enum aa_error_code code, int errno_value, const char *format, ...)
{
	struct aa_error *error = calloc(1, sizeof(*error));
	va_list arguments;
	int length;

	if (!error)
		return &aa_no_memory;
	error->code = code;
	error->errno_value = errno_value;
	va_start(arguments, format);
	length = vasprintf(&error->message, format, arguments);
	va_end(arguments);
	if (length < 0) {
		free(error);
		return &aa_no_memory;
	}
	return error;
}

static void aa_error_set(struct aa_error *error, char **part, const char *text)
{
	if (error == &aa_no_memory || !text)
		return;
	free(*part);
	*part = strdup(text); /* an error without its remedy is still the error */
}

struct aa_error *aa_error_with_probe(struct aa_error *error, const char *program, const char *function)
{
	aa_error_set(error, &error->program, program);
	aa_error_set(error, &error->function, function);
	return error;
}

struct aa_error *aa_error_with_log(struct aa_error *error, const char *libbpf_log)
{
	if (libbpf_log && *libbpf_log)
		aa_error_set(error, &error->libbpf_log, libbpf_log);
	return error;
}

struct aa_error *aa_error_with_remedy(struct aa_error *error, const char *remedy)
{
	aa_error_set(error, &error->remedy, remedy);
	return error;
}

void aa_error_destroy(struct aa_error *error)
{
	if (!error || error == &aa_no_memory)
		return;
	free(error->message);
	free(error->program);
	free(error->function);
	free(error->libbpf_log);
	free(error->remedy);
	free(error);
}

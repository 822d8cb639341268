/* SPDX-License-Identifier: MIT */
/* A check says what it wanted and where, and the program goes on: its exit status tells. */
#ifndef AA_CHECK_H
#define AA_CHECK_H

#include <stdio.h>

static int check_failures;

#define CHECK(condition)                                                                                               \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                \
			check_failures++;                                                                              \
		}                                                                                                      \
	} while (0)

#define CHECK_DONE() (check_failures ? 1 : 0)

#endif

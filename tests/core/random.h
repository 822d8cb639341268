/* SPDX-License-Identifier: MIT */
/* The same numbers in every run: what is found once can be found again. */
#ifndef AA_RANDOM_H
#define AA_RANDOM_H

#include <stdint.h>

static uint64_t random_state = 88172645463325252ull;

static uint64_t random_number(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

#endif

/* SPDX-License-Identifier: MIT */
/*
 * What keeps a trace from being complete, by name: what was announced in it, and what was there when it began. How many
 * there are the ledger counts; what finds no room here, or was lost on its way, is in that number all the same.
 */
#ifndef AA_SIGNS_H
#define AA_SIGNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "file_event.h"
#include "session.h"

/* Of them; more are only counted. */
#define AA_SIGNS_MAX 1024

struct aa_signs;

/* NULL when memory is short. */
struct aa_signs *aa_signs_create(void);
/* Accepts NULL. */
void aa_signs_destroy(struct aa_signs *signs);
void aa_signs_clear(struct aa_signs *signs);

/* Adds sign->count to the same one, whose range becomes both; copies. Where there is no room it is dropped. */
void aa_signs_add(struct aa_signs *signs, const struct aa_sign *sign);
void aa_signs_add_all(struct aa_signs *signs, struct aa_signs *others);
/* Of an event of blind_spot. */
void aa_signs_add_event(struct aa_signs *signs, const struct aa_file_event *event);

/* A copy in one block, given back with free(). NULL with errno 0: there are none; else ENOMEM. */
struct aa_sign *aa_signs_copy(struct aa_signs *signs, size_t *ret_count);

#endif

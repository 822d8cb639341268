/* SPDX-License-Identifier: MIT */
/* Signs, when the trace begins, that something will be done in a way that is not traced. */
#ifndef AA_BLIND_SPOTS_H
#define AA_BLIND_SPOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "signs.h"

/*
 * Of these processes, by their numbers in this pid namespace: shared mappings of files that may be written to;
 * descriptors of userfaultfd; those of io_uring's rings, unless their requests are seen; 32-bit programs, unless their
 * calls are traced. What may not be looked at counts as one; who is gone has none. Each is a sign, too. Where /proc is
 * another pid namespace's, or not there, each process counts as one.
 *
 * held: one of them that has not begun its program, or 0. Its memory is the tracer's and goes with the exec; what it
 * has open stays.
 */
uint64_t aa_blind_spots_count(const uint32_t *tgids, size_t count, uint32_t held, bool sees_rings, bool follows_compat,
			      struct aa_signs *signs);

/* Its name, ended by NUL; '' where it is gone. */
void aa_blind_spots_name_process(uint32_t tgid, char ret_comm[16]);
/* Adds one of a process (its number in this pid namespace, 0: not known) to the signs; 1, for the caller's sum. */
uint64_t aa_blind_spots_note(struct aa_signs *signs, enum aa_sign_what what, uint32_t tgid);

/*
 * Names of sockets whose owners do work for others, as they bind them; "*" stands for a number in /run/user/NUMBER.
 * The list ends with NULL and has no more than AA_MANAGERS_MAX.
 */
extern const char *const aa_manager_sockets[];

#endif

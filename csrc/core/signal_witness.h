/* SPDX-License-Identifier: MIT */
/*
 * Which signals came to a whole process group, or to more: a process of ours in the same group, with every signal
 * blocked, counts what it is sent. siginfo(7) does not tell kill(pid) from kill(-group), so that nothing in the process
 * that was meant can tell whether its neighbour was, too.
 */
#ifndef AA_FILEIO_SIGNAL_WITNESS_H
#define AA_FILEIO_SIGNAL_WITNESS_H

#include <stdint.h>

#include "fileio_error.h"

struct aa_signal_witness;

#define AA_SIGNALS 65 /* numbers are from 1 to 64 */

/* It ends with the thread that made it, and with aa_signal_witness_destroy(). */
struct aa_error *aa_signal_witness_create(struct aa_signal_witness **ret_witness);
/*
 * How often each signal has come so far. What was sent before this call is counted: the witness answers a signal of the
 * highest number, and the kernel hands out lower numbers first. AA_ERROR_SYSTEM: it does not answer within a second.
 */
struct aa_error *aa_signal_witness_counts(struct aa_signal_witness *witness, uint32_t ret_counts[AA_SIGNALS]);
/* Accepts NULL. */
void aa_signal_witness_destroy(struct aa_signal_witness *witness);

#endif

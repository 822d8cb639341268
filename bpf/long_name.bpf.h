/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Names as passed that are longer than a thread's state has room for. Nothing keeps them: the entry notes a hash, and
 * the return reads the name again and compares. So no thread can use up the room that another one needs.
 */
#ifndef AA_LONG_NAME_BPF_H
#define AA_LONG_NAME_BPF_H

#include "path.bpf.h"
#include "totals.bpf.h"

/* Of the name that `scratch` has from `at` to its end; 0 means that there is none. */
__noinline __u64 aa_hash_of(__u32 slot, __u32 at)
{
	struct aa_scratch *scratch = aa_scratch_at(slot);

	if (!scratch)
		return 0;
	scratch->total_name = 1;
	aa_hash_data(scratch, at, AA_PATH_BYTES);
	return scratch->total_name | 1;
}

/* Of a name in the caller's memory. */
__noinline __u64 aa_hash_long_name(__u64 user)
{
	struct aa_scratch *scratch;
	__u64 hash = 0;
	__u32 slot;
	long bytes;

	scratch = aa_scratch_claim(&slot);
	if (!scratch)
		return 0;
	bytes = bpf_probe_read_user_str(scratch->data, AA_PATH_BYTES, (void *)user);
	if (bytes > 0) {
		scratch->fill = bytes;
		hash = aa_hash_of(slot, 0);
	}
	aa_scratch_release(scratch);
	return hash;
}

#endif

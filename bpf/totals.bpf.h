/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Totals: calls counted in the kernel, by process, operation and what an event would tell of its file. They are exact
 * also where the event itself finds no room in the ring.
 *
 * Rows lie in an array that the core reads through a mapping, for a bpf() call would keep probes from running (see
 * aa_counts). None is ever given back, so a row that was found stays what it is. Two threads may make two rows of one
 * kind at the same moment; the reader adds them up.
 */
#ifndef AA_TOTALS_BPF_H
#define AA_TOTALS_BPF_H

#include "kernel.bpf.h"
#include "fileio_abi.h"
#include "filter.bpf.h"
#include "path.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* the loader sets the number of rows and operations */
	__type(key, __u32);
	__type(value, struct aa_total);
} aa_totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, AA_NAMES_BYTES); /* the loader makes it small where nothing is totalled */
} aa_names SEC(".maps");

static __always_inline struct aa_total *aa_total_at(__u32 row)
{
	return bpf_map_lookup_elem(&aa_totals, &row);
}

#define aa_mix_into(hash, value) (hash = (hash ^ (__u64)(value)) * 0x9e3779b97f4a7c15ULL, hash ^= hash >> 29)

/*
 * The row of a process for this operation on what is called so; where there is none it is made, if `makes`. -1: none,
 * and no place for one. A row is claimed as a scratch record is: see aa_scratch_claim().
 */
__noinline int aa_total_find_of(__u64 name, __u32 operation, __u32 makes, __u32 tgid, __u64 started_ns)
{
	__u64 hash = name;
	struct aa_total *total;
	__u32 row, i;

	/* Up to 6.7 every global function is verified, also one that nobody calls. */
	if (!aa_config.total_rows)
		return -1;
	aa_mix_into(hash, started_ns);
	aa_mix_into(hash, (__u64)tgid << 32 | operation);
	for (i = 0; i < AA_TOTAL_PLACES; i++) {
		row = ((__u32)(hash >> 20) + i) & (aa_config.total_rows - 1);
		total = aa_total_at(row);
		if (!total)
			return -1;
		if (*(volatile __u32 *)&total->is_ready) {
			if (total->name == name && total->started_ns == started_ns && total->tgid == tgid &&
			    total->operation == operation)
				return row;
			continue;
		}
		if (!makes)
			continue;
		__sync_fetch_and_add(&total->claims, 1);
		if (*(volatile __u64 *)&total->claims == 1) {
			total->name = name;
			total->started_ns = started_ns;
			total->tgid = tgid;
			total->operation = operation;
			/* x86 keeps the order of stores, and the compiler that of volatile ones after this. */
			asm volatile("" ::: "memory");
			*(volatile __u32 *)&total->is_ready = 1;
			return row;
		}
		__sync_fetch_and_add(&total->claims, -1);
	}
	return -1;
}

static __always_inline int aa_total_find(__u64 name, __u32 operation, __u32 makes)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return aa_total_find_of(name, operation, makes, bpf_get_current_pid_tgid() >> 32,
				aa_read(task, group_leader, start_boottime));
}

/* floor(log2(duration)), the last one where it is greater. */
static __always_inline __u32 aa_total_bucket(__u64 duration_ns)
{
	__u32 bucket = 0, ns = duration_ns;

	if (duration_ns >> 32)
		return AA_TOTAL_BUCKETS - 1;
	if (ns >> 16) {
		bucket += 16;
		ns >>= 16;
	}
	if (ns >> 8) {
		bucket += 8;
		ns >>= 8;
	}
	if (ns >> 4) {
		bucket += 4;
		ns >>= 4;
	}
	if (ns >> 2) {
		bucket += 2;
		ns >>= 2;
	}
	return bucket + (ns >> 1);
}

/* One more call in it. `moved` is its result where it moves bytes, else 0 or an error. */
static __always_inline void aa_total_add(struct aa_total *total, __s64 moved, bool has_failed, __u64 duration_ns)
{
	__sync_fetch_and_add(&total->calls, 1);
	if (has_failed)
		__sync_fetch_and_add(&total->errors, 1);
	else if (moved > 0)
		__sync_fetch_and_add(&total->bytes, moved);
	if (aa_config.no_latency)
		return;
	__sync_fetch_and_add(&total->duration_ns, duration_ns);
	__sync_fetch_and_add(&total->buckets[aa_total_bucket(duration_ns) & (AA_TOTAL_BUCKETS - 1)], 1);
}

/* What a name is called by in a row, when a key of the file tells all of it. */
static __always_inline __u64 aa_total_name_of(__u64 file_key, __u8 source)
{
	return file_key + source * 0xc2b2ae3d27d4eb4fULL;
}

/*
 * The same of any other event: a hash of what it tells of its files. This is the beginning of it, and where in the data
 * the rest begins: names as passed count only where they are told.
 */
static __always_inline __u32 aa_total_hash_begin(struct aa_scratch *scratch)
{
	const struct aa_name_facts *name = scratch->name;
	__u64 hash = 1;
	__u32 at = 0, i;

	aa_mix_into(hash, (__u64)scratch->source[0] | scratch->source[1] << 8 | scratch->flags[0] << 16 |
				  (__u64)scratch->flags[1] << 24);
	aa_mix_into(hash, (__u64)name[0].has_walk | name[1].has_walk << 8 | (__u64)name[0].walk_bytes << 16 |
				  (__u64)name[1].walk_bytes << 32);
	for (i = 0; i < 2; i++) {
		aa_mix_into(hash, scratch->facts[i].inode);
		aa_mix_into(hash, (__u64)scratch->facts[i].device << 8 | scratch->facts[i].kind);
	}
	if (scratch->walk[0] == AA_WALK_OBJECT && (scratch->walk[1] == AA_WALK_OBJECT || !name[1].has_raw))
		at = (__u32)name[0].raw_bytes + name[1].raw_bytes;
	else
		aa_mix_into(hash, name[0].raw_bytes | (__u64)name[1].raw_bytes << 16);
	scratch->total_name = hash;
	return at;
}

/* `most`: bytes, a constant. Each round is verified, so that a bound that is too large costs at every attach. */
static __always_inline void aa_hash_data(struct aa_scratch *scratch, __u64 at, __u32 most)
{
	__u64 hash = scratch->total_name, fill = scratch->fill, place = fill;
	__u32 i, word;

	/* What lies behind the end is of an earlier event. */
	aa_mask(place, 0x7fff);
	if (place > AA_DATA_BYTES)
		return;
	__builtin_memset(scratch->data + place, 0, AA_HASHED_BYTES);
	for (i = 0; i <= most / AA_HASHED_BYTES && at < fill; i++, at += AA_HASHED_BYTES) {
		place = at;
		aa_mask(place, 0x7fff);
		if (place > AA_DATA_BYTES)
			break;
		for (word = 0; word < AA_HASHED_BYTES / sizeof(__u64); word++) {
			aa_mix_into(hash, ((const __u64 *)(scratch->data + place))[word]);
			/* One word after the other: clang 22 would load all first, and keep them on the stack. */
			asm volatile("" : "+r"(hash) : : "memory");
		}
	}
	scratch->total_name = hash;
}

static __always_inline void aa_total_hash_data(struct aa_scratch *scratch, __u64 at)
{
	aa_hash_data(scratch, at, AA_DATA_BYTES);
}

#endif

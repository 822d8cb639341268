/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Descriptors and current directories that change during another thread's call (dup2, close and reuse, chdir).
 *
 * Where no probe below the call tells which file was used, a descriptor could be swapped and swapped back between our
 * look at the entry and the kernel's, and again before our look at the return: both looks agree and both are wrong. So
 * each change of a shared table or directory is counted in a slot, for the descriptor, the file taken out of a table,
 * or the directory's owner; a name is certain only if no change began there since before the first look, and none is
 * under way that may still take effect. (Times would not do: clocks of two CPUs differ by more than such a change
 * takes.) Slots are shared by chance (65,536 of them): that flags too much, never too little. Descriptors are never
 * beside files and directories: a descriptor that many threads open and close would flag all that is done with a file
 * whose slot it happens to share.
 *
 * A close takes effect before it returns: by then its number may long be another thread's. What is known of it:
 *
 *   lone    It was the only change of its descriptor when it began, or the others had taken effect. Only a change takes
 *           a file out of a descriptor, so a lone one has taken effect as soon as the descriptor names another file
 *           than it did at its beginning, and no change began since.
 *   proven  It is lone, and what it closes was given by a call that had returned before. It cannot hit the file of
 *           somebody whose open is still under way. Programs that close what they have opened make no others.
 */
#ifndef AA_CHANGES_BPF_H
#define AA_CHANGES_BPF_H

#include "kernel.bpf.h"
#include "descriptors.bpf.h"
#include "filter.bpf.h"

#define AA_CHANGED_SLOTS 65536
#define AA_TICKETS 4
#define AA_OPEN_FDS_WORDS 4
#define AA_ALL_DESCRIPTORS (-1)

struct aa_changed {
	__u64 begun; /* changes that have begun */
	__s64 under_way;
	__u64 lone;	 /* the number, by `begun`, of the last lone change … */
	__u64 lone_of;	 /* … of which descriptor: aa_lone_tag() … */
	__u64 lone_file; /* … and what that named: aa_key_of_descriptor() */
	__u64 given;	 /* what a call that has returned got under this number … */
	__u64 given_at;	 /* … when so many changes had begun: one more, and it is not known any longer */
	__u64 unproven;	 /* ticket of the newest change that is not proven; without tickets, its time */
#ifdef AA_DIRECT
	__u64 lone_mark;		   /* of the lone one, when it had looked: aa_lone_mark() */
	__u64 places, tickets[AA_TICKETS]; /* of all changes, the last ones: see aa_ticket_take() */
#endif
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, AA_CHANGED_SLOTS);
	__type(key, __u32);
	__type(value, struct aa_changed);
} aa_changed SEC(".maps");

static __always_inline struct aa_changed *aa_changed_of(__u32 slot)
{
	return bpf_map_lookup_elem(&aa_changed, &slot);
}

/* The same of files that are taken out of a table, and of directories' owners. */
struct aa_touched {
	__u64 begun; /* changes that have begun, and of a directory's the ends too */
	__s64 under_way;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, AA_CHANGED_SLOTS);
	__type(key, __u32);
	__type(value, struct aa_touched);
} aa_touched SEC(".maps");

static __always_inline struct aa_touched *aa_touched_of(__u32 slot)
{
	return bpf_map_lookup_elem(&aa_touched, &slot);
}

/* A change that a call or a request makes, from its beginning to its end. */
struct aa_change {
	__u64 number;
	__u64 all_number; /* of the changes of all descriptors at once, then */
	__u32 slot, all_slot;
	__u8 is_under_way;
	__u8 is_lone; /* at its end: it was so all the time */
	__u8 is_proven;
	__u8 is_of_directory;
	__u32 reserved;
};

/* What a call that returns a new descriptor notes at its beginning: see aa_is_fresh(). */
struct aa_newcomer {
	__u64 since; /* ticket; without tickets, a time */
	__u64 open_fds[AA_OPEN_FDS_WORDS];
};

#define aa_volatile(member) (*(volatile typeof(member) *)&(member))

/* How many beginnings and ends of changes there have been: each takes the next number, and so they have an order. */
__u64 aa_tickets = 0;

#define AA_NEWEST_TRIES 4

/* The newest of those that come at once. Where it cannot be set, all is unproven from now on. */
static __always_inline void aa_unproven_take(struct aa_changed *changed, __u64 ticket)
{
#ifdef AA_DIRECT /* an atomic whose result is used: 5.12 */
	__u64 before;
	__u32 i;

	for (i = 0; i < AA_NEWEST_TRIES; i++) {
		before = aa_volatile(changed->unproven);
		if (before >= ticket || __sync_val_compare_and_swap(&changed->unproven, before, ticket) == before)
			return;
	}
	aa_volatile(changed->unproven) = ~0ULL;
#else
	aa_volatile(changed->unproven) = ticket;
#endif
}

static __always_inline __u64 aa_ticket_take(struct aa_changed *changed, bool is_end, bool is_proven)
{
#ifdef AA_DIRECT
	__u64 ticket = __sync_fetch_and_add(&aa_tickets, 1) + 1, place = __sync_fetch_and_add(&changed->places, 1);

	changed->tickets[place & (AA_TICKETS - 1)] = ticket << 1 | is_end;
#else
	__u64 ticket = bpf_ktime_get_boot_ns();
#endif
	if (!is_proven)
		aa_unproven_take(changed, ticket);
	return ticket;
}

/* A ticket, and the end of a change's number: which one it is of. In one word, for others write such words too. */
#define AA_LONE_NUMBER_BITS 20

static __always_inline __u64 aa_lone_mark(__u64 ticket, __u64 number)
{
	return ticket << AA_LONE_NUMBER_BITS | (number & ((1 << AA_LONE_NUMBER_BITS) - 1));
}

static __always_inline __u32 aa_slot_of(const void *object)
{
	__u64 hash = ((__u64)(long)object >> 6) * 0x9e3779b97f4a7c15ULL;

	return (hash ^ hash >> 32) & (AA_CHANGED_SLOTS - 1);
}

/* Descriptors of one table are side by side: no two of the first 65,535 share a slot. */
static __always_inline __u32 aa_changed_slot(struct files_struct *files, __s32 fd)
{
	return (aa_slot_of(files) + (__u32)fd) & (AA_CHANGED_SLOTS - 1);
}

/* A descriptor, as long as nothing changes all descriptors at once. */
static __always_inline __u64 aa_lone_tag(__u64 files, __u32 fd, __u64 all_number)
{
	return files + fd * 0x9e3779b97f4a7c15ULL + all_number * 0xd6e8feb86659fd93ULL;
}

/* A file that a descriptor names, as one number: a memory that was given to another one has another entry behind it. */
static __always_inline __u64 aa_file_identity(__u64 file, __u64 dentry, __u64 mount)
{
	return file ? (file * 0x9e3779b97f4a7c15ULL + dentry * 0xc2b2ae3d27d4eb4fULL + mount * 0x165667b19e3779f9ULL) |
			       1 :
		      0;
}

/* 0: it names nothing. */
static __always_inline __u64 aa_key_of_descriptor(struct files_struct *files, __s32 fd)
{
	struct file *file = aa_file_of(files, fd);

	if (!file)
		return 0;
	return aa_file_identity((__u64)(long)file, (__u64)(long)aa_read(file, f_path.dentry),
				(__u64)(long)aa_read(file, f_path.mnt));
}

/*
 * Tables of descriptors that a watched process has or had. Whoever is not watched may share one (CLONE_FILES), and its
 * changes count then; those of all others would only flag names by chance.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, AA_WATCH_MAX);
	__type(key, __u64);
	__type(value, __u8);
} aa_tables SEC(".maps");

static __always_inline void aa_table_add(struct task_struct *task)
{
	__u64 files = (__u64)(long)aa_read(task, files);
	__u8 one = 1;

	if (!bpf_map_lookup_elem(&aa_tables, &files))
		bpf_map_update_elem(&aa_tables, &files, &one, BPF_ANY);
}

/* The completion of a request may be looked at after the thread itself has changed what the request got. */
static __always_inline bool aa_has_ring(struct task_struct *task)
{
	return bpf_core_field_exists(task->io_uring) && aa_read(task, io_uring);
}

/* Somebody else than the current thread can see what it does to its table of descriptors; or it itself can, later. */
static __always_inline bool aa_is_shared(struct files_struct *files, bool watched)
{
	__u64 key = (__u64)(long)files;

	return (aa_read(files, count.counter) > 1 || aa_has_ring((void *)bpf_get_current_task())) &&
	       (watched || bpf_map_lookup_elem(&aa_tables, &key));
}

/* A moment's change, from a probe at the place where it happens. */
static __always_inline void aa_changed_now(const void *object)
{
	struct aa_touched *touched = aa_touched_of(aa_slot_of(object));

	if (touched)
		__sync_fetch_and_add(&touched->begun, 1);
}

/*
 * Threads that are not watched may share the table too (CLONE_FILES): for them, thread → change. When it is full, the
 * beginning still counts.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct aa_change);
} aa_foreign_changes SEC(".maps");
__u32 aa_foreign_count = 0; /* of them; a thread sees its own */

/* What a call that has returned got is still there, as far as changes are counted. */
static __always_inline bool aa_is_given(const struct aa_changed *one, __u64 begun)
{
	return aa_volatile(one->given) && aa_volatile(one->given_at) == begun;
}

/*
 * Whether the last lone change has taken effect: it looked at what it removes, and that number names another file now;
 * or a call got it since. That is told by what a call has returned; or by `since`, when one began that has got it.
 */
static __always_inline bool aa_lone_is_done(const struct aa_changed *one, __u64 begun, __u64 tag, __u64 key,
					    __u64 since)
{
	__u64 file;

	if (aa_volatile(one->lone) != begun || aa_volatile(one->lone_of) != tag)
		return false;
	file = aa_volatile(one->lone_file);
	if (!file)
		return false;
	if (file != key || aa_is_given(one, begun))
		return true;
#ifdef AA_DIRECT
	return aa_volatile(one->lone_mark) < since << AA_LONE_NUMBER_BITS &&
	       aa_volatile(one->lone_mark) == aa_lone_mark(aa_volatile(one->lone_mark) >> AA_LONE_NUMBER_BITS, begun);
#else
	return false;
#endif
}

#ifdef AA_DIRECT
/* Of plain numbers: the verifier looks at it once, and who calls it needs no room for what it reads. */
__noinline int aa_lone_took_effect(__u64 files, __u32 fd, __u64 begun, __u64 since)
{
	struct aa_changed *one = aa_changed_of(aa_changed_slot((void *)files, (__s32)fd));
	struct aa_changed *all = aa_changed_of(aa_changed_slot((void *)files, AA_ALL_DESCRIPTORS));

	return one && all &&
	       aa_lone_is_done(one, begun, aa_lone_tag(files, fd, aa_volatile(all->begun)),
			       aa_key_of_descriptor((void *)files, (__s32)fd), since);
}
#endif

/*
 * Whether all that is under way at a descriptor has taken effect; `begun` was read before. `since`: as of a newcomer
 * that has got the descriptor, or 0. Before 6.2 the chains of calls that ask for it have no room for one more, and what
 * is under way may always take effect.
 */
static __always_inline bool aa_have_taken_effect(const struct aa_changed *changed, __u64 begun,
						 struct files_struct *files, __s32 fd, __u64 since)
{
	if (aa_volatile(changed->under_way) <= 0)
		return true;
#ifdef AA_DIRECT
	return aa_lone_took_effect((__u64)(long)files, (__u32)fd, begun, since);
#else
	return false;
#endif
}

/*
 * Whether a change that is counted already is lone; and then it is the one that a later one asks for. What is counted
 * is read in the order in which nobody can be missed: others count themselves under way first.
 */
static __always_inline bool aa_change_claim(struct aa_change *change, struct aa_changed *one, struct aa_changed *all,
					    struct files_struct *files, __s32 fd, __u64 *ret_key)
{
	__u64 tag;
	__s64 others;

	change->number = aa_volatile(one->begun);
	change->all_number = aa_volatile(all->begun);
	others = aa_volatile(one->under_way) - 1;
	tag = aa_lone_tag((__u64)(long)files, (__u32)fd, change->all_number);
	*ret_key = aa_key_of_descriptor(files, fd);
	if (aa_volatile(all->under_way) > 0)
		return false;
	if (others > 0 && !aa_lone_is_done(one, change->number - 1, tag, *ret_key, 0))
		return false;
	aa_volatile(one->lone_of) = tag;
	aa_volatile(one->lone_file) = *ret_key;
	aa_volatile(one->lone) = change->number;
	return true;
}

/* The same of a directory's change, whose slot is one of aa_touched. */
static __always_inline void aa_directory_change_start(struct aa_change *change, __u32 slot)
{
	struct aa_touched *touched = aa_touched_of(slot);

	change->is_under_way = touched != NULL;
	change->is_of_directory = 1;
	change->is_lone = change->is_proven = 0;
	change->slot = slot;
	if (!touched)
		return;
	__sync_fetch_and_add(&touched->under_way, 1);
	__sync_fetch_and_add(&touched->begun, 1);
}

/* The beginning of a change, before it can take effect. `files`: NULL of a directory. */
static __always_inline void aa_change_start(struct aa_change *change, __u32 slot, struct files_struct *files, __s32 fd)
{
	struct aa_changed *changed, *all;
	__u64 key = 0, ticket;

	if (!files) {
		aa_directory_change_start(change, slot);
		return;
	}
	changed = aa_changed_of(slot);
	change->is_under_way = 0;
	if (!changed)
		return;
	change->slot = slot;
	change->is_under_way = 1;
	change->is_of_directory = 0;
	change->is_lone = 0;
	change->is_proven = 0;
	__sync_fetch_and_add(&changed->under_way, 1);
	__sync_fetch_and_add(&changed->begun, 1);
	if (fd != AA_ALL_DESCRIPTORS) {
		change->all_slot = aa_changed_slot(files, AA_ALL_DESCRIPTORS);
		all = aa_changed_of(change->all_slot);
		change->is_lone = all && aa_change_claim(change, changed, all, files, fd, &key);
		change->is_proven = change->is_lone && key && aa_is_given(changed, change->number - 1) &&
				    aa_volatile(changed->given) == key;
	}
	ticket = aa_ticket_take(changed, false, change->is_proven);
#ifdef AA_DIRECT
	if (change->is_lone)
		aa_volatile(changed->lone_mark) = aa_lone_mark(ticket, change->number);
#else
	(void)ticket;
#endif
}

#ifdef AA_DIRECT
#define AA_LONE_LOOKS 128

/*
 * A later change has begun and has not said yet whether it is lone; its processor says so a moment later. Without the
 * wait, one of 100,000 closes of threads that hurry was called fd_changed (measured: 26 of 2,500,000; with it 2).
 */
__noinline int aa_lone_comes(__u32 slot, __u64 number)
{
	struct aa_changed *changed = aa_changed_of(slot);
	__u32 i;

	for (i = 0; changed && i < AA_LONE_LOOKS; i++)
		if (aa_volatile(changed->lone) > number)
			return 1;
	return 0;
}
#endif

/* Whether a lone change has been lone to its end. Where a later one is lone, it had taken effect when that began. */
static __always_inline bool aa_change_stayed_lone(const struct aa_change *change, const struct aa_changed *changed)
{
	struct aa_changed *all = aa_changed_of(change->all_slot);
	__u64 lone = aa_volatile(changed->lone);

	if (!all || aa_volatile(all->begun) != change->all_number)
		return false;
	if (lone > change->number || (lone == change->number && aa_volatile(changed->begun) == lone))
		return true;
#ifdef AA_DIRECT
	return lone == change->number && aa_lone_comes(change->slot, change->number);
#else
	return false;
#endif
}

static __always_inline void aa_directory_change_settle(const struct aa_change *change)
{
	struct aa_touched *touched = aa_touched_of(change->slot);

	if (!touched)
		return;
	__sync_fetch_and_add(&touched->begun, 1);
	__sync_fetch_and_add(&touched->under_way, -1);
}

/* Its end: it took effect, or failed. */
static __always_inline void aa_change_settle(struct aa_change *change)
{
	struct aa_changed *changed;

	if (!change->is_under_way)
		return;
	change->is_under_way = 0;
	if (change->is_of_directory) {
		aa_directory_change_settle(change);
		return;
	}
	changed = aa_changed_of(change->slot);
	if (!changed)
		return;
	change->is_lone = change->is_lone && aa_change_stayed_lone(change, changed);
	aa_ticket_take(changed, true, change->is_proven && change->is_lone);
	__sync_fetch_and_add(&changed->under_way, -1);
}

/* By a call of the current thread: `change` is its state's, or NULL of a thread that is not watched. */
static __always_inline void aa_change_begins(struct aa_change *change, __u32 tid, __u32 slot,
					     struct files_struct *files, __s32 fd)
{
	struct aa_change foreign = {};

	if (change) {
		aa_change_settle(change); /* of a call whose return was not seen */
		aa_change_start(change, slot, files, fd);
		return;
	}
	aa_change_start(&foreign, slot, files, fd);
	if (bpf_map_update_elem(&aa_foreign_changes, &tid, &foreign, BPF_NOEXIST))
		aa_change_settle(&foreign);
	else
		__sync_fetch_and_add(&aa_foreign_count, 1);
}

/* A descriptor of a table that others share. */
static __always_inline void aa_descriptor_changes(struct aa_change *change, __u32 tid, __s32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct files_struct *files = aa_read(task, files);

	if (aa_is_shared(files, change))
		aa_change_begins(change, tid, aa_changed_slot(files, fd), files, fd);
	else if (change)
		change->is_lone = 0;
}

/* The current directory or root of a thread that shares it. */
static __always_inline void aa_directory_changes(struct aa_change *change, __u32 tid)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fs_struct *fs = aa_read(task, fs);

	if (aa_read(fs, users) > 1)
		aa_change_begins(change, tid, aa_slot_of(fs), NULL, 0);
}

static __always_inline void aa_change_ends(struct aa_change *change, __u32 tid)
{
	struct aa_change *foreign;

	if (change) {
		aa_change_settle(change);
		return;
	}
	if (!*(volatile __u32 *)&aa_foreign_count)
		return;
	foreign = bpf_map_lookup_elem(&aa_foreign_changes, &tid);
	if (!foreign)
		return;
	aa_change_settle(foreign);
	bpf_map_delete_elem(&aa_foreign_changes, &tid);
	__sync_fetch_and_add(&aa_foreign_count, -1);
}

/* A slot's count, which no change leaves as it is; AA_UNSETTLED while one is under way that may still take effect. */
#define AA_UNSETTLED (1ULL << 63)

static __always_inline __u64 aa_changes_of_all(struct files_struct *files)
{
	struct aa_changed *changed = aa_changed_of(aa_changed_slot(files, AA_ALL_DESCRIPTORS));
	__u64 begun;

	if (!changed)
		return AA_UNSETTLED;
	begun = aa_volatile(changed->begun);
	return aa_volatile(changed->under_way) > 0 ? AA_UNSETTLED : begun;
}

/* Of a file, or of a directory's owner. */
static __always_inline __u64 aa_changes_of_object(__u32 slot)
{
	struct aa_touched *touched = aa_touched_of(slot);
	__u64 begun;

	if (!touched)
		return AA_UNSETTLED;
	begun = aa_volatile(touched->begun);
	return aa_volatile(touched->under_way) > 0 ? AA_UNSETTLED : begun;
}

static __always_inline __u64 aa_changes_at(struct files_struct *files, __s32 fd)
{
	__u32 slot = aa_changed_slot(files, fd);
	struct aa_changed *changed = aa_changed_of(slot);
	__u64 begun;

	if (!changed)
		return AA_UNSETTLED;
	begun = aa_volatile(changed->begun);
	return aa_have_taken_effect(changed, begun, files, fd, 0) ? begun : AA_UNSETTLED;
}

#define AA_SHARED (1ULL << 62)

/* Of a descriptor, and of the file it names. */
static __always_inline __u64 aa_changes_of_descriptor(struct files_struct *files, __s32 fd)
{
	__u64 one, all, file;
	__u32 slot;

	one = aa_changes_at(files, fd);
	all = aa_changes_of_all(files);
	slot = aa_slot_of(aa_file_of(files, fd));
	file = aa_changes_of_object(slot);
	/* Weights, so that what one of them grew is not taken for what another is behind: the file may be another. */
	return ((one * 0x9e3779b97f4a7c15ULL + all * 0xc2b2ae3d27d4eb4fULL + file * 0x165667b19e3779f9ULL + slot) &
		~AA_UNSETTLED) |
	       AA_SHARED | ((one | all | file) & AA_UNSETTLED);
}

/* Of what a name starts from, that others may share. */
static __always_inline __u64 aa_changes_if_shared(struct task_struct *task, __s32 fd)
{
	if (fd == AT_FDCWD)
		return aa_changes_of_object(aa_slot_of(aa_read(task, fs))) | AA_SHARED;
	return aa_changes_of_descriptor(aa_read(task, files), fd);
}

/*
 * The same at a first look; 0: nobody else has it, and nobody can come to have it while this thread is inside its call.
 * (The other way round it may well end to be shared meanwhile: a second look asks whether the first one was 0.)
 */
static __always_inline __u64 aa_changes_of_start(struct task_struct *task, __s32 fd)
{
	if (fd == AT_FDCWD ? aa_read(task, fs, users) < 2 : aa_read(task, files, count.counter) < 2)
		return 0;
	return aa_changes_if_shared(task, fd);
}

/* Nothing changed between two of these. */
static __always_inline bool aa_is_settled(__u64 before, __u64 after)
{
	return !before || (before == after && !(after & AA_UNSETTLED));
}

/* The same with a look now, where one is needed: counts lie far apart. */
static __always_inline bool aa_is_still_settled(__u64 before, struct task_struct *task, __s32 fd)
{
	return !before || aa_is_settled(before, aa_changes_if_shared(task, fd));
}

/* Changes of a current directory, our own among them. */
static __always_inline __u64 aa_chdirs_of(struct fs_struct *fs)
{
	struct aa_touched *touched = aa_touched_of(aa_slot_of(fs));

	return touched ? touched->begun : 0;
}

/* At the beginning of what returns a new descriptor of a table that others share: which are taken now. */
static __always_inline void aa_newcomer_begins(struct aa_newcomer *newcomer, struct task_struct *task)
{
#ifdef AA_DIRECT
	struct files_struct *files = aa_read(task, files);
	struct fdtable *table = aa_read(files, fdt);
	unsigned long *words = aa_read(table, open_fds);
	__u32 limit = aa_read(table, max_fds), i;

	newcomer->since = aa_volatile(aa_tickets) + 1;
	for (i = 0; i < AA_OPEN_FDS_WORDS; i++)
		newcomer->open_fds[i] = (i + 1) * 64 <= limit ? aa_load(__u64, &words[i]) : 0;
#else
	newcomer->since = bpf_ktime_get_boot_ns();
#endif
}

#ifdef AA_DIRECT
/*
 * One change since the beginning, of whatever kind, and the number was taken then: somebody must have freed it, and
 * that was it. Begun before, and ended or not; begun, and not ended; or both, in this order.
 */
static __always_inline bool aa_has_freed(const struct aa_newcomer *newcomer, const struct aa_changed *one, __s32 fd)
{
	__u64 begun = 0, ended = 0, ticket, word = (__u32)fd >> 6;
	__u32 number = 0, i;

	for (i = 0; i < AA_TICKETS; i++) {
		ticket = one->tickets[i];
		if (ticket >> 1 < newcomer->since)
			continue;
		number++;
		if (ticket & 1)
			ended = ticket;
		else
			begun = ticket;
	}
	if (number > 2 || (number == 2 && !(begun && begun < ended)) || one->under_way != !ended)
		return false;
	if (word >= AA_OPEN_FDS_WORDS)
		return false;
	aa_mask(word, AA_OPEN_FDS_WORDS - 1);
	return newcomer->open_fds[word] >> (fd & 63) & 1;
}
#endif

/*
 * A descriptor that is known only at the end of what returned it, of a table that others share: whether it can have got
 * another file since the kernel chose its number.
 *
 * A new descriptor often has the number of one that was closed a moment ago. A proven change took out what another call
 * had got, and cannot have hit this one.
 */
static __always_inline bool aa_is_fresh(const struct aa_newcomer *newcomer, struct files_struct *files, __s32 fd,
					__u64 *ret_begun)
{
	struct aa_changed *one = aa_changed_of(aa_changed_slot(files, fd));
	struct aa_changed *all = aa_changed_of(aa_changed_slot(files, AA_ALL_DESCRIPTORS));
	__u64 begun;

	if (!one || !all)
		return false;
	*ret_begun = begun = aa_volatile(one->begun);
	if (aa_volatile(all->under_way) > 0 || aa_volatile(all->unproven) >= newcomer->since ||
	    !aa_have_taken_effect(one, begun, files, fd, newcomer->since))
		return false;
	if (aa_volatile(one->unproven) < newcomer->since)
		return true;
#ifdef AA_DIRECT
	return aa_has_freed(newcomer, one, fd);
#else
	return false;
#endif
}

/* A call that has returned has got this descriptor, when so many changes had begun. */
static __always_inline void aa_note_given(struct files_struct *files, __s32 fd, __u64 key, __u64 begun)
{
	struct aa_changed *changed = aa_changed_of(aa_changed_slot(files, fd));

	if (!changed)
		return;
	aa_volatile(changed->given) = key;
	aa_volatile(changed->given_at) = begun;
}

#endif

/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Who is watched: the first question of every program, before any copy; and the tree's growth by fork and exit. */
#ifndef AA_FILTER_BPF_H
#define AA_FILTER_BPF_H

#include "kernel.bpf.h"
#include "fileio_abi.h"

const volatile struct aa_config aa_config = {};
struct aa_control aa_control = {};

/*
 * Counters of each CPU, which the core reads through a mapping: a bpf() call would keep every kprobe and perf program
 * from running on its CPU meanwhile (bpf_prog_active), also while its caller is preempted.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* the loader sets the number of CPUs */
	__type(key, __u32);
	__type(value, struct aa_cpu_counters);
} aa_counts SEC(".maps");

/*
 * One function: what is called is rewritten to look a place up in a map, which costs the kernel time by the length of
 * the program, each time it loads one.
 *
 * An atomic add although the value is this CPU's own: a program can be preempted inside a plain read-add-write, by
 * another one of ours on the same CPU (since 5.11 programs run with migration off, not preemption).
 */
__noinline int aa_counter_add(__u32 counter, __u64 step)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct aa_cpu_counters *counts = bpf_map_lookup_elem(&aa_counts, &cpu);

	_Static_assert(AA_COUNTER_COUNT <= 16, "all are below the mask");
	aa_mask(counter, 15);
	if (counts)
		__sync_fetch_and_add((__u64 *)counts + counter, step);
	return 0;
}

#define aa_count(name, step) ((void)aa_counter_add(AA_COUNTER_##name, (__u64)(step)))

/* Watched processes, by thread group id of the initial pid namespace. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, AA_WATCH_MAX);
	__type(key, __u32);
	__type(value, __u32);
} aa_watched SEC(".maps");
__u32 aa_watched_presence[AA_PRESENCE_SLOTS] = {};

static __always_inline bool aa_watch_has(__u32 tgid)
{
	return aa_watched_presence[AA_PRESENCE_SLOT(tgid)] && bpf_map_lookup_elem(&aa_watched, &tgid);
}

/* 0, -EEXIST or that there is no room. */
static __always_inline long aa_watch_add(__u32 tgid, __u32 parent_tgid)
{
	__u32 *presence = &aa_watched_presence[AA_PRESENCE_SLOT(tgid)];
	long failed;

	__sync_fetch_and_add(presence, 1);
	failed = bpf_map_update_elem(&aa_watched, &tgid, &parent_tgid, BPF_NOEXIST);
	if (failed)
		__sync_fetch_and_add(presence, -1);
	return failed;
}

static __always_inline bool aa_watch_drop(__u32 tgid)
{
	if (bpf_map_delete_elem(&aa_watched, &tgid))
		return false;
	__sync_fetch_and_add(&aa_watched_presence[AA_PRESENCE_SLOT(tgid)], -1);
	return true;
}

/*
 * While the core seeds the tree: child or dying process → its parent, so that a chain whose middle dies is kept; or
 * AA_LINEAGE_SETTLED for a child that was watched from its birth.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, AA_WATCH_MAX);
	__type(key, __u32);
	__type(value, __u32);
} aa_lineage SEC(".maps");

static __always_inline bool aa_is_watched(__u64 pid_tgid)
{
	__u32 tgid = pid_tgid >> 32;

	if ((__u32)pid_tgid == aa_control.excluded_tid)
		return false;
	if (aa_config.scope == AA_SCOPE_TREE) {
		if (aa_watch_has(tgid))
			return true;
	} else if (aa_config.scope == AA_SCOPE_SINGLE) {
		/* Once it has exited its number may be another's. */
		if (tgid == aa_control.root_tgid && !aa_control.root_exited)
			return true;
	} else if (tgid != aa_control.excluded_tgid) {
		return true;
	}
	return (__u32)pid_tgid == aa_control.canary_tid;
}

/*
 * Watched processes that have exited, by their struct pid: a socket keeps that of its maker, and so its address belongs
 * to no other one meanwhile. Whoever is born with such an address, and is not watched, takes it off. One that finds no
 * room pushes the oldest out, and then is not known to have been watched.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, AA_GONE_MAX);
	__type(key, __u64);
	__type(value, __u8);
} aa_gone SEC(".maps");
__u32 aa_gone_count = 0; /* how often one was put there */

static __always_inline void aa_gone_add(struct task_struct *task)
{
	__u64 pid = (__u64)(long)aa_read(task, signal, pids[AA_PIDTYPE_TGID]);
	__u8 one = 1;

	if (!bpf_map_update_elem(&aa_gone, &pid, &one, BPF_ANY))
		__sync_fetch_and_add(&aa_gone_count, 1);
}

static __always_inline void aa_gone_drop(struct task_struct *task)
{
	__u64 pid;

	if (!*(volatile __u32 *)&aa_gone_count)
		return;
	pid = (__u64)(long)aa_read(task, thread_pid);
	if (bpf_map_lookup_elem(&aa_gone, &pid))
		bpf_map_delete_elem(&aa_gone, &pid);
}

/* The number of a struct pid in the reader's pid namespace; 0 where it is not visible there. */
static __always_inline __u32 aa_pid_number(struct pid *pid)
{
	__u32 level = aa_control.reader_level;
	struct upid *numbers = (void *)pid + bpf_core_field_offset(struct pid, numbers);
	struct pid_namespace *namespace;
	struct upid upid = {};

	if (!pid || aa_read(pid, level) < level)
		return 0;
	if (bpf_probe_read_kernel(&upid, sizeof(upid), &numbers[level & 31]))
		return 0;
	/* Level 0 is one namespace; any deeper one has cousins with other numbers. */
	namespace = upid.ns;
	if (level && aa_read(namespace, ns.inum) != aa_config.reader_pid_namespace)
		return 0;
	return upid.nr;
}

static __always_inline __u32 aa_thread_number(struct task_struct *task)
{
	return aa_pid_number(aa_read(task, thread_pid));
}

static __always_inline __u32 aa_process_number(struct task_struct *task)
{
	return aa_pid_number(aa_read(task, signal, pids[AA_PIDTYPE_TGID]));
}

/* Runs in the parent before the child can: the child's first call finds it watched. */
static __always_inline void aa_filter_fork(struct task_struct *parent, struct task_struct *child)
{
	__u32 parent_tgid = aa_read(parent, tgid), child_tgid = aa_read(child, tgid);
	long failed;

	if (parent_tgid == child_tgid || aa_config.scope != AA_SCOPE_TREE)
		return;
	if (!aa_watch_has(parent_tgid)) {
		aa_gone_drop(child);
		if (aa_control.seeding && bpf_map_update_elem(&aa_lineage, &child_tgid, &parent_tgid, BPF_ANY))
			aa_count(fork_map_full, 1);
		return;
	}
	failed = aa_watch_add(child_tgid, parent_tgid);
	if (failed) {
		aa_gone_drop(child);
		if (failed != -EEXIST) /* a spare program finds it done */
			aa_count(fork_map_full, 1);
		return;
	}
	__sync_fetch_and_add(&aa_control.watched, 1);
	/* Watched from birth, and taken off at its exit: the core must not put it there again. */
	if (aa_control.seeding) {
		__u32 settled = AA_LINEAGE_SETTLED;

		bpf_map_update_elem(&aa_lineage, &child_tgid, &settled, BPF_ANY);
	}
}

/* True for the last thread of a watched process. */
static __always_inline bool aa_filter_exit(struct task_struct *task)
{
	__u32 tgid = aa_read(task, tgid);
	long failed;

	/* do_exit() has taken this thread off `live` before the tracepoint; two last threads may both see 0, and the
	 * deletion succeeds for one of them. */
	if (aa_read(task, signal, live.counter) != 0)
		return false;
	if (aa_control.root_tgid == tgid)
		aa_control.root_exited = 1;
	if (aa_config.scope != AA_SCOPE_TREE)
		return aa_control.root_tgid == tgid;
	if (aa_control.seeding) {
		__u32 parent = aa_read(task, real_parent, tgid);

		/* Who was noted at its birth is there. Without a note its children are not found to be of the tree. */
		failed = bpf_map_update_elem(&aa_lineage, &tgid, &parent, BPF_NOEXIST);
		if (failed && failed != -EEXIST)
			aa_count(fork_map_full, 1);
	}
	if (!aa_watch_drop(tgid))
		return false;
	aa_gone_add(task);
	__sync_fetch_and_add(&aa_control.watched, -1);
	return true;
}

#endif

// SPDX-License-Identifier: MIT
#include "process_tree.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "blind_spots.h"
#include "proc.h"
#include "process_family.h"

#define AA_PF_KTHREAD 0x00200000u /* include/linux/sched.h; field 9 of /proc/PID/stat */

/* Of a folder of /proc; one of a process that is gone is empty, whoever has its number now. */
static bool aa_proc_is_alive(int stat)
{
	char text[1024], *state;
	ssize_t bytes = read(stat, text, sizeof(text) - 1);

	close(stat);
	text[bytes > 0 ? bytes : 0] = '\0';
	state = strrchr(text, ')');
	return state && state[1] == ' ' && state[2] != 'Z' && state[2] != 'X';
}

/* A lack of descriptors does not say that a process has gone. */
bool aa_process_is_alive(int process)
{
	struct pollfd wait = { .fd = process, .events = POLLIN };
	struct stat status;
	int stat;

	if (fstat(process, &status) || !S_ISDIR(status.st_mode))
		return poll(&wait, 1, 0) == 0;
	stat = openat(process, "stat", O_RDONLY | O_CLOEXEC);
	if (stat >= 0)
		return aa_proc_is_alive(stat);
	return errno == EMFILE || errno == ENFILE || errno == ENOMEM;
}

/* pidfd_open(2), or where that is refused, as by an older container's list of calls, the process's folder in /proc. */
static int aa_pidfd_open(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0), code = errno;
	char path[32];

	if (fd >= 0 || (code != EPERM && code != EACCES && code != ENOSYS) || aa_proc_look() != AA_PROC_OURS)
		return fd;
	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		errno = ESRCH;
	return fd;
}

/* A number in /proc/PID/<file>: `field` spaces after `key`, or, without a key, `field` fields after the state (3rd). */
static bool aa_proc_number(pid_t pid, const char *file, const char *key, unsigned field, unsigned long *ret_number)
{
	char path[64], text[4096], *at;
	bool found = false;
	size_t bytes;
	FILE *stream;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	stream = fopen(path, "re");
	if (!stream)
		return false;
	bytes = fread(text, 1, sizeof(text) - 1, stream);
	fclose(stream);
	text[bytes] = '\0';
	at = key ? strstr(text, key) : strrchr(text, ')');
	if (at) {
		at = key ? at + strlen(key) : at + 1;
		for (unsigned i = 0; at && i < field; i++)
			at = strchr(at + 1, ' ');
		if (at) {
			*ret_number = strtoul(at, NULL, 10);
			found = true;
		}
	}
	return found;
}

uint32_t aa_process_of_thread(pid_t tid)
{
	unsigned long tgid;

	return aa_proc_number(tid, "status", "Tgid:", 0, &tgid) ? (uint32_t)tgid : 0;
}

struct aa_error *aa_process_open(pid_t pid, int *ret_pidfd)
{
	unsigned long flags, tgid;
	int pidfd, code;

	*ret_pidfd = -1;
	if (pid <= 0)
		return aa_error_create(AA_ERROR_VALUE, 0, "pid %d is not a process: a pid is greater than 0", (int)pid);
	pidfd = aa_pidfd_open(pid);
	code = errno;
	/* /proc has a folder of a thread's number, too. */
	if (aa_proc_look() == AA_PROC_OURS && aa_proc_number(pid, "status", "Tgid:", 0, &tgid) &&
	    tgid != (unsigned long)pid) {
		if (pidfd >= 0)
			close(pidfd);
		return aa_error_create(AA_ERROR_VALUE, 0,
				       "pid %d is a thread of process %lu: give the process's own pid", (int)pid, tgid);
	}
	if (pidfd < 0) {
		if (code == ESRCH)
			return aa_error_create(AA_ERROR_NO_PROCESS, ESRCH, "there is no process %d", (int)pid);
		if (code == EINVAL)
			return aa_error_create(AA_ERROR_VALUE, 0, "pid %d is not a process", (int)pid);
		return aa_error_create(AA_ERROR_SYSTEM, code, "pidfd_open of process %d: %s", (int)pid, strerror(code));
	}
	if (aa_proc_look() == AA_PROC_OURS && aa_proc_number(pid, "stat", NULL, 6, &flags) && flags & AA_PF_KTHREAD) {
		close(pidfd);
		return aa_error_create(AA_ERROR_VALUE, 0, "pid %d is a kernel thread: it makes no system calls",
				       (int)pid);
	}
	if (!aa_process_is_alive(pidfd)) {
		close(pidfd);
		return aa_error_create(AA_ERROR_NO_PROCESS, ESRCH, "process %d has exited and is a zombie", (int)pid);
	}
	*ret_pidfd = pidfd;
	return NULL;
}

/* A growing array of tasks or of child-parent pairs. */
struct aa_tasks {
	struct aa_task *items;
	size_t count, room;
};

static bool aa_tasks_add(struct aa_tasks *tasks, const struct aa_task *task)
{
	if (tasks->count == tasks->room) {
		size_t room = tasks->room ? tasks->room * 2 : 1024;
		struct aa_task *items = reallocarray(tasks->items, room, sizeof(*items));

		if (!items)
			return false;
		tasks->items = items;
		tasks->room = room;
	}
	tasks->items[tasks->count++] = *task;
	return true;
}

static struct aa_error *aa_tasks_read(struct aa_probes *probes, struct aa_tasks *ret_tasks)
{
	struct aa_error *error;
	struct aa_task buffer[256];
	size_t filled = 0;
	int fd;

	ret_tasks->count = 0;
	error = aa_probes_list_tasks(probes, &fd);
	if (error)
		return error;
	for (;;) {
		ssize_t bytes = read(fd, (char *)buffer + filled, sizeof(buffer) - filled);
		size_t whole;

		if (bytes < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (bytes < 0) {
			int code = errno;

			close(fd);
			return aa_error_create(AA_ERROR_SYSTEM, code, "reading the list of tasks: %s", strerror(code));
		}
		if (bytes == 0)
			break;
		filled += (size_t)bytes;
		whole = filled / sizeof(buffer[0]);
		for (size_t i = 0; i < whole; i++)
			if (!aa_tasks_add(ret_tasks, &buffer[i])) {
				close(fd);
				return aa_error_create(AA_ERROR_MEMORY, ENOMEM, "out of memory");
			}
		filled -= whole * sizeof(buffer[0]);
		memmove(buffer, buffer + whole, filled);
	}
	close(fd);
	return NULL;
}

/* What fork and exit noted while we read: as tasks whose own numbers do not matter. */
static bool aa_lineage_read(struct aa_probes *probes, struct aa_tasks *tasks)
{
	int map = aa_probes_lineage(probes);
	uint32_t key, next, parent;
	void *previous = NULL;

	while (!bpf_map_get_next_key(map, previous, &next)) {
		key = next;
		previous = &key;
		if (bpf_map_lookup_elem(map, &key, &parent) || parent == AA_LINEAGE_SETTLED)
			continue;
		if (!aa_tasks_add(tasks, &(struct aa_task){ .tgid = key, .tid = key, .parent_tgid = parent }))
			return false;
	}
	return true;
}

/*
 * *ret_added is false when there is nothing to do: the fork hook watched it from its birth, and may have taken it off
 * again, or we have before. Whoever inserts counts.
 */
static struct aa_error *aa_watch(struct aa_probes *probes, uint32_t tgid, bool *ret_added)
{
	uint32_t *presence = aa_probes_watched_presence(probes, tgid), none = 0, parent;
	int code;

	*ret_added = false;
	if (!bpf_map_lookup_elem(aa_probes_lineage(probes), &tgid, &parent) && parent == AA_LINEAGE_SETTLED)
		return NULL;
	__atomic_fetch_add(presence, 1, __ATOMIC_SEQ_CST);
	if (bpf_map_update_elem(aa_probes_watched(probes), &tgid, &none, BPF_NOEXIST)) {
		code = errno;
		__atomic_fetch_sub(presence, 1, __ATOMIC_SEQ_CST);
		if (code == EEXIST)
			return NULL;
		if (code == E2BIG)
			return aa_error_create(
				AA_ERROR_SYSTEM, code,
				"there is no room to watch process %u of the tree: at most %u processes are "
				"watched at once; give the pid of a part of the tree, or none to watch the "
				"whole system",
				tgid, AA_WATCH_MAX);
		return aa_error_create(AA_ERROR_SYSTEM, code, "cannot watch process %u of the tree: %s", tgid,
				       strerror(code));
	}
	__atomic_fetch_add(&aa_probes_control(probes)->watched, 1, __ATOMIC_SEQ_CST);
	*ret_added = true;
	return NULL;
}

static void aa_unwatch(struct aa_probes *probes, uint32_t tgid)
{
	if (bpf_map_delete_elem(aa_probes_watched(probes), &tgid))
		return;
	__atomic_fetch_sub(aa_probes_watched_presence(probes, tgid), 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_sub(&aa_probes_control(probes)->watched, 1, __ATOMIC_SEQ_CST);
}

/* The number that the reader knows a process by; 0: it does not. */
static uint32_t aa_tasks_reader_number(const struct aa_tasks *tasks, uint32_t tgid)
{
	for (size_t i = 0; i < tasks->count; i++)
		if (tasks->items[i].tgid == tgid && tasks->items[i].tid == tgid)
			return tasks->items[i].reader_tgid;
	return 0;
}

static struct aa_error *aa_connections_find(struct aa_probes *probes, const struct aa_tasks *tasks,
					    struct aa_signs *signs, uint64_t *ret_count)
{
	struct aa_connection *connections;
	struct aa_error *error = aa_probes_list_connections(probes, &connections, ret_count);

	for (size_t i = 0; !error && i < *ret_count; i++) {
		struct aa_sign sign = { .what = AA_SIGN_CONNECTION, .is_named = true, .count = 1 };
		char name[sizeof(connections[i].name.text) + 1] = "";

		memcpy(name, connections[i].name.text, sizeof(connections[i].name.text));
		sign.path = name;
		sign.pid = aa_tasks_reader_number(tasks, connections[i].tgid);
		aa_blind_spots_name_process(sign.pid, sign.comm);
		aa_signs_add(signs, &sign);
	}
	free(connections);
	return error;
}

/* Those of the family, or all but ours where that is empty, that this process can see. */
static struct aa_error *aa_blind_spots_find(const struct aa_tasks *tasks, const struct aa_process_set *family,
					    uint32_t own, uint32_t held, struct aa_probes *probes,
					    struct aa_signs *signs, uint64_t *ret_count)
{
	struct aa_process_set seen = { 0 };
	uint64_t listeners = 0;
	bool has_memory = true;
	struct aa_error *error;
	uint64_t connections;

	for (size_t i = 0; has_memory && i < tasks->count; i++) {
		const struct aa_task *task = &tasks->items[i];

		if (!task->has_listener && (task->tid != task->tgid || !task->reader_tgid))
			continue;
		if (family->count ? !aa_process_set_has(family, task->tgid) : task->tgid == own)
			continue;
		if (task->has_listener)
			listeners += aa_blind_spots_note(signs, AA_SIGN_LISTENER, task->reader_tgid);
		if (task->tid == task->tgid && task->reader_tgid)
			has_memory = aa_process_set_add(&seen, task->reader_tgid);
	}
	*ret_count = listeners + aa_blind_spots_count(seen.items, seen.count, held, aa_probes_see_rings(probes),
						      aa_probes_follow_compat(probes), signs);
	aa_process_set_clear(&seen);
	if (!has_memory)
		return aa_error_create(AA_ERROR_MEMORY, ENOMEM, "out of memory");
	error = aa_connections_find(probes, tasks, signs, &connections);
	*ret_count += error ? 0 : connections;
	return error;
}

/* The call that a thread sleeps in, by the 64-bit table; -1: it runs, is gone, or is in none. */
static long aa_call_of_thread(uint32_t tid)
{
	char path[64], text[64] = "";
	long number = -1;
	ssize_t bytes;
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/syscall", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	bytes = read(fd, text, sizeof(text) - 1);
	close(fd);
	return bytes > 0 && sscanf(text, "%ld ", &number) == 1 ? number : -1;
}

/* Whether the trace selects the call of that number, and its return alone does not report it. */
static bool aa_is_call_missed(long number, const struct aa_probes *probes, uint64_t operations)
{
	const struct aa_call_info *call;

	if (number < 0)
		return false;
	for (size_t i = 0; (call = aa_call_info(i)); i++)
		if (call->number == number)
			return operations >> call->operation & 1 && !aa_probes_return_suffices(probes, i);
	return false;
}

/*
 * Calls that threads of the family sleep in, or of everybody but us where that is empty. A return probe is hung into a
 * call at its entry, so by kprobe and fentry their ends are not seen.
 */
static uint64_t aa_calls_under_way(const struct aa_tasks *tasks, const struct aa_process_set *family,
				   const volatile struct aa_control *control, const struct aa_probes *probes,
				   uint64_t operations)
{
	uint32_t own = (uint32_t)syscall(SYS_gettid);
	uint64_t found = 0;

	if (aa_proc_look() != AA_PROC_OURS)
		return 0;
	for (size_t i = 0; i < tasks->count; i++) {
		const struct aa_task *task = &tasks->items[i];

		/* The thread that looks is in a read(2) of its own. */
		if (!task->reader_tid || task->tid == control->excluded_tid || task->reader_tid == own ||
		    (family->count ? !aa_process_set_has(family, task->tgid) : task->tgid == control->own_tgid))
			continue;
		found += aa_is_call_missed(aa_call_of_thread(task->reader_tid), probes, operations);
	}
	return found;
}

struct aa_error *aa_process_tree_seed(struct aa_probes *probes, bool has_pid, pid_t pid, bool follow, bool is_held,
				      pid_t drain_tid, uint64_t operations, struct aa_signs *signs,
				      struct aa_before *ret_before)
{
	volatile struct aa_control *control = aa_probes_control(probes);
	struct aa_tasks tasks = { 0 };
	struct aa_process_set family = { 0 }, live = { 0 };
	struct aa_error *error = NULL;
	uint32_t root = 0, reaper = 0;
	bool no_memory = false, is_new;

	control->seeding = has_pid && follow;
	error = aa_tasks_read(probes, &tasks);
	if (error)
		goto out;
	for (size_t i = 0; i < tasks.count; i++) {
		const struct aa_task *task = &tasks.items[i];

		control->reader_level = task->reader_level;
		if (task->reader_tid == (uint32_t)getpid()) {
			control->own_tgid = task->tgid;
			control->excluded_tgid = has_pid ? 0 : task->tgid;
		}
		if (task->reader_tid == (uint32_t)drain_tid)
			control->excluded_tid = task->tid;
		if (has_pid && task->reader_tid == (uint32_t)pid && task->reader_tgid == (uint32_t)pid)
			root = task->tgid;
		if (task->reader_tid == (uint32_t)aa_probes_reaper(probes))
			reaper = task->tgid;
	}
	if (!control->own_tgid) {
		error = aa_error_create(AA_ERROR_ATTACH, 0, "the kernel's list of tasks does not show this process%s",
					aa_proc_look() == AA_PROC_MISSING ? ": /proc is not mounted" : "");
		if (aa_proc_look() == AA_PROC_MISSING)
			aa_error_with_remedy(error, "mount it: mount -t proc proc /proc");
		goto out;
	}
	if (!has_pid)
		goto out;
	if (!root) {
		error = aa_error_create(AA_ERROR_NO_PROCESS, ESRCH, "there is no process %d", (int)pid);
		goto out;
	}
	control->root_tgid = root;
	if (!aa_process_set_add(&family, root)) {
		no_memory = true;
		goto out;
	}
	if (!follow) {
		control->watched = 1;
		/* Once more, now that its table of descriptors is one to look at: see aa_tables. */
		error = aa_tasks_read(probes, &tasks);
		goto out;
	}
	error = aa_watch(probes, root, &is_new);
	while (!error) {
		size_t known = family.count;
		bool settled;

		if (!aa_lineage_read(probes, &tasks) ||
		    !aa_family_grow(&family, tasks.items, tasks.count, control->own_tgid, reaper) ||
		    !aa_family_live(&live, tasks.items, tasks.count)) {
			no_memory = true;
			goto out;
		}
		settled = family.count == known;
		/* One that only the lineage knows yet is listed, and watched, in the next round. */
		for (size_t i = 0; !error && i < family.count; i++) {
			if (!aa_process_set_has(&live, family.items[i]))
				continue;
			error = aa_watch(probes, family.items[i], &is_new);
			settled = settled && !is_new;
		}
		if (error)
			goto out;
		if (settled)
			break;
		error = aa_tasks_read(probes, &tasks);
		if (error)
			goto out;
	}
	/*
	 * One that exited between our reading and our insertion is in the map and will never leave it by itself: its
	 * exit was before. The list, read anew, knows who lives.
	 */
	if (!error)
		error = aa_tasks_read(probes, &tasks);
	no_memory = !error && !aa_family_live(&live, tasks.items, tasks.count);
	for (size_t i = 0; !error && !no_memory && i < family.count; i++)
		if (!aa_process_set_has(&live, family.items[i]))
			aa_unwatch(probes, family.items[i]);
out:
	control->seeding = 0;
	if (!error && !no_memory)
		error = aa_blind_spots_find(&tasks, &family, control->own_tgid, is_held ? (uint32_t)pid : 0, probes,
					    signs, &ret_before->blind_spots);
	if (!error && !no_memory)
		ret_before->calls = aa_calls_under_way(&tasks, &family, control, probes, operations);
	if (no_memory && !error)
		error = aa_error_create(AA_ERROR_MEMORY, ENOMEM, "out of memory");
	free(tasks.items);
	aa_process_set_clear(&family);
	aa_process_set_clear(&live);
	return error;
}

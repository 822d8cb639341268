/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The life of one call, the same for every backend: begin at its entry, finish and emission at its return.
 *
 * What is known at the entry waits in a map under the thread's id. The thread owns that value alone, so neither
 * preemption nor nesting can share it. It stays until the thread exits: a return without an entry is then told from a
 * call that was under way when we attached.
 */
#ifndef AA_OPERATION_BPF_H
#define AA_OPERATION_BPF_H

#include "kernel.bpf.h"
#include "syscalls.h"
#include "filter.bpf.h"
#include "path.bpf.h"

/* The loader raises this for the whole system. */
#define AA_STATE_MAX 16384
#define AA_LONG_NAMES_MAX 128

/* What a descriptor named, by address: only ever compared, never followed. */
struct aa_identity {
	__u64 file, dentry, mount, inode;
};

enum aa_phase {
	AA_PHASE_IDLE,
	AA_PHASE_IN_CALL,
	AA_PHASE_UNASKED, /* in a call whose operation nobody asked for */
};

struct aa_call_state {
	__u64 entry_ns;
	__u64 args[8];
	struct aa_identity object;	 /* of the descriptor, at the entry */
	struct aa_identity used;	 /* the file the kernel really worked on, where a probe below the call tells */
	struct aa_identity directory[2]; /* what relative names start from */
	__u64 changes[2];		 /* of the descriptor or of those starts, counted before the look at them */
	__s64 position;
	__u32 call;
	__u8 operation;
	__u8 phase;	      /* enum aa_phase */
	__u8 changes_fd;      /* this call may put another file behind a descriptor */
	__u8 name_is_long[2]; /* the name is in aa_long_names */
	__u8 name_is_cut[2];
	__u8 reserved;
	__u32 changed_slot;
	__s32 name_bytes[2]; /* without NUL; < 0: not readable at the entry */
	char name[2][AA_NAME_BYTES];
};

struct aa_long_names {
	char name[2][AA_PATH_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, AA_STATE_MAX);
	__type(key, __u32);
	__type(value, struct aa_call_state);
} aa_states SEC(".maps");

/* Names of more than 254 bytes: seldom, so a few places serve all; without one the name is read at the return. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, AA_LONG_NAMES_MAX);
	__type(key, __u32);
	__type(value, struct aa_long_names);
} aa_long_names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20); /* the loader sets ring_bytes */
} aa_ring SEC(".maps");

static const struct aa_call_state aa_new_state = {};
static const struct aa_long_names aa_new_long_names = {};

/* The table. Read at a number not known before the call, so it stays in .rodata. */
#define AA_X(program, call, number_, operation_, origin, ...)                                                          \
	[AA_CALL_##call] = { .operation = AA_OPERATION_##operation_, __VA_ARGS__ },
static const volatile struct aa_call_spec aa_specs[AA_CALL_COUNT] = { AA_CALLS(AA_X) };
#undef AA_X

/* Row + 1 of a call by its number; 0: not in the table. */
#define AA_X(program, call, number, ...) [number] = AA_CALL_##call + 1,
static const volatile __u16 aa_call_by_number[AA_NUMBER_LIMIT] = { AA_CALLS(AA_X) };
#undef AA_X

static __always_inline __u32 aa_flags_argument(const volatile struct aa_call_spec *spec, const __u64 *args)
{
	return spec->flags ? args[(spec->flags - 1) & 7] : 0;
}

static __always_inline __u8 aa_operation_of(const volatile struct aa_call_spec *spec, const __u64 *args)
{
	if (spec->if_flag && aa_flags_argument(spec, args) & spec->if_flag)
		return spec->then_operation;
	return spec->operation;
}

static __always_inline struct file *aa_file_of(struct files_struct *files, __s32 fd)
{
	struct fdtable *table = BPF_CORE_READ(files, fdt);
	struct file **slots = BPF_CORE_READ(table, fd), *file = NULL;

	if (fd < 0 || (__u32)fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), slots + fd);
	return file;
}

static __always_inline void aa_identify(struct file *file, struct aa_identity *ret_identity)
{
	ret_identity->file = (__u64)(long)file;
	ret_identity->dentry = file ? (__u64)(long)BPF_CORE_READ(file, f_path.dentry) : 0;
	ret_identity->mount = file ? (__u64)(long)BPF_CORE_READ(file, f_path.mnt) : 0;
	ret_identity->inode = file ? (__u64)(long)BPF_CORE_READ(file, f_inode) : 0;
}

static __always_inline bool aa_identity_equal(const struct aa_identity *a, const struct aa_identity *b)
{
	return a->file == b->file && a->dentry == b->dentry && a->mount == b->mount && a->inode == b->inode;
}

/* The directory a relative name starts from. */
static __always_inline bool aa_directory_of(struct task_struct *task, __s32 dirfd, struct aa_place *ret_place)
{
	struct file *file;

	if (dirfd == AT_FDCWD) {
		ret_place->dentry = BPF_CORE_READ(task, fs, pwd.dentry);
		ret_place->vfsmount = BPF_CORE_READ(task, fs, pwd.mnt);
		return true;
	}
	file = aa_file_of(BPF_CORE_READ(task, files), dirfd);
	if (!file)
		return false;
	ret_place->dentry = BPF_CORE_READ(file, f_path.dentry);
	ret_place->vfsmount = BPF_CORE_READ(file, f_path.mnt);
	return true;
}

static __always_inline __s32 aa_dirfd(__u8 argument, const __u64 *args)
{
	return argument ? (__s32)args[(argument - 1) & 7] : AT_FDCWD;
}

/* A name from the caller's memory into the thread's state, or into a long place when it does not fit. */
static __always_inline void aa_read_name(struct aa_call_state *state, __u32 tid, __u32 i, const void *user)
{
	struct aa_long_names *names;
	char beyond = 0;
	long bytes;

	state->name_is_long[i] = 0;
	state->name_is_cut[i] = 0;
	bytes = bpf_probe_read_user_str(state->name[i], AA_NAME_BYTES, user);
	/* An empty string is 1 byte, its NUL; before 6.4 or so it is 0 (strncpy_from_user_nofault()). */
	state->name_bytes[i] = bytes < 0 ? -1 : bytes ? bytes - 1 : 0;
	if (bytes < AA_NAME_BYTES)
		return;
	names = bpf_map_lookup_elem(&aa_long_names, &tid);
	if (!names) {
		bpf_map_update_elem(&aa_long_names, &tid, &aa_new_long_names, BPF_NOEXIST);
		names = bpf_map_lookup_elem(&aa_long_names, &tid);
	}
	if (!names) {
		state->name_is_cut[i] = 1;
		return;
	}
	bytes = bpf_probe_read_user_str(names->name[i], AA_PATH_BYTES, user);
	if (bytes <= 0) {
		state->name_bytes[i] = -1;
		return;
	}
	state->name_is_long[i] = 1;
	state->name_bytes[i] = bytes - 1;
	if (bytes == AA_PATH_BYTES && (bpf_probe_read_user(&beyond, 1, user + AA_PATH_BYTES - 1) || beyond))
		state->name_is_cut[i] = 1;
}

static __always_inline struct aa_call_state *aa_state_of(__u32 tid)
{
	return bpf_map_lookup_elem(&aa_states, &tid);
}

static __always_inline struct aa_call_state *aa_state_make(__u32 tid)
{
	struct aa_call_state *state = aa_state_of(tid);

	if (state)
		return state;
	/* -EEXIST cannot be: the key is this thread's own. */
	if (bpf_map_update_elem(&aa_states, &tid, &aa_new_state, BPF_ANY))
		return NULL;
	return aa_state_of(tid);
}

static __always_inline bool aa_is_asked(__u8 operation)
{
	return aa_config.operations >> (operation & 63) & 1;
}

/*
 * Descriptors and current directories that change during another thread's call (dup2, close and reuse, chdir).
 *
 * Where no probe below the call tells which file was used, a descriptor could be swapped and swapped back between our
 * look at the entry and the kernel's, and again before our look at the return: both looks agree and both are wrong. So
 * each change of a shared table or directory is counted in a slot, for the descriptor, the file taken out of a table,
 * or the directory's owner; a name is certain only if nothing was counted there since before the first look, and
 * nothing is under way. (Times would not do: clocks of two CPUs differ by more than such a change takes.) Slots are
 * shared by chance (4,096 of them): that flags too much, never too little.
 */
#define AA_CHANGED_SLOTS 4096

struct aa_changed {
	__u64 count;   /* beginnings and ends of changes */
	__u64 last_ns; /* of the last one */
	__s64 under_way;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, AA_CHANGED_SLOTS);
	__type(key, __u32);
	__type(value, struct aa_changed);
} aa_changed SEC(".maps");

#define AA_ALL_DESCRIPTORS (-1)

static __always_inline __u32 aa_slot_of(const void *object, __u32 detail)
{
	__u64 hash = ((__u64)(long)object >> 6) * 0x9e3779b97f4a7c15ULL + detail * 0x85ebca6bULL;

	return (hash ^ hash >> 32) & (AA_CHANGED_SLOTS - 1);
}

static __always_inline __u32 aa_changed_slot(struct files_struct *files, __s32 fd)
{
	return aa_slot_of(files, fd);
}

/* A moment's change, from a probe at the place where it happens. */
static __always_inline void aa_changed_now(const void *object)
{
	__u32 slot = aa_slot_of(object, 0);
	struct aa_changed *changed = bpf_map_lookup_elem(&aa_changed, &slot);

	if (!changed)
		return;
	changed->last_ns = bpf_ktime_get_boot_ns();
	__sync_fetch_and_add(&changed->count, 1);
}

/*
 * Threads that are not watched may share the table too (CLONE_FILES): for them, thread → slot. When it is full, the
 * times at entry and exit still tell one swapper's doings.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u32);
} aa_foreign_changes SEC(".maps");

static __always_inline void aa_change_begins(struct aa_call_state *state, __u32 tid, __u32 slot)
{
	struct aa_changed *changed = bpf_map_lookup_elem(&aa_changed, &slot);

	if (!changed)
		return;
	changed->last_ns = bpf_ktime_get_boot_ns();
	__sync_fetch_and_add(&changed->count, 1);
	if (state) {
		state->changed_slot = slot;
		state->changes_fd = 1;
	} else if (bpf_map_update_elem(&aa_foreign_changes, &tid, &slot, BPF_NOEXIST)) {
		return;
	}
	__sync_fetch_and_add(&changed->under_way, 1);
}

/* A descriptor of a table that others share. */
static __always_inline void aa_descriptor_changes(struct aa_call_state *state, __u32 tid, __s32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct files_struct *files = BPF_CORE_READ(task, files);

	if (BPF_CORE_READ(files, count.counter) > 1)
		aa_change_begins(state, tid, aa_changed_slot(files, fd));
}

/* The current directory or root of a thread that shares it. */
static __always_inline void aa_directory_changes(struct aa_call_state *state, __u32 tid)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fs_struct *fs = BPF_CORE_READ(task, fs);

	if (BPF_CORE_READ(fs, users) > 1)
		aa_change_begins(state, tid, aa_slot_of(fs, 0));
}

static __always_inline void aa_change_settle(__u32 slot)
{
	struct aa_changed *changed = bpf_map_lookup_elem(&aa_changed, &slot);

	if (!changed)
		return;
	changed->last_ns = bpf_ktime_get_boot_ns();
	__sync_fetch_and_add(&changed->count, 1);
	__sync_fetch_and_add(&changed->under_way, -1);
}

static __always_inline void aa_change_ends(struct aa_call_state *state, __u32 tid)
{
	__u32 *slot;

	if (state) {
		if (state->changes_fd)
			aa_change_settle(state->changed_slot);
		state->changes_fd = 0;
		return;
	}
	slot = bpf_map_lookup_elem(&aa_foreign_changes, &tid);
	if (!slot)
		return;
	aa_change_settle(*slot);
	bpf_map_delete_elem(&aa_foreign_changes, &tid);
}

/* Adds a slot's count to a number that no change leaves as it is; AA_UNSETTLED while one is under way. */
#define AA_UNSETTLED (1ULL << 63)

static __always_inline __u64 aa_changes_in(__u32 slot)
{
	struct aa_changed *changed = bpf_map_lookup_elem(&aa_changed, &slot);

	if (!changed || changed->under_way > 0)
		return AA_UNSETTLED;
	return changed->count;
}

/* Of a descriptor, and of the file it names. Other threads must share the table for it to change during a call. */
static __always_inline __u64 aa_changes_of_descriptor(struct files_struct *files, __s32 fd)
{
	__u64 one, all, file;
	__u32 slot;

	if (BPF_CORE_READ(files, count.counter) < 2)
		return 0;
	one = aa_changes_in(aa_changed_slot(files, fd));
	all = aa_changes_in(aa_changed_slot(files, AA_ALL_DESCRIPTORS));
	slot = aa_slot_of(aa_file_of(files, fd), 0);
	file = aa_changes_in(slot);
	/* Weights, so that what one of them grew is not taken for what another is behind: the file may be another one.
	 */
	return ((one * 0x9e3779b97f4a7c15ULL + all * 0xc2b2ae3d27d4eb4fULL + file * 0x165667b19e3779f9ULL + slot) &
		~AA_UNSETTLED) |
	       ((one | all | file) & AA_UNSETTLED);
}

/* Of the place that a relative name starts from. */
static __always_inline __u64 aa_changes_of_start(struct task_struct *task, __s32 dirfd)
{
	if (dirfd == AT_FDCWD)
		return aa_changes_in(aa_slot_of(BPF_CORE_READ(task, fs), 0));
	return aa_changes_of_descriptor(BPF_CORE_READ(task, files), dirfd);
}

/* Nothing changed between two of these. */
static __always_inline bool aa_is_settled(__u64 before, __u64 after)
{
	return before == after && !(after & AA_UNSETTLED);
}

/* A descriptor that is known only at the return: the times must do. */
static __always_inline bool aa_changed_since(__u32 slot, __u64 since_ns)
{
	struct aa_changed *changed = bpf_map_lookup_elem(&aa_changed, &slot);

	return changed && (changed->under_way > 0 || changed->last_ns >= since_ns);
}

/* At the entry of a call of a watched thread. */
static __always_inline void aa_begin(struct aa_call_state *state, __u32 tid, __u32 call, const __u64 *args)
{
	const volatile struct aa_call_spec *spec;
	struct task_struct *task = (void *)bpf_get_current_task();
	struct aa_place place = {};
	struct file *file;
	__u8 operation;

	if (call >= AA_CALL_COUNT)
		return;
	spec = &aa_specs[call];
	operation = aa_operation_of(spec, args);
	/* Whoever watches its own process reads our eventfd there: that would feed itself. */
	if (!aa_is_asked(operation) || (spec->fd && (__s32)args[(spec->fd - 1) & 7] == aa_control.own_fd &&
					bpf_get_current_pid_tgid() >> 32 == aa_control.own_tgid)) {
		if (state)
			state->phase = AA_PHASE_UNASKED;
		return;
	}
	aa_count(performed, 1);
	if (!state) {
		aa_count(state_full, 1);
		return;
	}
	if (state->phase == AA_PHASE_IN_CALL) {
		/* The return before this entry was missed. */
		aa_count(no_exit, 1);
		aa_count(in_flight, -1);
	}
	aa_count(in_flight, 1);
	state->call = call;
	state->operation = operation;
	state->args[0] = args[0];
	state->args[1] = args[1];
	state->args[2] = args[2];
	state->args[3] = args[3];
	state->args[4] = args[4];
	state->args[5] = args[5];
	state->used.file = 0;
	state->position = AA_NO_OFFSET;
	if (spec->fd) {
		struct files_struct *files = BPF_CORE_READ(task, files);
		__s32 fd = (__s32)args[(spec->fd - 1) & 7];

		state->changes[0] = aa_changes_of_start(task, fd);
		file = aa_file_of(files, fd);
		aa_identify(file, &state->object);
		/* Begun at the return, the position has moved on. */
		if (file && !aa_config.exit_only &&
		    (BPF_CORE_READ(file, f_mode) & (FMODE_LSEEK | FMODE_STREAM)) == FMODE_LSEEK)
			state->position = BPF_CORE_READ(file, f_pos);
	}
	if (spec->path) {
		aa_read_name(state, tid, 0, (void *)args[(spec->path - 1) & 7]);
		state->changes[0] = aa_changes_of_start(task, aa_dirfd(spec->dirfd, args));
		if (aa_directory_of(task, aa_dirfd(spec->dirfd, args), &place)) {
			state->directory[0].dentry = (__u64)(long)place.dentry;
			state->directory[0].mount = (__u64)(long)place.vfsmount;
		}
	}
	if (spec->path2) {
		aa_read_name(state, tid, 1, (void *)args[(spec->path2 - 1) & 7]);
		state->changes[1] = aa_changes_of_start(task, aa_dirfd(spec->dirfd2, args));
		if (aa_directory_of(task, aa_dirfd(spec->dirfd2, args), &place)) {
			state->directory[1].dentry = (__u64)(long)place.dentry;
			state->directory[1].mount = (__u64)(long)place.vfsmount;
		}
	}
	state->entry_ns = bpf_ktime_get_boot_ns();
	state->phase = AA_PHASE_IN_CALL;
}

/* A probe below the call tells which file the kernel works on; the first one counts. */
static __always_inline void aa_note_used(struct aa_call_state *state, struct file *file)
{
	if (!state->used.file)
		aa_identify(file, &state->used);
}

static __always_inline __u8 aa_kind_of(struct inode *inode, struct vfsmount *vfsmount)
{
	__u16 type = BPF_CORE_READ(inode, i_mode) & S_IFMT;
	unsigned long magic = BPF_CORE_READ(inode, i_sb, s_magic);
	struct mount *mount;
	__u32 major;

	if (magic == ANON_INODE_FS_MAGIC)
		return AA_KIND_ANON;
	switch (type) {
	case S_IFDIR:
		return AA_KIND_DIR;
	case S_IFLNK:
		return AA_KIND_SYMLINK;
	case S_IFSOCK:
		return AA_KIND_SOCKET;
	case S_IFIFO:
		return AA_KIND_PIPE;
	case S_IFBLK:
		return AA_KIND_DEVICE;
	case S_IFCHR:
		/* Documentation/admin-guide/devices.txt: tty, console and ptmx, pty, USB, ACM, AMA, hypervisor */
		major = BPF_CORE_READ(inode, i_rdev) >> 20;
		if (major == 4 || major == 5 || (major >= 136 && major <= 143) || major == 188 || major == 166 ||
		    major == 204 || major == 229)
			return AA_KIND_TTY;
		return AA_KIND_DEVICE;
	case S_IFREG:
		break;
	default:
		return AA_KIND_ANON;
	}
	mount = aa_real_mount(vfsmount);
	if ((long)BPF_CORE_READ(mount, mnt_ns) != MNT_NS_INTERNAL)
		return AA_KIND_FILE;
	return magic == TMPFS_MAGIC || magic == HUGETLBFS_MAGIC ? AA_KIND_MEMFD : AA_KIND_ANON;
}

static __always_inline bool aa_is_deleted(struct dentry *dentry)
{
	return BPF_CORE_READ(dentry, d_parent) != dentry && !BPF_CORE_READ(dentry, d_hash.pprev);
}

/* Notes what name i starts from, before it is looked at. */
static __always_inline void aa_start_from(struct aa_scratch *scratch, __u32 i, struct task_struct *task, __s32 fd)
{
	scratch->start_fd[i] = fd;
	scratch->changes[i] = aa_changes_of_start(task, fd);
}

/* After the walk: what it began with was held by nothing but the descriptor or the directory's owner. */
static __always_inline bool aa_start_stayed(const struct aa_scratch *scratch, __u32 i, struct task_struct *task)
{
	return aa_is_settled(scratch->changes[i], aa_changes_of_start(task, scratch->start_fd[i]));
}

static __always_inline void aa_check_start(struct aa_scratch *scratch, __u32 i, struct task_struct *task)
{
	if (!scratch->place[i].dentry || aa_start_stayed(scratch, i, task))
		return;
	scratch->source[i] = AA_PATH_SOURCE_RACED;
	if (scratch->inode)
		scratch->object.is_known = 0;
}

/* The object of a call by descriptor. */
static __always_inline void aa_resolve_descriptor(struct aa_call_state *state, struct task_struct *task,
						  const volatile struct aa_call_spec *spec, struct aa_scratch *scratch)
{
	__s32 fd = spec->fd ? (__s32)state->args[(spec->fd - 1) & 7] : (__s32)scratch->result;
	struct files_struct *files = BPF_CORE_READ(task, files);
	struct aa_identity now;
	struct file *file;
	__u8 source = AA_PATH_SOURCE_FILE;

	aa_start_from(scratch, 0, task, fd);
	file = aa_file_of(files, fd);
	aa_identify(file, &now);
	if (aa_config.exit_only && spec->fd) {
		source = AA_PATH_SOURCE_FD_AT_RETURN;
	} else if (state->used.file) {
		if (!aa_identity_equal(&state->used, &now))
			source = AA_PATH_SOURCE_FD_CHANGED;
	} else if (spec->fd) {
		if (!aa_identity_equal(&state->object, &now) || !aa_is_settled(state->changes[0], scratch->changes[0]))
			source = AA_PATH_SOURCE_FD_CHANGED;
	} else if (BPF_CORE_READ(files, count.counter) > 1 &&
		   (aa_changed_since(aa_changed_slot(files, fd), state->entry_ns) ||
		    aa_changed_since(aa_changed_slot(files, AA_ALL_DESCRIPTORS), state->entry_ns))) {
		/* An open's new descriptor was often closed a moment ago: likely right, not certain. */
		source = AA_PATH_SOURCE_RACED;
	}
	if (source == AA_PATH_SOURCE_FD_CHANGED) {
		scratch->source[0] = source;
		return;
	}
	if (!file)
		return;
	scratch->source[0] = source;
	/* Not from the file again: closed by another thread, it may be another one by now. */
	scratch->inode = (void *)(long)now.inode;
	scratch->place[0].dentry = (void *)(long)now.dentry;
	scratch->place[0].vfsmount = (void *)(long)now.mount;
	scratch->kind = aa_kind_of(scratch->inode, scratch->place[0].vfsmount);
	if (aa_is_deleted(scratch->place[0].dentry))
		scratch->flags[0] |= AA_PATH_DELETED;
}

/* A name as passed: the place it starts from when it is relative. */
static __always_inline void aa_resolve_name(struct aa_call_state *state, struct task_struct *task, __u32 tid, __u32 i,
					    __u8 argument, __u8 dirfd_argument, bool has_kernel_name,
					    struct aa_scratch *scratch)
{
	struct aa_place place = {};
	char first = 0;

	if (state->name_bytes[i] < 0)
		/* Not resident at the entry; the kernel has touched it since. */
		aa_read_name(state, tid, i, (void *)state->args[(argument - 1) & 7]);
	if (state->name_bytes[i] < 0) {
		scratch->flags[i] |= AA_PATH_UNREADABLE;
		return;
	}
	if (has_kernel_name)
		return;
	if (state->name_is_cut[i])
		scratch->flags[i] |= AA_PATH_TRUNCATED;
	if (state->name_bytes[i] == 0)
		return;
	first = state->name[i][0]; /* a long name's beginning is here too */
	if (first == '/') {
		scratch->source[i] = AA_PATH_SOURCE_AS_PASSED;
		return;
	}
	aa_start_from(scratch, i, task, aa_dirfd(dirfd_argument, state->args));
	if (!aa_directory_of(task, aa_dirfd(dirfd_argument, state->args), &place))
		return;
	if ((__u64)(long)place.dentry != state->directory[i].dentry ||
	    (__u64)(long)place.vfsmount != state->directory[i].mount ||
	    !aa_is_settled(state->changes[i], scratch->changes[i])) {
		scratch->source[i] = AA_PATH_SOURCE_RACED;
		return;
	}
	scratch->source[i] = AA_PATH_SOURCE_DIR_AND_NAME;
	scratch->place[i] = place;
}

static __always_inline void aa_fill_facts(struct aa_call_state *state, struct task_struct *task,
					  const volatile struct aa_call_spec *spec, struct aa_scratch *scratch)
{
	struct aa_event *event = &scratch->event;
	struct aa_process_facts *process = &scratch->process;
	struct aa_file_facts *object = &scratch->object;
	struct inode *inode = scratch->inode;

	event->version = AA_ABI_VERSION;
	event->type = AA_RECORD_EVENT;
	event->operation = state->operation;
	event->call = state->call;
	event->blocks = AA_BLOCK_PROCESS | AA_BLOCK_FILE | AA_BLOCK_NAMES;
	event->timestamp_ns = scratch->now_ns;
	event->duration_ns = aa_config.no_latency ? AA_NO_DURATION : scratch->now_ns - state->entry_ns;
	event->result = scratch->result;
	event->pid = aa_process_number(task);
	event->tid = aa_thread_number(task);
	event->fd = spec->fd ? (__s32)state->args[(spec->fd - 1) & 7] : -1;
	event->dirfd = aa_dirfd(spec->dirfd, state->args);
	event->count = spec->count ? state->args[(spec->count - 1) & 7] : 0;
	event->offset = state->position;
	event->flags = aa_flags_argument(spec, state->args);
	event->mode = spec->mode ? state->args[(spec->mode - 1) & 7] : 0;

	process->ppid = aa_process_number(BPF_CORE_READ(task, real_parent));
	process->uid = bpf_get_current_uid_gid();
	process->cgroup_id = bpf_get_current_cgroup_id();
	bpf_get_current_comm(process->comm, sizeof(process->comm));

	object->inode = inode ? BPF_CORE_READ(inode, i_ino) : 0;
	object->device = inode ? BPF_CORE_READ(inode, i_sb, s_dev) : 0;
	object->mode = inode ? BPF_CORE_READ(inode, i_mode) : 0;
	object->kind = scratch->kind;
	object->is_known = inode != NULL;
}

static __always_inline void aa_fill_raw(struct aa_call_state *state, struct aa_long_names *names, __u32 i,
					struct aa_scratch *scratch)
{
	__u64 bytes = state->name_bytes[i], at = scratch->fill;

	scratch->names.has_raw[i] = state->name_bytes[i] >= 0;
	if (state->name_bytes[i] <= 0)
		return;
	aa_mask(at, AA_PATH_BYTES - 1);
	aa_mask(bytes, AA_PATH_BYTES - 1);
	if (state->name_is_long[i]) {
		if (names)
			bpf_probe_read_kernel(scratch->data + at, bytes, names->name[i]);
	} else {
		aa_mask(bytes, AA_NAME_BYTES - 1);
		bpf_probe_read_kernel(scratch->data + at, bytes, state->name[i]);
	}
	scratch->names.raw_bytes[i] = bytes;
	scratch->fill = at + bytes;
}

/* A reader that sleeps is woken once; one that naps between batches only when the ring fills. */
static __always_inline __u64 aa_wake_flags(void)
{
	if (aa_control.reader_sleeps) {
		aa_control.reader_sleeps = 0;
		return BPF_RB_FORCE_WAKEUP;
	}
	if (bpf_ringbuf_query(&aa_ring, BPF_RB_AVAIL_DATA) > aa_config.wake_bytes)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

static __always_inline void aa_send(struct aa_scratch *scratch)
{
	__u64 bytes = scratch->fill;

	scratch->names.source[0] = scratch->source[0];
	scratch->names.source[1] = scratch->source[1];
	scratch->names.flags[0] = scratch->flags[0];
	scratch->names.flags[1] = scratch->flags[1];
	if ((scratch->flags[0] | scratch->flags[1]) & AA_PATH_TRUNCATED)
		aa_count(path_truncated, 1);
	if ((scratch->flags[0] | scratch->flags[1]) & AA_PATH_UNREADABLE)
		aa_count(path_unreadable, 1);
	aa_mask(bytes, 0x7fff);
	if (bytes > AA_DATA_BYTES)
		return;
	if (bpf_ringbuf_output(&aa_ring, &scratch->event, AA_RECORD_FIXED + bytes, aa_wake_flags()))
		aa_count(ring_full, 1);
}

/* At the return of a call that began. `loops`: bpf_loop() may be used (a constant). */
static __always_inline void aa_finish(struct aa_call_state *state, __u32 tid, __s64 result, bool loops)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	const volatile struct aa_call_spec *spec;
	struct aa_long_names *names = NULL;
	struct aa_scratch *scratch;
	__u32 call = state->call, slot;

	if (call >= AA_CALL_COUNT)
		return;
	spec = &aa_specs[call];
	state->phase = AA_PHASE_IDLE;
	scratch = aa_scratch_claim(&slot);
	if (!scratch) {
		aa_count(state_full, 1);
		aa_count(in_flight, -1);
		return;
	}
	scratch->place[0].dentry = NULL;
	scratch->place[1].dentry = NULL;
	scratch->inode = NULL;
	scratch->result = result;
	scratch->now_ns = bpf_ktime_get_boot_ns();
	scratch->fill = 0;
	scratch->source[0] = scratch->source[1] = AA_PATH_SOURCE_NONE;
	scratch->flags[0] = scratch->flags[1] = 0;
	scratch->kind = 0;
	__builtin_memset(&scratch->names, 0, sizeof(scratch->names));
	if (!spec->path)
		state->name_bytes[0] = -1;
	if (!spec->path2)
		state->name_bytes[1] = -1;
	if (spec->fd || (spec->returns_fd && result >= 0))
		aa_resolve_descriptor(state, task, spec, scratch);
	if (scratch->inode && !(aa_config.kinds >> (scratch->kind & 31) & 1) && aa_start_stayed(scratch, 0, task)) {
		aa_count(filtered, 1);
	} else {
		if (spec->path)
			aa_resolve_name(state, task, tid, 0, spec->path, spec->dirfd, spec->returns_fd && result >= 0,
					scratch);
		if (spec->path2)
			aa_resolve_name(state, task, tid, 1, spec->path2, spec->dirfd2, false, scratch);
		if (state->name_is_long[0] || state->name_is_long[1])
			names = bpf_map_lookup_elem(&aa_long_names, &tid);
		aa_fill_facts(state, task, spec, scratch);
		aa_fill_raw(state, names, 0, scratch);
		aa_fill_raw(state, names, 1, scratch);
		if (scratch->place[0].dentry) {
			if (loops)
				aa_render_looped(slot, 0);
			else
				aa_render_bounded(slot, 0);
		}
		if (scratch->place[1].dentry) {
			if (loops)
				aa_render_looped(slot, 1);
			else
				aa_render_bounded(slot, 1);
		}
		aa_check_start(scratch, 0, task);
		aa_check_start(scratch, 1, task);
		aa_send(scratch);
	}
	aa_scratch_release(scratch);
	if (state->name_is_long[0] || state->name_is_long[1]) {
		state->name_is_long[0] = 0;
		state->name_is_long[1] = 0;
		bpf_map_delete_elem(&aa_long_names, &tid);
	}
	aa_count(in_flight, -1);
}

/* At the exit of a thread: what it had under way will not return. */
static __always_inline void aa_abandon(__u32 tid)
{
	struct aa_call_state *state = aa_state_of(tid);

	aa_change_ends(state, tid);
	if (!state)
		return;
	if (state->phase == AA_PHASE_IN_CALL) {
		aa_count(no_exit, 1);
		aa_count(in_flight, -1);
	}
	if (state->name_is_long[0] || state->name_is_long[1])
		bpf_map_delete_elem(&aa_long_names, &tid);
	bpf_map_delete_elem(&aa_states, &tid);
}

#endif

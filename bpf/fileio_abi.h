/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The wire between the kernel side (bpf/) and the core (csrc/core/): one header, compiled alone on both sides.
 *
 * What seldom changes is told once. Facts of a thread are a record of their own (struct aa_thread), sent when new. An
 * event is struct aa_event, its names, and the blocks that its `blocks` says, in the order of the bits; one that says
 * in `file` under which number the thread will speak of its file again may be followed by struct aa_again, which has no
 * name.
 * Numbers are the thread's own, and a thread's records come in the order they were made, so that a number means to the
 * reader what it meant to the thread.
 */
#ifndef AA_FILEIO_ABI_H
#define AA_FILEIO_ABI_H

#if defined(__linux__) || defined(__bpf__)
#include <linux/types.h>
#else /* the core's tables are compiled everywhere */
#include <stdint.h>
typedef uint8_t __u8;
typedef uint16_t __u16;
typedef uint32_t __u32;
typedef uint64_t __u64;
typedef int32_t __s32;
typedef int64_t __s64;
#endif

#define AA_ABI_VERSION 3

#define AA_LICENSE "Dual MIT/GPL" /* of the programs, to the kernel */

/*
 * What only the running kernel knows stands in the programs as marks: the number of bpf_rdonly_cast(), which is called,
 * and those of types it is called with. The core replaces them before it loads a program (csrc/core/probe_object.c).
 * libbpf would do it from the whole of the kernel's BTF, read a second time.
 */
#define AA_MARKED_TYPES(X) X(timespec64) X(files_struct) X(inode) X(dentry) X(task_struct) X(mount) X(fs_struct)
#define AA_MARK_CAST 0x6aa5ca57
enum aa_mark {
	AA_MARK_FIRST = 0x6aa5ca60,
	AA_MARK_BEFORE = AA_MARK_FIRST - 1,
#define AA_X(name) AA_MARK_##name,
	AA_MARKED_TYPES(AA_X)
#undef AA_X
		AA_MARK_END,
};

/* X(symbol, name, groups). A number is never used twice; names are what Python's Op shows. */
#define AA_GROUP_DEFAULT 1
#define AA_GROUP_MODIFY                                                                                                \
	2 /* all that can change a file or a name: open too (O_CREAT, O_TRUNC), and a shared mapping                   \
	   */
#define AA_GROUP_ACCESS 4
#define AA_GROUP_ALWAYS 8   /* whatever is asked for */
#define AA_GROUP_WRITES 16  /* what changes a file or a name: of AA_GROUP_IN_PART only some calls do */
#define AA_GROUP_IN_PART 32 /* see changes.h */
#define AA_OPERATIONS(X)                                                                                               \
	X(OPEN, open, AA_GROUP_DEFAULT | AA_GROUP_MODIFY | AA_GROUP_WRITES | AA_GROUP_IN_PART | AA_GROUP_ACCESS)       \
	X(READ, read, AA_GROUP_DEFAULT | AA_GROUP_ACCESS)                                                              \
	X(WRITE, write, AA_GROUP_DEFAULT | AA_GROUP_MODIFY | AA_GROUP_WRITES)                                          \
	X(UNLINK, unlink, AA_GROUP_DEFAULT | AA_GROUP_MODIFY | AA_GROUP_WRITES)                                        \
	X(RMDIR, rmdir, AA_GROUP_DEFAULT | AA_GROUP_MODIFY | AA_GROUP_WRITES)                                          \
	X(RENAME, rename, AA_GROUP_DEFAULT | AA_GROUP_MODIFY | AA_GROUP_WRITES)                                        \
	X(TRUNCATE, truncate, AA_GROUP_DEFAULT | AA_GROUP_MODIFY | AA_GROUP_WRITES)                                    \
	X(ALLOCATE, allocate, AA_GROUP_DEFAULT | AA_GROUP_MODIFY | AA_GROUP_WRITES)                                    \
	X(LINK, link, AA_GROUP_DEFAULT | AA_GROUP_MODIFY | AA_GROUP_WRITES)                                            \
	X(SYMLINK, symlink, AA_GROUP_DEFAULT | AA_GROUP_MODIFY | AA_GROUP_WRITES)                                      \
	X(MKDIR, mkdir, AA_GROUP_DEFAULT | AA_GROUP_MODIFY | AA_GROUP_WRITES)                                          \
	X(MKNOD, mknod, AA_GROUP_DEFAULT | AA_GROUP_MODIFY | AA_GROUP_WRITES)                                          \
	X(CHMOD, chmod, AA_GROUP_MODIFY | AA_GROUP_WRITES)                                                             \
	X(CHOWN, chown, AA_GROUP_MODIFY | AA_GROUP_WRITES)                                                             \
	X(UTIME, utime, AA_GROUP_MODIFY | AA_GROUP_WRITES)                                                             \
	X(XATTR, xattr, AA_GROUP_MODIFY | AA_GROUP_WRITES)                                                             \
	X(COPY, copy, AA_GROUP_DEFAULT | AA_GROUP_MODIFY | AA_GROUP_WRITES | AA_GROUP_IN_PART)                         \
	X(MAP, map, AA_GROUP_DEFAULT | AA_GROUP_MODIFY | AA_GROUP_WRITES | AA_GROUP_IN_PART | AA_GROUP_ACCESS)         \
	X(SYNC, sync, 0)                                                                                               \
	X(CLOSE, close, 0)                                                                                             \
	X(DUP, dup, 0)                                                                                                 \
	X(EXEC, exec, AA_GROUP_DEFAULT | AA_GROUP_ACCESS)                                                              \
	X(CHDIR, chdir, 0)                                                                                             \
	X(MEMFD, memfd, 0)                                                                                             \
	X(MOUNT, mount, AA_GROUP_MODIFY | AA_GROUP_WRITES)                                                             \
	X(STAT, stat, 0)                                                                                               \
	X(LIST, list, 0)                                                                                               \
	X(BLIND_SPOT, blind_spot, AA_GROUP_ALWAYS)

enum aa_operation {
#define AA_X(symbol, name, groups) AA_OPERATION_##symbol,
	AA_OPERATIONS(AA_X)
#undef AA_X
		AA_OPERATION_COUNT,
};

/* What kind of object a descriptor names. X(symbol, name, in the default set) */
#define AA_KINDS(X)                                                                                                    \
	X(FILE, file, 1)                                                                                               \
	X(DIR, dir, 1)                                                                                                 \
	X(SYMLINK, symlink, 1)                                                                                         \
	X(MEMFD, memfd, 1)                                                                                             \
	X(DEVICE, device, 1)                                                                                           \
	X(TTY, tty, 0)                                                                                                 \
	X(PIPE, pipe, 0)                                                                                               \
	X(SOCKET, socket, 0)                                                                                           \
	X(ANON, anon, 0)

enum aa_kind {
#define AA_X(symbol, name, is_default) AA_KIND_##symbol,
	AA_KINDS(AA_X)
#undef AA_X
		AA_KIND_COUNT,
};

/* Where a name comes from, the most certain first: of two names of one call the larger number is reported. */
#define AA_PATH_SOURCES(X)                                                                                             \
	X(NONE, none)                                                                                                  \
	X(FILE, file)                                                                                                  \
	X(DENTRY, dentry)                                                                                              \
	X(DIR_AND_NAME, dir_and_name)                                                                                  \
	X(AS_PASSED, as_passed)                                                                                        \
	X(FD_AT_RETURN, fd_at_return)                                                                                  \
	X(RACED, raced)                                                                                                \
	X(FD_CHANGED, fd_changed)

enum aa_path_source {
#define AA_X(symbol, name) AA_PATH_SOURCE_##symbol,
	AA_PATH_SOURCES(AA_X)
#undef AA_X
		AA_PATH_SOURCE_COUNT,
};

/* With a kind, on the wire. */
#define AA_KIND_PLACELESS 0x80 /* of a file system that is mounted nowhere */
#define AA_KIND_OF_START 0x40  /* the facts are those of the directory that the name as passed starts from */
#define AA_KIND_NUMBER 0x0f    /* the kind itself */
/* How an object of kind anon that is placeless is named (the d_dname of its file system); 0: its name is not known. */
#define AA_KIND_FORM 0x30
#define AA_FORM_ANON_INODE 0x10 /* anon_inode:NAME */
#define AA_FORM_NAMESPACE 0x20	/* NAME:[INODE] */
#define AA_FORM_PIDFD 0x30	/* anon_inode:[pidfd] */

#define AA_PATH_TRUNCATED 1u  /* the beginning of the name is missing (or, of a name as passed, its end) */
#define AA_PATH_UNREADABLE 2u /* the caller's memory could not be read, at entry nor at return */
#define AA_PATH_DELETED 4u    /* the name was unlinked when the call returned */
#define AA_PATH_OTHER_ROOT 8u /* the process's root directory is not the reader's: its names are its own */
/* The name does not begin at the process's root directory: it begins where the walk of its mounts and directories
 * ended, or it starts from a directory that was removed. */
#define AA_PATH_UNREACHABLE 16u

/* Capacities. */
#define AA_COMM_BYTES 16       /* TASK_COMM_LEN */
#define AA_PATH_BYTES 4096     /* PATH_MAX, NUL included */
#define AA_NAME_BYTES 256      /* NAME_MAX and its NUL */
#define AA_WALK_STEPS 272      /* dentries and mount crossings; one million verified instructions are the bound */
#define AA_WALK_STEPS_SHORT 64 /* of what an exec opens: a program that deep is rare, and each step costs at attach */
#define AA_WALK_STEPS_LOOPED 4096 /* where bpf_loop() spares the verifier the repetition */
#define AA_WALK_BYTES (AA_PATH_BYTES + AA_NAME_BYTES)
#define AA_DATA_BYTES (2 * AA_PATH_BYTES + 2 * AA_WALK_BYTES + 3 * AA_NAME_BYTES)
#define AA_PARTS_MAX 1024 /* UIO_MAXIOV; the kernel takes no more */
#define AA_MANAGERS_MAX 64
#define AA_WATCH_MAX 32768  /* processes */
#define AA_GONE_MAX 8192    /* of them, that have exited and are remembered */
#define AA_THREAD_FILES 16  /* that a thread may speak of by number */
#define AA_SPARES 3	    /* of aa_process_fork and aa_process_exit, from 7.0 on */
#define AA_NUMBER_LIMIT 512 /* system call numbers looked at */

/* By which table a call of a number is one of those that were asked for, or changes what a name starts from. */
#define AA_INTEREST_NATIVE 1
#define AA_INTEREST_COMPAT 2
#define AA_INTEREST_IF_SHARED 4 /* by the 64-bit table: only where others have the descriptors or the directory too */

/*
 * How many of something there are by the last bits of their numbers: that one is not among them is mostly told without
 * looking for it, and that is most of what the calls of everybody else cost. Raised before one is added, lowered after
 * it has gone.
 */
#define AA_PRESENCE_SLOTS 8192
#define AA_PRESENCE_SLOT(number) ((number) & (AA_PRESENCE_SLOTS - 1))

/* Of threads: how many have a state, and one of them by which nothing is under way. */
struct aa_presence {
	__u32 states;
	__u32 idle;
};

/* For so many threads there is a state: a power of two, where a process or a tree is watched, or the whole system. */
#define AA_SEATS 8192
#define AA_SEATS_SYSTEM 65536

/*
 * Whose state it is counts its calls here, alone, and so without an atomic, of which each costs 6 ns (measured: Xeon,
 * 6.18). They belong to what is counted per CPU: begun to performed, begun less ended to in_flight. When the seat
 * becomes another thread's nothing is taken back.
 */
struct aa_seat {
	__u32 claims; /* one: it is taken */
	__u32 owner;  /* by this thread */
	__u64 begun, ended;
};

/* What few events have. Unaligned, and read from the record's end: names have any length. */
enum aa_block {
	AA_BLOCK_SECOND = 1u << 0, /* struct aa_second */
	AA_BLOCK_MORE = 1u << 1,   /* struct aa_more; without it they are 0, AA_NO_OFFSET and 0 */
	/* What a field would say is not known. */
	AA_MARK_NO_RESULT = 1u << 12, /* of a request whose end nothing tells */
	AA_MARK_NO_FD = 1u << 13,     /* a place in the table of a ring is no descriptor */
	AA_MARK_NO_COUNT = 1u << 14,
	AA_MARK_NO_FLAGS = 1u << 15,
};

/* What a walk's components name. */
enum aa_walk {
	AA_WALK_NONE,
	AA_WALK_DIRECTORY, /* where the name as passed starts from */
	AA_WALK_OBJECT,	   /* the file itself */
	AA_WALK_OWN_ROOT,  /* as AA_WALK_DIRECTORY, and the root of that name: RESOLVE_IN_ROOT of openat2(2) */
};

enum aa_record_type {
	AA_RECORD_EVENT = 1,  /* struct aa_event and its blocks */
	AA_RECORD_AGAIN,      /* struct aa_again: an event too */
	AA_RECORD_THREAD,     /* struct aa_thread */
	AA_RECORD_THREAD_END, /* struct aa_record and the thread: nothing more will come of it */
	AA_RECORD_TOLD	      /* struct aa_told, and an event as above: of a request, and in the ring of names */
};

/* How every record begins. */
struct aa_record {
	__u16 version; /* AA_ABI_VERSION */
	__u8 type;     /* enum aa_record_type */
	__u8 operation;
	__u32 thread; /* by its number in the initial pid namespace */
};

/* Of an object whose facts are there; and of which lists it is a rule's file, by what it is: see rule_files.bpf.h. */
#define AA_FILE_IS_KNOWN 1u
#define AA_FILE_OF_RULES(lists) ((lists) << 1)
#define AA_FILE_MAY_BE_OF_RULES(lists) ((lists) << 4)

struct aa_file_facts {
	__u64 inode;
	__u32 device; /* the kernel's own encoding: major << 20 | minor */
	__u16 mode;
	__u8 kind;     /* enum aa_kind, AA_KIND_PLACELESS */
	__u8 is_known; /* AA_FILE_IS_KNOWN, AA_FILE_OF_RULES, AA_FILE_MAY_BE_OF_RULES; 0: nothing is */
};

/* What is absent has length 0. */
struct aa_name_facts {
	__u8 source; /* enum aa_path_source */
	__u8 flags;  /* AA_PATH_* */
	__u8 has_raw;
	__u8 has_walk; /* enum aa_walk; a walk may be empty: the root directory itself */
	__u16 raw_bytes;
	__u16 walk_bytes;
};

/*
 * Then come the names: as passed the first and the second, without NUL, and the walks of the first and the second: the
 * components from the leaf to the root, each with its NUL, as the kernel's dentries have them.
 */
struct aa_event {
	struct aa_record record;
	__u64 timestamp_ns;
	__u64 duration_ns; /* AA_NO_DURATION: the entry was not seen */
	__s64 result;
	__u32 flags; /* the lower half: see struct aa_more */
	__u32 mode;
	__s32 fd;     /* of a call by descriptor, or -1 */
	__s32 dirfd;  /* of the first name */
	__u32 file;   /* this file's number from here on, or 0: a place below AA_THREAD_FILES, and a count of uses of it
		       */
	__u16 call;   /* row of syscalls.h; behind them those of aio_operations.h, ring_operations.h, openers.h */
	__u16 blocks; /* enum aa_block */
	struct aa_file_facts object;
	struct aa_name_facts name;
};

/* Of the call's second side: what its second descriptor names (else nothing), and the second name. */
struct aa_second {
	struct aa_file_facts object;
	struct aa_name_facts name;
};

struct aa_more {
	__u64 count;
	__s64 offset;	   /* AA_NO_OFFSET: not seekable or not known */
	__u64 flags_above; /* the upper half of the flags */
};

/* A call by descriptor, on a file that this thread has told; what it has no room for is 0, or as the row implies. */
struct aa_again {
	struct aa_record record;
	__u64 timestamp_ns;
	__u32 duration_ns; /* AA_NO_DURATION cut to 32 bits */
	__u32 file;
	__s64 offset;
	__s32 result;
	__u32 count;
	__s32 fd;
	__u16 call;
	__u8 source; /* enum aa_path_source */
	__u8 reserved;
};

#define AA_NO_DURATION (~0ULL)
#define AA_NO_OFFSET (-0x7fffffffffffffffLL - 1)

struct aa_process_facts {
	__u32 ppid; /* in the reader's pid namespace */
	__u32 uid;
	__u64 cgroup_id;
	char comm[AA_COMM_BYTES];
};

struct aa_thread {
	struct aa_record record;
	__u32 pid; /* thread group, in the reader's pid namespace */
	__u32 tid;
	struct aa_process_facts process;
	__u32 is_new; /* a thread not heard of before: no number of a file means anything yet */
	__u32 reserved;
};

/*
 * An event whole, so that it can be read without anything else. What a row of the totals is about is the first event
 * that was counted in it: the ring of names has nothing but these. A request of io_uring may end in another thread than
 * the one that it is told of, and so it is told like this; `row` means nothing then.
 */
struct aa_told {
	struct aa_thread thread;
	__u32 row;
	__u32 reserved;
};

#ifdef __cplusplus
#define AA_ASSERT_SIZE(type, size) static_assert(sizeof(type) == (size), #type)
#else
#define AA_ASSERT_SIZE(type, size) _Static_assert(sizeof(type) == (size), #type)
#endif
AA_ASSERT_SIZE(struct aa_record, 8);
AA_ASSERT_SIZE(struct aa_event, 80);
AA_ASSERT_SIZE(struct aa_again, 48);
AA_ASSERT_SIZE(struct aa_thread, 56);
AA_ASSERT_SIZE(struct aa_told, 64);
AA_ASSERT_SIZE(struct aa_process_facts, 32);
AA_ASSERT_SIZE(struct aa_file_facts, 16);
AA_ASSERT_SIZE(struct aa_name_facts, 8);
AA_ASSERT_SIZE(struct aa_second, 24);
AA_ASSERT_SIZE(struct aa_more, 24);

/* Counted in the kernel where it happens, per CPU and atomically: a program may be preempted or nested. X(name) */
#define AA_COUNTERS(X)                                                                                                 \
	X(performed)                                                                                                   \
	X(in_flight)                                                                                                   \
	X(filtered)                                                                                                    \
	X(counted)                                                                                                     \
	X(ring_full)                                                                                                   \
	X(state_full)                                                                                                  \
	X(no_entry)                                                                                                    \
	X(no_exit)                                                                                                     \
	X(fork_map_full)                                                                                               \
	X(pre_attach)                                                                                                  \
	X(denied)                                                                                                      \
	X(compat_calls)                                                                                                \
	X(blind_spots)                                                                                                 \
	X(bypass)                                                                                                      \
	X(path_truncated)                                                                                              \
	X(path_unreadable)

enum aa_counter {
#define AA_X(name) AA_COUNTER_##name,
	AA_COUNTERS(AA_X)
#undef AA_X
		AA_COUNTER_COUNT
};

struct aa_counters {
#define AA_X(name) __u64 name;
	AA_COUNTERS(AA_X)
#undef AA_X
};

/* Each CPU has its own cache lines. */
#define AA_CPU_COUNTERS_BYTES 192
struct aa_cpu_counters {
	struct aa_counters counters;
	__u64 reserved[(AA_CPU_COUNTERS_BYTES - sizeof(struct aa_counters)) / sizeof(__u64)];
};
AA_ASSERT_SIZE(struct aa_cpu_counters, AA_CPU_COUNTERS_BYTES);

/*
 * Totals: a table of rows that the core reads through a mapping while the kernel counts in them. A row is found by a
 * hash of what it is about, at one of AA_TOTAL_PLACES places in a row. Behind the rows stands one for each operation,
 * for what found no place.
 */
#define AA_TOTAL_PLACES 16
#define AA_TOTAL_BUCKETS 32 /* of durations: [2^i, 2^(i+1)) ns; the last is open */
#define AA_NAMES_BYTES (1u << 20)

struct aa_total {
	__u64 claims;
	__u64 name;	  /* a hash of what an event would tell of its file */
	__u64 started_ns; /* the process, whose number another one may get */
	__u32 tgid;
	__u32 operation;
	__u32 is_ready; /* the above is there */
	__u32 is_told;	/* struct aa_told is in the ring of names */
	__u64 calls, errors;
	__u64 bytes; /* moved */
	__u64 duration_ns;
	__u64 buckets[AA_TOTAL_BUCKETS];
};
AA_ASSERT_SIZE(struct aa_total, 328);

enum aa_scope {
	AA_SCOPE_SYSTEM, /* every process but one */
	AA_SCOPE_SINGLE, /* one process, its threads included */
	AA_SCOPE_TREE,	 /* a process, its children, their children and orphans */
};

/* What is done by Linux AIO. */
enum aa_aio {
	AA_AIO_UNASKED, /* nobody asked for what it can do */
	AA_AIO_SEEN,
	AA_AIO_HIDDEN,
};

/* Path rules, as the kernel side has them: see rules.bpf.h. */
enum aa_rule_list {
	AA_RULES_WATCH,
	AA_RULES_SENSITIVE,
	AA_RULES_IGNORE,
	AA_RULE_LISTS,
};
#define AA_RULE_BIT(list) (1u << AA_RULES_##list)
#define AA_RULE_WALK_BYTES 128
#define AA_RULE_LENGTHS 16 /* different ones */

struct aa_rule_name {
	__u32 length;
	char walk[AA_RULE_WALK_BYTES];
};

/* Of each list: is there a rule for this and all below it, or for this alone; and is this the very text of one? */
struct aa_rule_bits {
	__u16 below, whole, named, reserved;
};

/* A rule's file, by its inode's address, or by its number on a device (as struct aa_file_facts has it). */
struct aa_rule_key {
	__u64 number;
	__u32 device;
	__u32 is_number;
};

struct aa_rule_file {
	__u64 address, inode;
	__u64 mark; /* what inotify has put there, by address; 0: it could not */
	__u32 generation;
	__u32 known; /* AA_FILE_OF_RULES, AA_FILE_MAY_BE_OF_RULES */
};

/* What the kernel has for a file that the core has opened. */
struct aa_rule_seen {
	__u64 address, inode, mark;
	__u32 device, generation;
	__u32 fd;
	__u32 magic; /* of its file system: statfs(2) would ask whoever answers for it */
};

/* What the loader decides before load; frozen then. */
struct aa_config {
	__u64 operations;	    /* bit per enum aa_operation */
	__u32 kinds;		    /* bit per enum aa_kind */
	__u32 scope;		    /* enum aa_scope */
	__u32 no_latency;	    /* durations are not told */
	__u32 exit_only;	    /* calls by descriptor are taken at their return alone, see AA_IS_BY_DESCRIPTOR() */
	__u32 has_below;	    /* the probes of below.h are there */
	__u32 reader_pid_namespace; /* inode number of the reader's */
	__u64 wake_bytes;	    /* a ring fuller than this wakes a reader that naps */
	__u32 xattr_has_mapping;    /* what security_inode_setxattr() is told first is not the file */
	__u32 errors_only;	    /* calls that succeed are filtered */
	__u64 min_duration_ns;	    /* quicker ones are */
	__u32 total_rows;	    /* a power of two; 0: nothing is totalled */
	__u32 no_events;	    /* nothing but totals */
	__u32 compat_unseen;	    /* 32-bit calls are not followed */
	__u32 has_ring_requests;    /* what is done by io_uring is seen */
	__u32 ring_compat_flag;	    /* of a ring's int_flags: a 32-bit program made it; 0: it is told otherwise */
	__u32 aio;		    /* enum aa_aio */
	__u32 witness_io;	    /* reads and writes are witnessed a second time */
	__u32 rule_lists;	    /* those with rules; 0: none is applied in the kernel */
	__u32 rules_of_all;	    /* the lists of which every name has a rule, as far as is known here */
	__u32 seat_mask;	    /* of the seats of threads */
	__u32 rule_files;	    /* some rules are of a file by what it is */
	__u32 rules_name;	    /* some say the very name of what they watch or what is sensitive */
	__u64 only_changes;	    /* of these operations only calls that change something: see changes.h */
	__u8 rule_lengths[AA_RULE_LENGTHS]; /* of the keys of aa_rule_names; behind the last 0 */
};
AA_ASSERT_SIZE(struct aa_config, 128);

/* Of a socket whose owner does work for others: key of aa_managers, sun_path of struct sockaddr_un. */
struct aa_manager_name {
	char text[108];
};

/* A connection that a process has to one of those when the trace begins. */
struct aa_connection {
	__u32 tgid;
	struct aa_manager_name name;
};
AA_ASSERT_SIZE(struct aa_connection, 112);

/* Where struct aa_call_state has the row of the call that its thread is in, if its phase is this one. */
#define AA_STATE_CALL_AT 0
#define AA_STATE_PHASE_AT 4
#define AA_STATE_IN_CALL 1
#define AA_STATE_HEAD_BYTES 8

/* What the reader of the ring is to be woken for. One that is awake must not be: each wake-up is an interrupt. */
enum aa_reader_waits {
	AA_READER_IS_AWAKE,
	AA_READER_NAPS,	  /* it looks again by itself, soon: only a ring that fills wakes it */
	AA_READER_SLEEPS, /* by any record */
};

/* Shared and written while attached, through the mapping of .bss. */
struct aa_control {
	__u32 gate;	 /* events are taken: opened last, closed first */
	__u32 seeding;	 /* forks and exits of the whole host are noted */
	__u32 root_tgid; /* init-namespace numbers */
	__u32 excluded_tgid;
	__u32 excluded_tid; /* the core's own thread */
	__u32 reader_level; /* depth of the reader's pid namespace */
	__u32 reader_waits; /* enum aa_reader_waits: set by the reader, cleared by whoever wakes it */
	__u32 root_exited;
	__u32 own_tgid; /* the core's process, and its eventfd: work on it is ours, not the program's */
	__s32 own_fd;
	__s64 watched; /* processes in the watch map */
	/* This kernel adds page faults inside a kprobe's handler to the probe's misses: kprobe_fault_handler() until
	 * 5.14 (ec6aba3d2be1). A name that is not resident is such a fault, and nothing is missed by it. */
	__u32 faults_are_misses;
	__u32 canary_tid; /* a thread of the core that is watched for a moment, to see that calls are seen */
	__u64 reader_root_dentry, reader_root_mount; /* addresses, to compare */
};
AA_ASSERT_SIZE(struct aa_control, 72);

#define AA_LINEAGE_SETTLED 0u

/* What the task iterator writes for each task: init-namespace numbers, and those of the reader's namespace. */
struct aa_task {
	__u32 tgid, tid, parent_tgid;
	__u32 reader_tgid, reader_tid; /* 0: not visible to the reader */
	__u32 reader_level;
	__u32 is_live;	    /* its process has threads that have not exited: not a zombie */
	__u32 has_listener; /* somebody answers calls of it: seccomp(SECCOMP_FILTER_FLAG_NEW_LISTENER) */
};
AA_ASSERT_SIZE(struct aa_task, 32);

#endif

/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The kernel's own structures, as far as we read them. Offsets come from the running kernel's BTF (CO-RE), so only
 * names and types matter here, not order or size; a megabyte of vmlinux.h would say no more.
 */
#ifndef AA_KERNEL_BPF_H
#define AA_KERNEL_BPF_H

#include <linux/bpf.h>
#include <linux/types.h>

#include "fileio_abi.h"

/* bpf_tracing.h would take these from vmlinux.h or the user-space header; we declare the kernel's. */
#define bool _Bool
#define true 1
#define false 0
#define NULL ((void *)0)

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct pt_regs {
	unsigned long bp, bx, cx, r10, r9, r8, dx, si, di, ax, orig_ax;
};

struct qstr {
	union {
		struct {
			__u32 hash;
			__u32 len;
		};
		__u64 hash_len;
	};
	const unsigned char *name;
};

struct super_block {
	__u32 s_dev;
	unsigned long s_flags;
	unsigned long s_magic;
};

struct inode {
	__u16 i_mode;
	__u32 i_rdev;
	unsigned long i_ino;
	struct super_block *i_sb;
	void *i_private;
	__u32 i_generation;
	void *i_fsnotify_marks;
};

struct hlist_bl_node {
	struct hlist_bl_node *next, **pprev;
};

struct seqcount {
	unsigned int sequence;
};

struct seqcount_spinlock {
	struct seqcount seqcount;
};

struct dentry {
	struct seqcount_spinlock d_seq; /* odd while a rename changes name and parent, and another one after it */
	struct hlist_bl_node d_hash;
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
};

struct vfsmount {
	struct dentry *mnt_root;
	int mnt_flags;
};

struct mount;

struct mountpoint {
	struct dentry *m_dentry;
};

struct mnt_namespace {
	struct mount *root;
	unsigned long long event; /* of the last change of its mounts, as poll(2) of /proc/PID/mounts tells it */
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	struct mnt_namespace *mnt_ns;
	struct mountpoint *mnt_mp;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
	long long f_pos;
	unsigned int f_mode;
	unsigned int f_flags;
};

struct fs_struct {
	int users;
	struct path root, pwd;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
	unsigned long *open_fds;
};

typedef struct {
	int counter;
} atomic_t;

struct files_struct {
	atomic_t count;
	struct fdtable *fdt;
};

struct proc_ns_operations {
	const char *name; /* "mnt" */
};

struct ns_common {
	struct proc_ns_operations *ops; /* not const: clang 22 makes a variable of the member's type */
	unsigned int inum;
};

struct pid_namespace {
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct sock_common {
	__u16 skc_family;
};

struct sock {
	struct sock_common __sk_common;
	struct pid *sk_peer_pid; /* of the process that had the other end when it was connected */
};

struct socket {
	short type;
	struct sock *sk;
};

struct file___socket {
	struct socket *private_data;
};

struct file___pidfd { /* until pidfs came */
	struct pid *private_data;
};

struct sockaddr_un {
	char sun_path[108];
};

struct unix_address {
	struct sockaddr_un name[1];
};

struct unix_sock {
	struct unix_address *addr; /* the kernel's copy of what it was bound to */
	struct path path;	   /* and the file that it made for that */
	struct sock *peer;
};

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

struct pid {
	unsigned int level;
	struct hlist_head tasks[4]; /* by enum aa_pid_type */
	struct upid numbers[1];
};

enum aa_pid_type { AA_PIDTYPE_PID, AA_PIDTYPE_TGID }; /* include/linux/pid_types.h */

struct core_state;

struct signal_struct {
	struct core_state *core_state; /* 5.16; a process that dumps core has one */
	atomic_t live;
	struct pid *pids[4];
};

struct thread_info {
	__u32 status;
};

typedef struct {
	__u32 val;
} kuid_t;

struct cred {
	kuid_t uid;
};

/* fs/aio.c */
struct kioctx {
	unsigned long user_id;
};

struct kioctx_table {
	unsigned int nr;
	struct kioctx *table[];
};

struct mm_struct {
	struct kioctx_table *ioctx_table;
	atomic_t mm_users; /* threads, and whoever holds it for a moment */
};

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

/* kernel/seccomp.c */
struct seccomp_filter {
	struct seccomp_filter *prev;
	void *notif; /* somebody listens, and answers calls */
};

struct seccomp {
	struct seccomp_filter *filter;
};

struct io_uring_task;

struct task_struct {
	struct thread_info thread_info;
	void *stack;
	unsigned int flags;
	int pid, tgid;
	char comm[16];
	const struct cred *cred;
	struct css_set *cgroups;
	struct task_struct *real_parent, *group_leader;
	__u64 start_boottime;
	struct pid *thread_pid;
	struct hlist_node pid_links[4]; /* in struct pid, tasks */
	struct signal_struct *signal;
	struct fs_struct *fs;
	struct files_struct *files;
	struct io_uring_task *io_uring; /* of a thread that has used a ring */
	struct mm_struct *mm;
	struct seccomp seccomp;
};

struct linux_binprm {
	struct file *file;
	const char *filename; /* the kernel's copy of the name as passed */
	const char *interp;   /* the same, unless it is a script */
	const char *fdpath;   /* of execveat() by a descriptor: the same, and no name that was passed */
	unsigned long exec;   /* where the new program has `filename` */
};

struct kprobe {
	void *fault_handler; /* until 5.14 */
};

struct timespec64 {
	long long tv_sec;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

#pragma clang attribute pop

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* A bound the verifier sees and the compiler cannot fold away, move, or apply to a copy. `mask` is a constant. */
#define aa_mask(value, mask) asm volatile("%0 &= %1" : "+r"(value) : "i"(mask))

/*
 * aa_read(pointer, member, ...): pointer->member->..., of a kernel structure; 0 where there is no such memory.
 *
 * This source is compiled twice. From 6.2 on (a35b9af4ec2c) any address can be given a type, and is then followed by
 * plain loads, each of which the kernel guards: less than a nanosecond. Before that each step is a call of
 * bpf_probe_read_kernel(): 33 ns, whatever it copies, on the same machine (6.18, Zen 4).
 */
#ifdef AA_DIRECT
/* Called by a mark, and with one for the type: see AA_MARK_CAST. */
static void *(*const aa_cast)(const void *address, __u32 type) = (void *)AA_MARK_CAST;

/* Every type is taken for a number at the address of it: what is read through a pointer's own type is a pointer to the
 * verifier, and may not be reckoned with. */
#define aa_load(type, address)                                                                                         \
	(*(type *)&((struct timespec64 *)aa_cast((const void *)(address), AA_MARK_timespec64))->tv_sec)
#define aa_member(pointer, a) typeof(((typeof(*(pointer)) *)0)->a)
#define aa_read_1(pointer, a)                                                                                          \
	aa_load(aa_member(pointer, a), (const char *)(pointer) + bpf_core_field_offset(typeof(*(pointer)), a))
#define aa_read_2(pointer, a, b) aa_read_1(aa_read_1(pointer, a), b)
#define aa_read_3(pointer, a, b, c) aa_read_1(aa_read_2(pointer, a, b), c)
#define aa_read_4(pointer, a, b, c, d) aa_read_1(aa_read_3(pointer, a, b, c), d)
#define aa_read_n(_1, _2, _3, _4, name, ...) name
#define aa_read(pointer, ...) aa_read_n(__VA_ARGS__, aa_read_4, aa_read_3, aa_read_2, aa_read_1)(pointer, __VA_ARGS__)
/* Several members of one structure: a view of it, typed once. Pointers read so may be compared and kept, no more. */
#define aa_view(pointer, name) ((struct name *)aa_cast((const void *)(pointer), AA_MARK_##name))
#define aa_of(view, a) ((view)->a)
#else
#define aa_read(pointer, ...) BPF_CORE_READ(pointer, __VA_ARGS__)
#define aa_view(pointer, name) (pointer)
#define aa_of(view, a) BPF_CORE_READ(view, a)
#endif

/* What lies at an address: an element of an array of pointers. */
static __always_inline void *aa_read_pointer(const void *address)
{
#ifdef AA_DIRECT
	return aa_load(void *, address);
#else
	void *pointer = NULL;

	bpf_probe_read_kernel(&pointer, sizeof(pointer), address);
	return pointer;
#endif
}

/*
 * Several members of a structure in one copy of its first bytes, where each copy is a call. Where a kernel has a member
 * elsewhere they are copied one by one: the comparison is of constants, so only one of the two ways is ever looked at
 * by the verifier.
 */
#ifdef AA_DIRECT
#define AA_IN_HEAD(type, member, bytes) false
#else
#define AA_IN_HEAD(type, member, bytes) (bpf_core_field_offset(type, member) <= (bytes) - sizeof(((type *)0)->member))
#endif
#define AA_OF_HEAD(head, as, type, member) (*(as *)((head) + bpf_core_field_offset(type, member)))

#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define S_IFLNK 0120000
#define S_IFREG 0100000
#define S_IFBLK 0060000
#define S_IFDIR 0040000
#define S_IFCHR 0020000
#define S_IFIFO 0010000

#define O_ACCMODE 3
#define O_CREAT 0100
#define O_DIRECTORY 0200000
#define O_PATH 010000000
#define O_TMPFILE_BIT 020000000 /* __O_TMPFILE */
#define AT_FDCWD -100
#define EBADF 9
#define EFAULT 14
#define ENOSYS 38
#define EEXIST 17
#define EINVAL 22
#define ENAMETOOLONG 36

#define MADV_REMOVE 9 /* include/uapi/asm-generic/mman-common.h */
#define MAP_ANONYMOUS 0x20
#define AF_UNIX 1
#define IOCSIZE_MASK 0x3fff0000	 /* include/uapi/asm-generic/ioctl.h */
#define FS_IOC_RESVSP 0x40005828 /* include/uapi/linux/falloc.h, without the size, which 32-bit programs differ in */
#define FS_IOC_UNRESVSP 0x40005829
#define FS_IOC_RESVSP64 0x4000582a
#define FS_IOC_UNRESVSP64 0x4000582b
#define FS_IOC_ZERO_RANGE 0x40005839
#define FICLONE 0x40049409 /* include/uapi/linux/fs.h */
#define FICLONERANGE 0x4020940d
#define FIDEDUPERANGE 0xc0189436
#define PTRACE_ATTACH 16 /* include/uapi/linux/ptrace.h */
#define PTRACE_SEIZE 0x4206
#define USERFAULTFD_IOC_NEW 0xaa00 /* include/uapi/linux/userfaultfd.h */
#define SECCOMP_IOCTL_NOTIF_ADDFD 0x40182103
#define SECCOMP_SET_MODE_FILTER 1 /* include/uapi/linux/seccomp.h */
#define SECCOMP_FILTER_FLAG_NEW_LISTENER 8
#define F_DUPFD 0
#define MAY_WRITE 2 /* include/linux/fs.h */
#define F_DUPFD_CLOEXEC 1030
#define FAN_MARK_FLUSH 0x80 /* include/uapi/linux/fanotify.h */

#define SYS_BIND 2 /* include/uapi/linux/net.h */
#define SYS_CONNECT 3
#define SYS_SENDMSG 16
#define SYS_RECVMSG 17
#define SYS_RECVMMSG 19
#define SYS_SENDMMSG 20
#define INT_MAX 0x7fffffff
#define SOL_SOCKET 1 /* include/linux/socket.h */
#define SCM_RIGHTS 1
#define TS_COMPAT 0x0002 /* arch/x86/include/asm/thread_info.h */
#define FMODE_WRITE 0x2	 /* include/linux/fs.h */
#define FMODE_LSEEK 0x4
#define FMODE_STREAM 0x200000
#define FMODE_NOACCOUNT 0x20000000
#define KERNEL_OPEN_FLAGS                                                                                              \
	(0x20 | 0100000 | 0x4000000) /* of a file, that no open(2) can ask for: __FMODE_EXEC, O_LARGEFILE,             \
					__FMODE_NONOTIFY */
#define SB_KERNMOUNT (1 << 22)
#define MNT_INTERNAL 0x4000 /* include/linux/mount.h */
#define PF_IO_WORKER 0x10   /* include/linux/sched.h, since 5.12 */

#define TMPFS_MAGIC 0x01021994 /* include/uapi/linux/magic.h */
#define HUGETLBFS_MAGIC 0x958458f6
#define ANON_INODE_FS_MAGIC 0x09041934
#define PID_FS_MAGIC 0x50494446 /* 6.9 */
#define MQUEUE_MAGIC 0x19800202 /* ipc/mqueue.c */
#define NSFS_MAGIC 0x6e736673
#define RESOLVE_IN_ROOT 0x10 /* include/uapi/linux/openat2.h */

/* fs/mount.h: MNT_NS_INTERNAL is ERR_PTR(-EINVAL), the namespace of mounts nobody can reach by a name. */
#define MNT_NS_INTERNAL (-22L)

#endif

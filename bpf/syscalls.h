/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The one table of system calls. A row is a call: it appears in every backend, in SYSCALLS, in `targets` and in the
 * documents' table without a second edit.
 *
 *   AA_CALL(program, call, function, number, operation, origin, what its arguments are…)
 *     program    stem of its BPF programs: <program> at entry, <program>_ret at return
 *     call       its name, as the manual page has it
 *     function   the kernel function is __x64_sys_<function>
 *     number     of x86_64 (arch/x86/entry/syscalls/syscall_64.tbl)
 *     operation  of AA_OPERATIONS
 *     origin     1: one of KPROBE_TARGETS, the set this project began with; it never grows
 *
 * Arguments count from 1, as in the manual page; what is not named does not apply.
 *     .fd         descriptor the call works on      .path, .dirfd     first name and the directory it is relative to
 *     .fd2        the other one, of a copy          .path2, .dirfd2   second name
 *     .count      bytes asked for, or a length      .flags            flags as passed
 *     .offset     the position, as a number         .mode             permission bits, protection, access asked for
 *     .offset_at  pointer to the position; NULL: that of the descriptor
 *     .iovec      array of parts, whose lengths add up to the count; .count is their number
 *     .how        struct open_how: flags and mode
 *     .returns_fd the result is a new descriptor    .moves            the result is a number of bytes
 *     .implied    flags that the call stands for
 *     .if_flag, .then_operation   with this flag it is another operation
 *     .empty      an empty name means the directory's descriptor itself, when the flags say so: enum aa_empty
 *     .null       so does NULL, whatever they say
 *     .closes     the descriptor is closed: 1, and those behind it: 2
 *     .sets_pwd   what the name led to is the current directory afterwards
 *     .when       taken only when the arguments say so: enum aa_when
 *     .announces  some of its arguments make it a BLIND_SPOT, whatever is asked for: see aa_is_meant()
 */
#ifndef AA_SYSCALLS_H
#define AA_SYSCALLS_H

#include "fileio_abi.h"

#define AA_IOCTL_OF_SPACE 0x4000 /* of the type 'X', which 0x94 has not: see AA_WHEN_BLOCKS */
#define AA_AT_REMOVEDIR 0x200	 /* include/uapi/linux/fcntl.h */
#define AA_AT_EMPTY_PATH 0x1000
#define AA_MOVE_MOUNT_F_EMPTY_PATH 0x4 /* include/uapi/linux/mount.h */
#define AA_MOVE_MOUNT_T_EMPTY_PATH 0x40
#define AA_FSPICK_EMPTY_PATH 0x8
#define AA_MAP_SHARED 1	     /* and MAP_SHARED_VALIDATE: include/uapi/linux/mman.h */
#define AA_CREAT_FLAGS 01101 /* O_CREAT | O_WRONLY | O_TRUNC, as creat(2) says */

/* Calls that do many things: which of them is a file operation. Looked at before anything is counted. */
enum aa_when {
	AA_WHEN_ALWAYS,
	AA_WHEN_REMOVE,	   /* madvise(…, MADV_REMOVE) */
	AA_WHEN_UNIX_PATH, /* bind() of an AF_UNIX address that is a path; the name is inside the address */
	AA_WHEN_BLOCKS,	 /* ioctl(FICLONE, FICLONERANGE, FIDEDUPERANGE, FS_IOC_RESVSP and the other four of its kind) */
	AA_WHEN_OF_FILE, /* mmap() without MAP_ANONYMOUS; MAP_SHARED is one where the file may be written to */
	AA_WHEN_DUPLICATES, /* fcntl(F_DUPFD, F_DUPFD_CLOEXEC) */
	AA_WHEN_SEIZES,	    /* ptrace(PTRACE_ATTACH, PTRACE_SEIZE) */
	AA_WHEN_RINGS_HIDE, /* io_uring_setup() where the ring's requests are not seen */
	AA_WHEN_HANDS_OVER, /* connect() to one that does work for others; the name is inside the address */
	AA_WHEN_RECEIVES,   /* recvmsg(), recvmmsg() of a message with descriptors: the first of them is told */
	AA_WHEN_GIVES,	    /* sendmsg(), sendmmsg() of a message with descriptors: the first of them is told */
	AA_WHEN_AIO_HIDES,  /* io_submit() where its requests are not seen */
	AA_WHEN_MARKS,	    /* fanotify_mark() without FAN_MARK_FLUSH, which looks at no name */
	AA_WHEN_TAKES,	    /* of a watched process, where who takes it is not watched */
	AA_WHEN_LISTENS,    /* SECCOMP_SET_MODE_FILTER with SECCOMP_FILTER_FLAG_NEW_LISTENER */
};

enum aa_empty {
	AA_EMPTY_NEVER,
	AA_EMPTY_BY_FLAG,	  /* AT_EMPTY_PATH */
	AA_EMPTY_OR_NULL_BY_FLAG, /* and NULL too (6.11, 6.13; before, it is EFAULT) */
	AA_EMPTY_ALWAYS,	  /* but not the current directory */
	AA_EMPTY_MOVE_MOUNT,	  /* MOVE_MOUNT_F_EMPTY_PATH and _T_EMPTY_PATH, for the one name and the other */
	AA_EMPTY_FSPICK,	  /* FSPICK_EMPTY_PATH */
};

/* clang-format off */
#define AA_CALLS(AA_CALL) \
	AA_CALL(aa_sys_openat, openat, openat, 257, OPEN, 1, \
		.dirfd = 1, .path = 2, .flags = 3, .mode = 4, .returns_fd = 1) \
	AA_CALL(aa_sys_read, read, read, 0, READ, 1, .fd = 1, .count = 3, .moves = 1) \
	AA_CALL(aa_sys_write, write, write, 1, WRITE, 1, .fd = 1, .count = 3, .moves = 1) \
	AA_CALL(aa_sys_unlink, unlinkat, unlinkat, 263, UNLINK, 1, \
		.dirfd = 1, .path = 2, .flags = 3, .if_flag = AA_AT_REMOVEDIR, .then_operation = AA_OPERATION_RMDIR) \
	AA_CALL(aa_sys_unlink_legacy, unlink, unlink, 87, UNLINK, 1, .path = 1) \
	AA_CALL(aa_sys_rename, renameat2, renameat2, 316, RENAME, 1, \
		.dirfd = 1, .path = 2, .dirfd2 = 3, .path2 = 4, .flags = 5) \
	AA_CALL(aa_sys_rename_legacy, rename, rename, 82, RENAME, 1, .path = 1, .path2 = 2) \
	/* opens */ \
	AA_CALL(aa_sys_open, open, open, 2, OPEN, 0, .path = 1, .flags = 2, .mode = 3, .returns_fd = 1) \
	AA_CALL(aa_sys_creat, creat, creat, 85, OPEN, 0, .path = 1, .mode = 2, .implied = AA_CREAT_FLAGS, .returns_fd = 1) \
	AA_CALL(aa_sys_openat2, openat2, openat2, 437, OPEN, 0, .dirfd = 1, .path = 2, .how = 3, .returns_fd = 1) \
	AA_CALL(aa_sys_open_by_handle_at, open_by_handle_at, open_by_handle_at, 304, OPEN, 0, \
		.dirfd = 1, .flags = 3, .returns_fd = 1) \
	AA_CALL(aa_sys_memfd_create, memfd_create, memfd_create, 319, MEMFD, 0, .flags = 2, .returns_fd = 1) \
	/* reads and writes */ \
	AA_CALL(aa_sys_pread64, pread64, pread64, 17, READ, 0, .fd = 1, .count = 3, .offset = 4, .moves = 1) \
	AA_CALL(aa_sys_readv, readv, readv, 19, READ, 0, .fd = 1, .iovec = 2, .count = 3, .moves = 1) \
	AA_CALL(aa_sys_preadv, preadv, preadv, 295, READ, 0, .fd = 1, .iovec = 2, .count = 3, .offset = 4, .moves = 1) \
	AA_CALL(aa_sys_preadv2, preadv2, preadv2, 327, READ, 0, \
		.fd = 1, .iovec = 2, .count = 3, .offset = 4, .flags = 6, .moves = 1) \
	AA_CALL(aa_sys_pwrite64, pwrite64, pwrite64, 18, WRITE, 0, .fd = 1, .count = 3, .offset = 4, .moves = 1) \
	AA_CALL(aa_sys_writev, writev, writev, 20, WRITE, 0, .fd = 1, .iovec = 2, .count = 3, .moves = 1) \
	AA_CALL(aa_sys_pwritev, pwritev, pwritev, 296, WRITE, 0, .fd = 1, .iovec = 2, .count = 3, .offset = 4, .moves = 1) \
	AA_CALL(aa_sys_pwritev2, pwritev2, pwritev2, 328, WRITE, 0, \
		.fd = 1, .iovec = 2, .count = 3, .offset = 4, .flags = 6, .moves = 1) \
	/* lengths */ \
	AA_CALL(aa_sys_truncate, truncate, truncate, 76, TRUNCATE, 0, .path = 1, .count = 2) \
	AA_CALL(aa_sys_ftruncate, ftruncate, ftruncate, 77, TRUNCATE, 0, .fd = 1, .count = 2) \
	AA_CALL(aa_sys_fallocate, fallocate, fallocate, 285, ALLOCATE, 0, .fd = 1, .flags = 2, .offset = 3, .count = 4) \
	AA_CALL(aa_sys_madvise, madvise, madvise, 28, ALLOCATE, 0, .count = 2, .flags = 3, .when = AA_WHEN_REMOVE) \
	/* names */ \
	AA_CALL(aa_sys_rmdir, rmdir, rmdir, 84, RMDIR, 0, .path = 1) \
	AA_CALL(aa_sys_renameat, renameat, renameat, 264, RENAME, 0, .dirfd = 1, .path = 2, .dirfd2 = 3, .path2 = 4) \
	AA_CALL(aa_sys_link, link, link, 86, LINK, 0, .path = 1, .path2 = 2) \
	AA_CALL(aa_sys_linkat, linkat, linkat, 265, LINK, 0, \
		.dirfd = 1, .path = 2, .dirfd2 = 3, .path2 = 4, .flags = 5, .empty = AA_EMPTY_BY_FLAG) \
	AA_CALL(aa_sys_symlink, symlink, symlink, 88, SYMLINK, 0, .path = 2) \
	AA_CALL(aa_sys_symlinkat, symlinkat, symlinkat, 266, SYMLINK, 0, .dirfd = 2, .path = 3) \
	AA_CALL(aa_sys_mkdir, mkdir, mkdir, 83, MKDIR, 0, .path = 1, .mode = 2) \
	AA_CALL(aa_sys_mkdirat, mkdirat, mkdirat, 258, MKDIR, 0, .dirfd = 1, .path = 2, .mode = 3) \
	AA_CALL(aa_sys_mknod, mknod, mknod, 133, MKNOD, 0, .path = 1, .mode = 2) \
	AA_CALL(aa_sys_mknodat, mknodat, mknodat, 259, MKNOD, 0, .dirfd = 1, .path = 2, .mode = 3) \
	AA_CALL(aa_sys_bind, bind, bind, 49, MKNOD, 0, .fd = 1, .path = 2, .when = AA_WHEN_UNIX_PATH) \
	/* attributes */ \
	AA_CALL(aa_sys_chmod, chmod, chmod, 90, CHMOD, 0, .path = 1, .mode = 2) \
	AA_CALL(aa_sys_fchmod, fchmod, fchmod, 91, CHMOD, 0, .fd = 1, .mode = 2) \
	AA_CALL(aa_sys_fchmodat, fchmodat, fchmodat, 268, CHMOD, 0, .dirfd = 1, .path = 2, .mode = 3) \
	AA_CALL(aa_sys_fchmodat2, fchmodat2, fchmodat2, 452, CHMOD, 0, \
		.dirfd = 1, .path = 2, .mode = 3, .flags = 4, .empty = AA_EMPTY_BY_FLAG) \
	AA_CALL(aa_sys_chown, chown, chown, 92, CHOWN, 0, .path = 1) \
	AA_CALL(aa_sys_fchown, fchown, fchown, 93, CHOWN, 0, .fd = 1) \
	AA_CALL(aa_sys_lchown, lchown, lchown, 94, CHOWN, 0, .path = 1) \
	AA_CALL(aa_sys_fchownat, fchownat, fchownat, 260, CHOWN, 0, .dirfd = 1, .path = 2, .flags = 5, .empty = AA_EMPTY_BY_FLAG) \
	AA_CALL(aa_sys_utime, utime, utime, 132, UTIME, 0, .path = 1) \
	AA_CALL(aa_sys_utimes, utimes, utimes, 235, UTIME, 0, .path = 1) \
	AA_CALL(aa_sys_futimesat, futimesat, futimesat, 261, UTIME, 0, .dirfd = 1, .path = 2, .null = 1) \
	AA_CALL(aa_sys_utimensat, utimensat, utimensat, 280, UTIME, 0, \
		.dirfd = 1, .path = 2, .flags = 4, .empty = AA_EMPTY_BY_FLAG, .null = 1) \
	AA_CALL(aa_sys_setxattr, setxattr, setxattr, 188, XATTR, 0, .path = 1, .count = 4, .flags = 5) \
	AA_CALL(aa_sys_lsetxattr, lsetxattr, lsetxattr, 189, XATTR, 0, .path = 1, .count = 4, .flags = 5) \
	AA_CALL(aa_sys_fsetxattr, fsetxattr, fsetxattr, 190, XATTR, 0, .fd = 1, .count = 4, .flags = 5) \
	AA_CALL(aa_sys_setxattrat, setxattrat, setxattrat, 463, XATTR, 0, .dirfd = 1, .path = 2, .flags = 3, .empty = AA_EMPTY_OR_NULL_BY_FLAG) \
	AA_CALL(aa_sys_removexattr, removexattr, removexattr, 197, XATTR, 0, .path = 1) \
	AA_CALL(aa_sys_lremovexattr, lremovexattr, lremovexattr, 198, XATTR, 0, .path = 1) \
	AA_CALL(aa_sys_fremovexattr, fremovexattr, fremovexattr, 199, XATTR, 0, .fd = 1) \
	AA_CALL(aa_sys_removexattrat, removexattrat, removexattrat, 466, XATTR, 0, \
		.dirfd = 1, .path = 2, .flags = 3, .empty = AA_EMPTY_OR_NULL_BY_FLAG) \
	/* from file to file */ \
	AA_CALL(aa_sys_copy_file_range, copy_file_range, copy_file_range, 326, COPY, 0, \
		.fd = 1, .offset_at = 2, .fd2 = 3, .count = 5, .flags = 6, .moves = 1) \
	AA_CALL(aa_sys_sendfile, sendfile, sendfile64, 40, COPY, 0, \
		.fd = 2, .fd2 = 1, .offset_at = 3, .count = 4, .moves = 1) \
	AA_CALL(aa_sys_splice, splice, splice, 275, COPY, 0, \
		.fd = 1, .offset_at = 2, .fd2 = 3, .count = 5, .flags = 6, .moves = 1) \
	AA_CALL(aa_sys_tee, tee, tee, 276, COPY, 0, .fd = 1, .fd2 = 2, .count = 3, .flags = 4, .moves = 1) \
	AA_CALL(aa_sys_vmsplice, vmsplice, vmsplice, 278, COPY, 0, \
		.fd = 1, .iovec = 2, .count = 3, .flags = 4, .moves = 1) \
	AA_CALL(aa_sys_ioctl, ioctl, ioctl, 16, COPY, 0, .fd = 1, .fd2 = 3, .flags = 2, .when = AA_WHEN_BLOCKS, \
		.if_flag = AA_IOCTL_OF_SPACE, .then_operation = AA_OPERATION_ALLOCATE, .announces = 1) \
	/* memory */ \
	AA_CALL(aa_sys_mmap, mmap, mmap, 9, MAP, 0, \
		.count = 2, .mode = 3, .flags = 4, .fd = 5, .offset = 6, .when = AA_WHEN_OF_FILE, \
		.if_flag = AA_MAP_SHARED, .then_operation = AA_OPERATION_BLIND_SPOT) \
	AA_CALL(aa_sys_msync, msync, msync, 26, SYNC, 0, .count = 2, .flags = 3) \
	/* to the disk */ \
	AA_CALL(aa_sys_fsync, fsync, fsync, 74, SYNC, 0, .fd = 1) \
	AA_CALL(aa_sys_fdatasync, fdatasync, fdatasync, 75, SYNC, 0, .fd = 1) \
	AA_CALL(aa_sys_syncfs, syncfs, syncfs, 306, SYNC, 0, .fd = 1) \
	AA_CALL(aa_sys_sync_file_range, sync_file_range, sync_file_range, 277, SYNC, 0, \
		.fd = 1, .offset = 2, .count = 3, .flags = 4) \
	/* descriptors */ \
	AA_CALL(aa_sys_close, close, close, 3, CLOSE, 0, .fd = 1, .closes = 1) \
	AA_CALL(aa_sys_close_range, close_range, close_range, 436, CLOSE, 0, .fd = 1, .flags = 3, .closes = 2) \
	AA_CALL(aa_sys_dup, dup, dup, 32, DUP, 0, .fd = 1) \
	AA_CALL(aa_sys_dup2, dup2, dup2, 33, DUP, 0, .fd = 1) \
	AA_CALL(aa_sys_dup3, dup3, dup3, 292, DUP, 0, .fd = 1, .flags = 3) \
	AA_CALL(aa_sys_fcntl, fcntl, fcntl, 72, DUP, 0, .fd = 1, .when = AA_WHEN_DUPLICATES) \
	/* programs and places */ \
	AA_CALL(aa_sys_execve, execve, execve, 59, EXEC, 0, .path = 1) \
	AA_CALL(aa_sys_execveat, execveat, execveat, 322, EXEC, 0, .dirfd = 1, .path = 2, .flags = 5, .empty = AA_EMPTY_BY_FLAG) \
	AA_CALL(aa_sys_chdir, chdir, chdir, 80, CHDIR, 0, .path = 1, .sets_pwd = 1) \
	AA_CALL(aa_sys_fchdir, fchdir, fchdir, 81, CHDIR, 0, .fd = 1) \
	AA_CALL(aa_sys_chroot, chroot, chroot, 161, CHDIR, 0, .path = 1) \
	AA_CALL(aa_sys_mount, mount, mount, 165, MOUNT, 0, .path = 2, .flags = 4) \
	AA_CALL(aa_sys_umount2, umount2, umount, 166, MOUNT, 0, .path = 1, .flags = 2) \
	AA_CALL(aa_sys_move_mount, move_mount, move_mount, 429, MOUNT, 0, \
		.dirfd = 1, .path = 2, .dirfd2 = 3, .path2 = 4, .flags = 5, .empty = AA_EMPTY_MOVE_MOUNT) \
	AA_CALL(aa_sys_pivot_root, pivot_root, pivot_root, 155, MOUNT, 0, .path = 1, .path2 = 2) \
	AA_CALL(aa_sys_open_tree, open_tree, open_tree, 428, MOUNT, 0, \
		.dirfd = 1, .path = 2, .flags = 3, .empty = AA_EMPTY_BY_FLAG) \
	AA_CALL(aa_sys_open_tree_attr, open_tree_attr, open_tree_attr, 467, MOUNT, 0, \
		.dirfd = 1, .path = 2, .flags = 3, .empty = AA_EMPTY_BY_FLAG) \
	AA_CALL(aa_sys_mount_setattr, mount_setattr, mount_setattr, 442, MOUNT, 0, \
		.dirfd = 1, .path = 2, .flags = 3, .empty = AA_EMPTY_BY_FLAG) \
	AA_CALL(aa_sys_fspick, fspick, fspick, 433, MOUNT, 0, .dirfd = 1, .path = 2, .flags = 3, .empty = AA_EMPTY_FSPICK) \
	/* looking */ \
	AA_CALL(aa_sys_stat, stat, newstat, 4, STAT, 0, .path = 1) \
	AA_CALL(aa_sys_fstat, fstat, newfstat, 5, STAT, 0, .fd = 1) \
	AA_CALL(aa_sys_lstat, lstat, newlstat, 6, STAT, 0, .path = 1) \
	AA_CALL(aa_sys_newfstatat, newfstatat, newfstatat, 262, STAT, 0, .dirfd = 1, .path = 2, .flags = 4, .empty = AA_EMPTY_OR_NULL_BY_FLAG) \
	AA_CALL(aa_sys_statx, statx, statx, 332, STAT, 0, .dirfd = 1, .path = 2, .flags = 3, .empty = AA_EMPTY_OR_NULL_BY_FLAG) \
	AA_CALL(aa_sys_access, access, access, 21, STAT, 0, .path = 1, .mode = 2) \
	AA_CALL(aa_sys_faccessat, faccessat, faccessat, 269, STAT, 0, .dirfd = 1, .path = 2, .mode = 3) \
	AA_CALL(aa_sys_faccessat2, faccessat2, faccessat2, 439, STAT, 0, \
		.dirfd = 1, .path = 2, .mode = 3, .flags = 4, .empty = AA_EMPTY_BY_FLAG) \
	AA_CALL(aa_sys_readlink, readlink, readlink, 89, STAT, 0, .path = 1, .count = 3, .moves = 1) \
	AA_CALL(aa_sys_readlinkat, readlinkat, readlinkat, 267, STAT, 0, .dirfd = 1, .path = 2, .empty = AA_EMPTY_ALWAYS, .count = 4, .moves = 1) \
	AA_CALL(aa_sys_getxattr, getxattr, getxattr, 191, STAT, 0, .path = 1, .count = 4, .moves = 1) \
	AA_CALL(aa_sys_lgetxattr, lgetxattr, lgetxattr, 192, STAT, 0, .path = 1, .count = 4, .moves = 1) \
	AA_CALL(aa_sys_fgetxattr, fgetxattr, fgetxattr, 193, STAT, 0, .fd = 1, .count = 4, .moves = 1) \
	AA_CALL(aa_sys_listxattr, listxattr, listxattr, 194, STAT, 0, .path = 1, .count = 3, .moves = 1) \
	AA_CALL(aa_sys_llistxattr, llistxattr, llistxattr, 195, STAT, 0, .path = 1, .count = 3, .moves = 1) \
	AA_CALL(aa_sys_flistxattr, flistxattr, flistxattr, 196, STAT, 0, .fd = 1, .count = 3, .moves = 1) \
	AA_CALL(aa_sys_getxattrat, getxattrat, getxattrat, 464, STAT, 0, \
		.dirfd = 1, .path = 2, .flags = 3, .empty = AA_EMPTY_OR_NULL_BY_FLAG, .moves = 1) \
	AA_CALL(aa_sys_listxattrat, listxattrat, listxattrat, 465, STAT, 0, \
		.dirfd = 1, .path = 2, .flags = 3, .empty = AA_EMPTY_OR_NULL_BY_FLAG, .count = 5, .moves = 1) \
	AA_CALL(aa_sys_statfs, statfs, statfs, 137, STAT, 0, .path = 1) \
	AA_CALL(aa_sys_fstatfs, fstatfs, fstatfs, 138, STAT, 0, .fd = 1) \
	AA_CALL(aa_sys_name_to_handle_at, name_to_handle_at, name_to_handle_at, 303, STAT, 0, \
		.dirfd = 1, .path = 2, .flags = 5, .empty = AA_EMPTY_BY_FLAG) \
	AA_CALL(aa_sys_inotify_add_watch, inotify_add_watch, inotify_add_watch, 254, STAT, 0, .fd = 1, .path = 2, .flags = 3) \
	AA_CALL(aa_sys_fanotify_mark, fanotify_mark, fanotify_mark, 301, STAT, 0, \
		.fd = 1, .flags = 2, .dirfd = 4, .path = 5, .null = 1, .when = AA_WHEN_MARKS) \
	AA_CALL(aa_sys_getdents, getdents, getdents, 78, LIST, 0, .fd = 1, .count = 3, .moves = 1) \
	AA_CALL(aa_sys_getdents64, getdents64, getdents64, 217, LIST, 0, .fd = 1, .count = 3, .moves = 1) \
	/* after which something may happen that is not seen; told if they succeed, whatever was asked for */ \
	AA_CALL(aa_sys_io_uring_setup, io_uring_setup, io_uring_setup, 425, BLIND_SPOT, 0, \
		.count = 1, .returns_fd = 1, .when = AA_WHEN_RINGS_HIDE) \
	AA_CALL(aa_sys_io_submit, io_submit, io_submit, 209, BLIND_SPOT, 0, .count = 2, .when = AA_WHEN_AIO_HIDES) \
	AA_CALL(aa_sys_process_vm_writev, process_vm_writev, process_vm_writev, 311, BLIND_SPOT, 0, .flags = 6) \
	AA_CALL(aa_sys_ptrace, ptrace, ptrace, 101, BLIND_SPOT, 0, .flags = 1, .when = AA_WHEN_SEIZES) \
	AA_CALL(aa_sys_userfaultfd, userfaultfd, userfaultfd, 323, BLIND_SPOT, 0, .flags = 1, .returns_fd = 1) \
	AA_CALL(aa_sys_connect, connect, connect, 42, BLIND_SPOT, 0, .fd = 1, .path = 2, .when = AA_WHEN_HANDS_OVER) \
	AA_CALL(aa_sys_recvmsg, recvmsg, recvmsg, 47, BLIND_SPOT, 0, .flags = 3, .when = AA_WHEN_RECEIVES) \
	AA_CALL(aa_sys_recvmmsg, recvmmsg, recvmmsg, 299, BLIND_SPOT, 0, .count = 3, .flags = 4, .when = AA_WHEN_RECEIVES) \
	AA_CALL(aa_sys_sendmsg, sendmsg, sendmsg, 46, BLIND_SPOT, 0, .flags = 3, .when = AA_WHEN_GIVES) \
	AA_CALL(aa_sys_sendmmsg, sendmmsg, sendmmsg, 307, BLIND_SPOT, 0, .count = 3, .flags = 4, .when = AA_WHEN_GIVES) \
	AA_CALL(aa_sys_seccomp, seccomp, seccomp, 317, BLIND_SPOT, 0, .flags = 2, .returns_fd = 1, .when = AA_WHEN_LISTENS) \
	AA_CALL(aa_sys_pidfd_getfd, pidfd_getfd, pidfd_getfd, 438, BLIND_SPOT, 0, .flags = 3, .returns_fd = 1, .when = AA_WHEN_TAKES)
/* clang-format on */

struct aa_call_spec {
	__u8 operation;
	__u8 fd, dirfd, path, fd2, dirfd2, path2, flags, mode, count;
	__u8 offset, offset_at, iovec, how;
	__u8 returns_fd, moves, then_operation;
	__u8 empty, null, when, closes, sets_pwd;
	__u8 is_plain; /* AA_IS_PLAIN() of it, in the kernel side's table: the core fills it in */
	__u8 announces;
	__u32 if_flag, implied;
};

/* About one descriptor, and nothing else. */
#define AA_IS_PLAIN(spec)                                                                                              \
	((spec)->fd && !(spec)->path && !(spec)->path2 && !(spec)->fd2 && !(spec)->closes && !(spec)->returns_fd &&    \
	 !(spec)->mode && !(spec)->sets_pwd && !(spec)->implied && !(spec)->when && !(spec)->how && !(spec)->if_flag)

/* The return of such a call finds all that its entry could, if nobody has changed the descriptor meanwhile. Whether a
 * mapping is announced must not hang on that. */
#define AA_IS_BY_DESCRIPTOR(spec)                                                                                      \
	((spec)->fd && !(spec)->path && !(spec)->closes && (spec)->then_operation != AA_OPERATION_BLIND_SPOT)

enum aa_call {
#define AA_X(program, call, ...) AA_CALL_##call,
	AA_CALLS(AA_X)
#undef AA_X
		AA_CALL_COUNT,
};

#endif

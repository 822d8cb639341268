/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The same calls by the 32-bit table (int 0x80, 32-bit programs), which has other numbers, other kernel functions and,
 * for some, other arguments. From number AA_COMPAT_UNIFIED on both tables are alike, so that a new call needs no line
 * here. A call of this table is reported under the name of the 64-bit call that does the same.
 *
 *   X(number, call, function, shape)
 *     number    in arch/x86/entry/syscalls/syscall_32.tbl
 *     call      of syscalls.h
 *     function  the kernel function is __ia32_<function>
 *     shape     how the arguments differ from that call's
 */
#ifndef AA_COMPAT_H
#define AA_COMPAT_H

#include "syscalls.h"

#define AA_COMPAT_UNIFIED 424 /* pidfd_send_signal, of 5.1: the first that has one number everywhere */

enum aa_compat_shape {
	AA_COMPAT_NONE, /* a 64-bit call */
	AA_COMPAT_SAME,
	AA_COMPAT_POSITION,   /* the fourth and fifth are the halves of one */
	AA_COMPAT_LENGTH,     /* the second and third are */
	AA_COMPAT_SIGNED,     /* the second is a signed number of 32 bits */
	AA_COMPAT_ALLOCATE,   /* the third and fourth are, and the last two */
	AA_COMPAT_SYNC_RANGE, /* the second and third are, and the two behind */
	AA_COMPAT_PAGES,      /* the sixth counts pages */
	AA_COMPAT_MASK,	      /* the third and fourth are the halves of one, with two behind */
	AA_COMPAT_ONE,	      /* it has no argument but the first */
	AA_COMPAT_SHORT_AT,   /* the position that an argument points to has 32 bits */
	AA_COMPAT_IN_MEMORY,  /* all six are in a structure that the first points to */
	AA_COMPAT_SOCKETCALL, /* the first says which call (SYS_BIND …), the second points to its arguments */
	AA_COMPAT_UNFOLLOWED, /* counted in compat_calls */
};

/* clang-format off */
#define AA_COMPAT_CALLS(X) \
	X(3, read, sys_read, SAME) \
	X(4, write, sys_write, SAME) \
	X(5, open, compat_sys_open, SAME) \
	X(6, close, sys_close, SAME) \
	X(8, creat, sys_creat, SAME) \
	X(9, link, sys_link, SAME) \
	X(10, unlink, sys_unlink, SAME) \
	X(11, execve, compat_sys_execve, SAME) \
	X(12, chdir, sys_chdir, SAME) \
	X(14, mknod, sys_mknod, SAME) \
	X(15, chmod, sys_chmod, SAME) \
	X(16, lchown, sys_lchown16, SAME) \
	X(18, stat, sys_stat, SAME) \
	X(21, mount, sys_mount, SAME) \
	X(22, umount2, sys_oldumount, ONE) \
	X(26, ptrace, compat_sys_ptrace, SAME) \
	X(28, fstat, sys_fstat, SAME) \
	X(30, utime, sys_utime32, SAME) \
	X(33, access, sys_access, SAME) \
	X(38, rename, sys_rename, SAME) \
	X(39, mkdir, sys_mkdir, SAME) \
	X(40, rmdir, sys_rmdir, SAME) \
	X(41, dup, sys_dup, SAME) \
	X(52, umount2, sys_umount, SAME) \
	X(54, ioctl, compat_sys_ioctl, SAME) \
	X(55, fcntl, compat_sys_fcntl, SAME) \
	X(61, chroot, sys_chroot, SAME) \
	X(63, dup2, sys_dup2, SAME) \
	X(83, symlink, sys_symlink, SAME) \
	X(84, lstat, sys_lstat, SAME) \
	X(85, readlink, sys_readlink, SAME) \
	X(86, mmap, sys_uselib, UNFOLLOWED) \
	X(89, getdents, compat_sys_old_readdir, UNFOLLOWED) \
	X(90, mmap, compat_sys_ia32_mmap, IN_MEMORY) \
	X(92, truncate, compat_sys_truncate, SIGNED) \
	X(93, ftruncate, compat_sys_ftruncate, SIGNED) \
	X(94, fchmod, sys_fchmod, SAME) \
	X(95, fchown, sys_fchown16, SAME) \
	X(99, statfs, compat_sys_statfs, SAME) \
	X(100, fstatfs, compat_sys_fstatfs, SAME) \
	X(102, connect, compat_sys_socketcall, SOCKETCALL) /* or bind, sendmsg, sendmmsg, recvmsg, recvmmsg */ \
	X(106, stat, compat_sys_newstat, SAME) \
	X(107, lstat, compat_sys_newlstat, SAME) \
	X(108, fstat, compat_sys_newfstat, SAME) \
	X(118, fsync, sys_fsync, SAME) \
	X(133, fchdir, sys_fchdir, SAME) \
	X(141, getdents, compat_sys_getdents, SAME) \
	X(144, msync, sys_msync, SAME) \
	X(145, readv, sys_readv, SAME) \
	X(146, writev, sys_writev, SAME) \
	X(148, fdatasync, sys_fdatasync, SAME) \
	X(180, pread64, sys_ia32_pread64, POSITION) \
	X(181, pwrite64, sys_ia32_pwrite64, POSITION) \
	X(182, chown, sys_chown16, SAME) \
	X(187, sendfile, compat_sys_sendfile, SHORT_AT) \
	X(192, mmap, sys_mmap_pgoff, PAGES) \
	X(193, truncate, sys_ia32_truncate64, LENGTH) \
	X(194, ftruncate, sys_ia32_ftruncate64, LENGTH) \
	X(195, stat, compat_sys_ia32_stat64, SAME) \
	X(196, lstat, compat_sys_ia32_lstat64, SAME) \
	X(197, fstat, compat_sys_ia32_fstat64, SAME) \
	X(198, lchown, sys_lchown, SAME) \
	X(207, fchown, sys_fchown, SAME) \
	X(212, chown, sys_chown, SAME) \
	X(217, pivot_root, sys_pivot_root, SAME) \
	X(219, madvise, sys_madvise, SAME) \
	X(220, getdents64, sys_getdents64, SAME) \
	X(221, fcntl, compat_sys_fcntl64, SAME) \
	X(226, setxattr, sys_setxattr, SAME) \
	X(227, lsetxattr, sys_lsetxattr, SAME) \
	X(228, fsetxattr, sys_fsetxattr, SAME) \
	X(229, getxattr, sys_getxattr, SAME) \
	X(230, lgetxattr, sys_lgetxattr, SAME) \
	X(231, fgetxattr, sys_fgetxattr, SAME) \
	X(232, listxattr, sys_listxattr, SAME) \
	X(233, llistxattr, sys_llistxattr, SAME) \
	X(234, flistxattr, sys_flistxattr, SAME) \
	X(235, removexattr, sys_removexattr, SAME) \
	X(236, lremovexattr, sys_lremovexattr, SAME) \
	X(237, fremovexattr, sys_fremovexattr, SAME) \
	X(239, sendfile, sys_sendfile64, SAME) \
	X(248, io_submit, compat_sys_io_submit, SAME) \
	X(268, statfs, compat_sys_statfs64, SAME) \
	X(269, fstatfs, compat_sys_fstatfs64, SAME) \
	X(271, utimes, sys_utimes_time32, SAME) \
	X(292, inotify_add_watch, sys_inotify_add_watch, SAME) \
	X(295, openat, compat_sys_openat, SAME) \
	X(296, mkdirat, sys_mkdirat, SAME) \
	X(297, mknodat, sys_mknodat, SAME) \
	X(298, fchownat, sys_fchownat, SAME) \
	X(299, futimesat, sys_futimesat_time32, SAME) \
	X(300, newfstatat, compat_sys_ia32_fstatat64, SAME) \
	X(301, unlinkat, sys_unlinkat, SAME) \
	X(302, renameat, sys_renameat, SAME) \
	X(303, linkat, sys_linkat, SAME) \
	X(304, symlinkat, sys_symlinkat, SAME) \
	X(305, readlinkat, sys_readlinkat, SAME) \
	X(306, fchmodat, sys_fchmodat, SAME) \
	X(307, faccessat, sys_faccessat, SAME) \
	X(313, splice, sys_splice, SAME) \
	X(314, sync_file_range, sys_ia32_sync_file_range, SYNC_RANGE) \
	X(315, tee, sys_tee, SAME) \
	X(316, vmsplice, sys_vmsplice, SAME) \
	X(320, utimensat, sys_utimensat_time32, SAME) \
	X(324, fallocate, sys_ia32_fallocate, ALLOCATE) \
	X(330, dup3, sys_dup3, SAME) \
	X(333, preadv, compat_sys_preadv, POSITION) \
	X(334, pwritev, compat_sys_pwritev, POSITION) \
	X(337, recvmmsg, compat_sys_recvmmsg_time32, SAME) \
	X(339, fanotify_mark, compat_sys_fanotify_mark, MASK) \
	X(341, name_to_handle_at, sys_name_to_handle_at, SAME) \
	X(342, open_by_handle_at, compat_sys_open_by_handle_at, SAME) \
	X(344, syncfs, sys_syncfs, SAME) \
	X(345, sendmmsg, compat_sys_sendmmsg, SAME) \
	X(348, process_vm_writev, sys_process_vm_writev, SAME) \
	X(353, renameat2, sys_renameat2, SAME) \
	X(354, seccomp, sys_seccomp, SAME) \
	X(356, memfd_create, sys_memfd_create, SAME) \
	X(358, execveat, compat_sys_execveat, SAME) \
	X(361, bind, sys_bind, SAME) \
	X(362, connect, sys_connect, SAME) \
	X(370, sendmsg, compat_sys_sendmsg, SAME) \
	X(372, recvmsg, compat_sys_recvmsg, SAME) \
	X(374, userfaultfd, sys_userfaultfd, SAME) \
	X(377, copy_file_range, sys_copy_file_range, SAME) \
	X(378, preadv2, compat_sys_preadv2, POSITION) \
	X(379, pwritev2, compat_sys_pwritev2, POSITION) \
	X(383, statx, sys_statx, SAME) \
	X(412, utimensat, sys_utimensat, SAME) \
	X(417, recvmmsg, compat_sys_recvmmsg_time64, SAME)
/* clang-format on */

#endif

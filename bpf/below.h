/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The functions below the calls that tell what the kernel works on: which file a descriptor was, which entry of which
 * directory a name led to, and when a descriptor or a directory changes hands. Used by the backends that can probe
 * functions.
 *
 *   X(what, function, arguments, operations, needed)
 *     what        its handler is aa_below_<what>() in fileio.bpf.c
 *     arguments   how many of the function's are looked at: the first ones
 *     operations  it is attached if one of these is asked for
 *     needed      without it a name could be wrong unseen, so a kernel that lacks it is refused; else names are as
 *                 passed there, and say so
 */
#ifndef AA_BELOW_H
#define AA_BELOW_H

#include "fileio_abi.h"

#define AA_DOES(name) (1ULL << AA_OPERATION_##name)

/* clang-format off */
#define AA_BELOWS(X) \
	X(opened, fd_install, 2, AA_DOES(OPEN) | AA_DOES(MEMFD), 1) \
	X(read, vfs_read, 1, AA_DOES(READ), 1) \
	X(written, vfs_write, 1, AA_DOES(WRITE), 1) \
	X(moved, security_file_permission, 2, AA_DOES(READ) | AA_DOES(WRITE) | AA_DOES(COPY) | AA_DOES(LIST), 1) \
	X(closed, filp_close, 1, ~0ULL, 1) \
	X(flushed, filp_flush, 1, ~0ULL, 0) /* 6.8 split it off filp_close() */ \
	X(chdir, set_fs_pwd, 1, ~0ULL, 1) \
	/* CONFIG_SECURITY_PATH */ \
	X(unlink, security_path_unlink, 2, AA_DOES(UNLINK), 0) \
	X(rmdir, security_path_rmdir, 2, AA_DOES(RMDIR), 0) \
	X(mkdir, security_path_mkdir, 2, AA_DOES(MKDIR), 0) \
	X(mknod, security_path_mknod, 2, AA_DOES(MKNOD), 0) \
	X(symlink, security_path_symlink, 2, AA_DOES(SYMLINK), 0) \
	X(link, security_path_link, 3, AA_DOES(LINK), 0) \
	X(rename, security_path_rename, 4, AA_DOES(RENAME), 0) \
	X(truncate, security_path_truncate, 1, AA_DOES(TRUNCATE), 0) \
	X(chmod, security_path_chmod, 1, AA_DOES(CHMOD), 0) \
	X(chown, security_path_chown, 1, AA_DOES(CHOWN), 0) \
	/* CONFIG_SECURITY */ \
	X(xattr_set, security_inode_setxattr, 2, AA_DOES(XATTR), 0) \
	X(xattr_removed, security_inode_removexattr, 2, AA_DOES(XATTR), 0) \
	X(executed, security_bprm_check, 1, AA_DOES(EXEC), 0) \
	X(mounted, security_sb_mount, 2, AA_DOES(MOUNT), 0) \
	X(unmounted, security_sb_umount, 1, AA_DOES(MOUNT), 0) \
	X(mount_moved, security_move_mount, 2, AA_DOES(MOUNT), 0) \
	/* without a security function that has the mount */ \
	X(utime, vfs_utimes, 1, AA_DOES(UTIME), 0) \
	X(to_be_written, mnt_want_write, 1, AA_DOES(XATTR), 0) \
	/* every open, whoever asked for it: see witness.bpf.h; CONFIG_SECURITY */ \
	X(witnessed, security_file_open, 1, AA_DOES(OPEN), 0)
/* clang-format on */

enum aa_below {
#define AA_X(what, ...) AA_BELOW_##what,
	AA_BELOWS(AA_X)
#undef AA_X
		AA_BELOW_COUNT,
};

#endif

/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* A call of the 32-bit table as the 64-bit call that it stands for. */
#ifndef AA_COMPAT_BPF_H
#define AA_COMPAT_BPF_H

#include "kernel.bpf.h"
#include "compat.h"

struct aa_compat_entry {
	__u8 row; /* + 1; 0: not in the table */
	__u8 shape;
};

_Static_assert(AA_CALL_COUNT < 255, "a row's number fits");

#define AA_COMPAT_LIMIT 512 /* a power of two, to mask by */
#define AA_X(number, call, function, shape_) [number] = { AA_CALL_##call + 1, AA_COMPAT_##shape_ },
static const volatile struct aa_compat_entry aa_compat_by_number[AA_COMPAT_LIMIT] = { AA_COMPAT_CALLS(AA_X) };
#undef AA_X

/* Its numbers and registers are others: read by the 64-bit table, vmsplice (316) would be a renameat2. */
static __always_inline bool aa_is_compat(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return aa_read(task, thread_info.status) & TS_COMPAT;
}

static __always_inline __u8 aa_compat_shape_of(__u64 number)
{
	return number < AA_COMPAT_UNIFIED ? aa_compat_by_number[number & (AA_COMPAT_LIMIT - 1)].shape : AA_COMPAT_SAME;
}

enum aa_compat_found {
	AA_COMPAT_FOUND,
	AA_COMPAT_UNREAD, /* what it is about cannot be told */
};

/* Puts the six registers in `args` as the 64-bit call has its arguments. */
static __always_inline enum aa_compat_found aa_compat_unfold(__u8 shape, __u64 *args)
{
	__u32 words[6] = {};

	switch (shape) {
	case AA_COMPAT_POSITION:
		args[3] |= args[4] << 32;
		break;
	case AA_COMPAT_LENGTH:
		args[1] |= args[2] << 32;
		break;
	case AA_COMPAT_SIGNED:
		args[1] = (__u64)(__s64)(__s32)args[1];
		break;
	case AA_COMPAT_ALLOCATE:
		args[2] |= args[3] << 32;
		args[3] = args[4] | args[5] << 32;
		break;
	case AA_COMPAT_SYNC_RANGE:
		args[1] |= args[2] << 32;
		args[2] = args[3] | args[4] << 32;
		args[3] = args[5];
		break;
	case AA_COMPAT_PAGES:
		args[5] <<= 12;
		break;
	case AA_COMPAT_MASK:
		args[2] |= args[3] << 32;
		args[3] = args[4];
		args[4] = args[5];
		break;
	case AA_COMPAT_ONE:
		args[1] = 0;
		break;
	case AA_COMPAT_SOCKETCALL:
		/* None of them has fewer than three. */
		if (bpf_probe_read_user(words,
					(args[0] == SYS_RECVMMSG ? 5 :
					 args[0] == SYS_SENDMMSG ? 4 :
								   3) *
						sizeof(words[0]),
					(void *)args[1]))
			return AA_COMPAT_UNREAD;
		args[3] = words[3];
		args[4] = words[4];
		args[0] = words[0];
		args[1] = words[1];
		args[2] = words[2];
		break;
	case AA_COMPAT_IN_MEMORY:
		if (bpf_probe_read_user(words, sizeof(words), (void *)args[0]))
			return AA_COMPAT_UNREAD;
		args[0] = words[0];
		args[1] = words[1];
		args[2] = words[2];
		args[3] = words[3];
		args[4] = words[4];
		args[5] = words[5];
		break;
	case AA_COMPAT_UNFOLLOWED:
		return AA_COMPAT_UNREAD;
	default:
		break;
	}
	return AA_COMPAT_FOUND;
}

#endif

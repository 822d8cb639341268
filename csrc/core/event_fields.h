/* SPDX-License-Identifier: MIT */
/*
 * The one table of an event's fields: what FileEvent shows and what the columns hold is generated from it, so that a
 * field cannot be in one of them only.
 */
#ifndef AA_EVENT_FIELDS_H
#define AA_EVENT_FIELDS_H

#include "file_event.h"

/*
 * X(name, as, member, width, present), in the order in which fields are shown.
 *
 *   as       NUMBER: the member as it is. TIME, ERRNO, BYTES: made of the member. OPERATION, CALL, KIND, SOURCE: the
 *            member's name. VIA: what kind of call it is. PATH_FLAGS: a set of bits. TRUTH: yes or no. STRING: one of
 *            the strings, the member is its length. COMM.
 *   width    of the member: U64 I64 U32 I32 U16 U8, or NONE when it is no number
 *   present  the AA_FIELD_* without which the field is missing; 0: it is always there
 */
#define AA_EVENT_FIELDS(X)                                                                                             \
	X(timestamp_ns, NUMBER, timestamp_ns, U64, 0)                                                                  \
	X(time, TIME, timestamp_ns, U64, 0)                                                                            \
	X(duration_ns, NUMBER, duration_ns, U64, AA_FIELD_DURATION)                                                    \
	X(pid, NUMBER, pid, U32, 0)                                                                                    \
	X(tid, NUMBER, tid, U32, 0)                                                                                    \
	X(ppid, NUMBER, ppid, U32, 0)                                                                                  \
	X(comm, COMM, comm, NONE, 0)                                                                                   \
	X(uid, NUMBER, uid, U32, 0)                                                                                    \
	X(cgroup_id, NUMBER, cgroup_id, U64, 0)                                                                        \
	X(op, OPERATION, operation, U8, 0)                                                                             \
	X(syscall, CALL, call, U16, 0)                                                                                 \
	X(via, VIA, call, U16, 0)                                                                                      \
	X(path, STRING, path_length, U16, AA_FIELD_PATH)                                                               \
	X(new_path, STRING, new_path_length, U16, AA_FIELD_NEW_PATH)                                                   \
	X(raw_path, STRING, raw_path_length, U16, AA_FIELD_RAW_PATH)                                                   \
	X(path_source, SOURCE, path_source, U8, 0)                                                                     \
	X(path_flags, PATH_FLAGS, path_flags, U8, 0)                                                                   \
	X(fd, NUMBER, fd, I32, AA_FIELD_FD)                                                                            \
	X(dirfd, NUMBER, dirfd, I32, AA_FIELD_DIRFD)                                                                   \
	X(flags, NUMBER, flags, U64, AA_FIELD_FLAGS)                                                                   \
	X(mode, NUMBER, mode, U32, AA_FIELD_MODE)                                                                      \
	X(count, NUMBER, count, U64, AA_FIELD_COUNT)                                                                   \
	X(offset, NUMBER, offset, I64, AA_FIELD_OFFSET)                                                                \
	X(bytes, BYTES, result, I64, AA_FIELD_BYTES)                                                                   \
	X(return_code, NUMBER, result, I64, AA_FIELD_RESULT)                                                           \
	X(errno, ERRNO, result, I64, AA_FIELD_RESULT)                                                                  \
	X(device, NUMBER, device, U64, AA_FIELD_FILE)                                                                  \
	X(inode, NUMBER, inode, U64, AA_FIELD_FILE)                                                                    \
	X(kind, KIND, kind, U8, AA_FIELD_KIND)                                                                         \
	X(changes, TRUTH, changes, U8, 0)                                                                              \
	X(sensitive, TRUTH, sensitive, U8, AA_FIELD_SENSITIVE)                                                         \
	X(seq, NUMBER, seq, U64, 0)

#define AA_ERRNO_MAX 4095 /* the kernel's MAX_ERRNO: below it a result is an address or a number */

static inline int64_t aa_file_event_errno(const struct aa_file_event *event)
{
	return event->result < 0 && event->result >= -AA_ERRNO_MAX ? -event->result : 0;
}

/* Bytes moved: none by a call that failed. */
static inline int64_t aa_file_event_bytes(const struct aa_file_event *event)
{
	return event->result > 0 ? event->result : 0;
}

#endif

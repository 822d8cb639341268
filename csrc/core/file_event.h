/* SPDX-License-Identifier: MIT */
/*
 * One event as the core hands it to its caller: decoded, checked, names resolved. Never on any wire, so it may change
 * freely; the wire is bpf/fileio_abi.h.
 */
#ifndef AA_FILEIO_FILE_EVENT_H
#define AA_FILEIO_FILE_EVENT_H

#include <stdint.h>

/* Which of the optional fields apply (struct aa_file_event.present). */
enum aa_field {
	AA_FIELD_DURATION = 1u << 0,
	AA_FIELD_FD = 1u << 1,
	AA_FIELD_DIRFD = 1u << 2,
	AA_FIELD_FLAGS = 1u << 3,
	AA_FIELD_MODE = 1u << 4,
	AA_FIELD_COUNT = 1u << 5,
	AA_FIELD_OFFSET = 1u << 6,
	AA_FIELD_BYTES = 1u << 7, /* the call moves bytes: result, or 0 when it failed */
	AA_FIELD_FILE = 1u << 8,  /* device, inode */
	AA_FIELD_PATH = 1u << 9,
	AA_FIELD_NEW_PATH = 1u << 10,
	AA_FIELD_RAW_PATH = 1u << 11,
	AA_FIELD_KIND = 1u << 12, /* not of the directory that a name starts from */
	AA_FIELD_RESULT = 1u << 13,
	/* The path, or the new path, is the name of an object that has no place in the tree: no rule of a path is
	   meant. */
	AA_FIELD_NO_PLACE = 1u << 14,
	AA_FIELD_NEW_NO_PLACE = 1u << 15,
	AA_FIELDS_HIDDEN = AA_FIELD_NO_PLACE | AA_FIELD_NEW_NO_PLACE, /* for the path rules alone */
	AA_FIELD_SENSITIVE = 1u << 16,				      /* whether it is, is known */
};

#define AA_EVENT_FILES_LOOKED_AT 1u /* by the kernel side, which knows whether they are files of path rules */

struct aa_file_event {
	/* What differs from one event of the same call on the same file to the next. */
	uint64_t seq;	       /* order of emission, from 0 in each ledger */
	uint64_t timestamp_ns; /* CLOCK_BOOTTIME at the return */
	uint64_t duration_ns;  /* entry to return */
	int64_t result;	       /* as the kernel returned it: -errno on failure */
	int64_t offset;	       /* file position before the call, bytes */
	uint64_t count;	       /* bytes asked for */

	/* What usually does not. */
	uint32_t size;	  /* bytes of this event, strings included; a multiple of 8 */
	uint32_t present; /* AA_FIELD_* */
	uint32_t pid;	  /* thread group id in the reader's pid namespace, 0 if not visible there */
	uint32_t tid;
	uint32_t ppid;
	uint32_t uid; /* real uid in the initial user namespace */
	uint64_t cgroup_id;
	uint64_t device; /* os.makedev() encoding of the superblock's device */
	uint64_t inode;
	uint64_t flags; /* as passed */
	int32_t fd;
	int32_t dirfd; /* -100 = AT_FDCWD */
	uint32_t mode;
	uint16_t call;	     /* row of bpf/syscalls.h, ring_operations.h or openers.h: aa_call_name(call) */
	uint8_t operation;   /* enum aa_operation (bpf/fileio_abi.h): aa_operation_name() */
	uint8_t kind;	     /* enum aa_kind: aa_kind_name() */
	uint8_t path_source; /* enum aa_path_source: aa_path_source_name() */
	uint8_t path_flags;  /* AA_PATH_TRUNCATED | … : aa_path_flag_name() */
	/* Lengths in bytes without NUL; the strings follow in this order, each NUL-terminated if its AA_FIELD_ is
	 * present. */
	uint16_t path_length;
	uint16_t new_path_length;
	uint16_t raw_path_length;
	uint8_t sensitive;  /* a path rule says so: 1 or 0 */
	uint8_t changes;    /* the call is one of the group "writes" */
	uint8_t rule_files; /* AA_EVENT_FILES_LOOKED_AT, and what struct aa_file_facts.is_known says of rules */
	char comm[16];	    /* NUL-terminated */
	char strings[];
};

/* The three strings; NULL where the field is not present. Valid as long as the event is. */
static inline const char *aa_file_event_path(const struct aa_file_event *event)
{
	return event->present & AA_FIELD_PATH ? event->strings : (const char *)0;
}

static inline const char *aa_file_event_new_path(const struct aa_file_event *event)
{
	if (!(event->present & AA_FIELD_NEW_PATH))
		return (const char *)0;
	return event->strings + (event->present & AA_FIELD_PATH ? event->path_length + 1 : 0);
}

static inline const char *aa_file_event_raw_path(const struct aa_file_event *event)
{
	if (!(event->present & AA_FIELD_RAW_PATH))
		return (const char *)0;
	return event->strings + (event->present & AA_FIELD_PATH ? event->path_length + 1 : 0) +
	       (event->present & AA_FIELD_NEW_PATH ? event->new_path_length + 1 : 0);
}

#endif

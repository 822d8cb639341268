// SPDX-License-Identifier: MIT
#include "io_rings.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* As fs/d_path.c makes it of the name that io_uring gives its files (io_uring_get_file()). */
#define AA_RING_NAME "anon_inode:[io_uring]"

static uint64_t aa_io_rings_of(uint32_t tgid)
{
	char path[32], name[sizeof(AA_RING_NAME)];
	const struct dirent *entry;
	uint64_t rings = 0;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%u/fd", tgid);
	folder = opendir(path);
	if (!folder)
		return errno != ENOENT && errno != ESRCH;
	while ((entry = readdir(folder))) {
		ssize_t bytes = readlinkat(dirfd(folder), entry->d_name, name, sizeof(name));

		rings += bytes == sizeof(name) - 1 && !memcmp(name, AA_RING_NAME, (size_t)bytes);
	}
	closedir(folder);
	return rings;
}

uint64_t aa_io_rings_count(const uint32_t *tgids, size_t count)
{
	uint64_t rings = 0;

	for (size_t i = 0; i < count; i++)
		rings += aa_io_rings_of(tgids[i]);
	return rings;
}

// SPDX-License-Identifier: MIT
#include "blind_spots.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* As fs/d_path.c makes it of the name that io_uring gives its files (io_uring_get_file()). */
#define AA_RING_NAME "anon_inode:[io_uring]"

/* Whether the process could be looked at: a kernel thread has no program, and nothing here has one that is gone. */
static bool aa_is_gone(int code)
{
	return code == ENOENT || code == ESRCH;
}

static uint64_t aa_rings_of(uint32_t tgid)
{
	char path[32], name[sizeof(AA_RING_NAME)];
	const struct dirent *entry;
	uint64_t rings = 0;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%u/fd", tgid);
	folder = opendir(path);
	if (!folder)
		return !aa_is_gone(errno);
	while ((entry = readdir(folder))) {
		ssize_t bytes = readlinkat(dirfd(folder), entry->d_name, name, sizeof(name));

		rings += bytes == sizeof(name) - 1 && !memcmp(name, AA_RING_NAME, (size_t)bytes);
	}
	closedir(folder);
	return rings;
}

static bool aa_is_32_bit_program(uint32_t tgid)
{
	unsigned char head[EI_NIDENT];
	char path[32];
	bool is_32_bit;
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/exe", tgid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return !aa_is_gone(errno);
	is_32_bit = read(fd, head, sizeof(head)) == sizeof(head) && !memcmp(head, ELFMAG, SELFMAG) &&
		    head[EI_CLASS] == ELFCLASS32;
	close(fd);
	return is_32_bit;
}

uint64_t aa_blind_spots_count(const uint32_t *tgids, size_t count, bool sees_rings, bool follows_compat)
{
	uint64_t found = 0;

	for (size_t i = 0; i < count; i++)
		found += (sees_rings ? 0 : aa_rings_of(tgids[i])) + (!follows_compat && aa_is_32_bit_program(tgids[i]));
	return found;
}

// SPDX-License-Identifier: MIT
#include "blind_spots.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "proc.h"

/* As fs/d_path.c makes them of the names that the kernel gives such files (io_uring_get_file(), new_userfaultfd()). */
#define AA_RING_NAME "anon_inode:[io_uring]"
#define AA_FAULTS_NAME "anon_inode:[userfaultfd]"

/* Whether the process could be looked at: a kernel thread has no program, and nothing here has one that is gone. */
static bool aa_is_gone(int code)
{
	return code == ENOENT || code == ESRCH;
}

static bool aa_is_name(const char *name, ssize_t bytes, const char *expected)
{
	return bytes == (ssize_t)strlen(expected) && !memcmp(name, expected, (size_t)bytes);
}

void aa_blind_spots_name_process(uint32_t tgid, char ret_comm[16])
{
	char path[32];
	ssize_t bytes;
	int fd;

	memset(ret_comm, 0, 16);
	snprintf(path, sizeof(path), "/proc/%u/comm", tgid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	bytes = read(fd, ret_comm, 15);
	close(fd);
	if (bytes > 0 && ret_comm[bytes - 1] == '\n')
		ret_comm[bytes - 1] = '\0';
}

uint64_t aa_blind_spots_note(struct aa_signs *signs, enum aa_sign_what what, uint32_t tgid)
{
	struct aa_sign sign = { .what = what, .pid = tgid, .count = 1 };

	aa_blind_spots_name_process(tgid, sign.comm);
	aa_signs_add(signs, &sign);
	return 1;
}

/* What may not be looked at counts; who is gone has nothing. */
static uint64_t aa_hidden(struct aa_signs *signs, uint32_t tgid, int code)
{
	return aa_is_gone(code) ? 0 : aa_blind_spots_note(signs, AA_SIGN_HIDDEN, tgid);
}

static int aa_number_in(const char *path, const char *label)
{
	size_t bytes = strlen(label), room = 0;
	FILE *file = fopen(path, "re");
	char *line = NULL;
	int number = 0;

	if (!file)
		return 0;
	while (getline(&line, &room, file) > 0)
		if (!strncmp(line, label, bytes))
			number = atoi(line + bytes);
	free(line);
	fclose(file);
	return number;
}

/* A ring whose requests are taken by a thread of a process that is none of these (IORING_SETUP_SQPOLL). */
static bool aa_is_served_by_others(uint32_t tgid, const char *fd, const uint32_t *tgids, size_t count)
{
	char path[64];
	int thread, server;

	snprintf(path, sizeof(path), "/proc/%u/fdinfo/%.20s", tgid, fd);
	thread = aa_number_in(path, "SqThread:");
	if (thread <= 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/status", thread);
	server = aa_number_in(path, "Tgid:");
	for (size_t i = 0; i < count; i++)
		if (tgids[i] == (uint32_t)server)
			return false;
	return true;
}

static uint64_t aa_descriptors_of(uint32_t tgid, const uint32_t *tgids, size_t count, bool sees_rings,
				  struct aa_signs *signs)
{
	char path[32], name[sizeof(AA_FAULTS_NAME)];
	const struct dirent *entry;
	uint64_t found = 0;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%u/fd", tgid);
	folder = opendir(path);
	if (!folder)
		return aa_hidden(signs, tgid, errno);
	while ((errno = 0, entry = readdir(folder))) {
		ssize_t bytes = readlinkat(dirfd(folder), entry->d_name, name, sizeof(name));

		/* The two that every folder has are no links. */
		if (bytes < 0 && errno != EINVAL)
			found += aa_hidden(signs, tgid, errno);
		else if (aa_is_name(name, bytes, AA_FAULTS_NAME))
			found += aa_blind_spots_note(signs, AA_SIGN_FAULTS, tgid);
		else if (aa_is_name(name, bytes, AA_RING_NAME) &&
			 (!sees_rings || aa_is_served_by_others(tgid, entry->d_name, tgids, count)))
			found += aa_blind_spots_note(signs, AA_SIGN_RING, tgid);
	}
	if (errno)
		found += aa_hidden(signs, tgid, errno);
	closedir(folder);
	return found;
}

static uint64_t aa_32_bit_program_of(uint32_t tgid, struct aa_signs *signs)
{
	unsigned char head[EI_NIDENT];
	char path[32];
	bool is_32_bit;
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/exe", tgid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return aa_hidden(signs, tgid, errno);
	is_32_bit = read(fd, head, sizeof(head)) == sizeof(head) && !memcmp(head, ELFMAG, SELFMAG) &&
		    head[EI_CLASS] == ELFCLASS32;
	close(fd);
	return is_32_bit ? aa_blind_spots_note(signs, AA_SIGN_PROGRAM, tgid) : 0;
}

/* A line of /proc/PID/maps. */
struct aa_mapping {
	unsigned long start, end, offset, inode;
	char protection[5];
	const char *name; /* in the line: "" where there is none */
};

static bool aa_mapping_read(const char *line, struct aa_mapping *ret_mapping)
{
	int name = 0;

	if (sscanf(line, "%lx-%lx %4s %lx %*x:%*x %lu %n", &ret_mapping->start, &ret_mapping->end,
		   ret_mapping->protection, &ret_mapping->offset, &ret_mapping->inode, &name) < 5 ||
	    !name)
		return false;
	ret_mapping->name = line + name;
	return true;
}

/* As seq_path() writes it: a backslash and three digits for a line's end. Without the line's own. */
static void aa_name_unescape(char *name)
{
	char *to = name;

	for (const char *from = name; *from && *from != '\n'; from++) {
		if (!strncmp(from, "\\012", 4)) {
			*to++ = '\n';
			from += 3;
		} else {
			*to++ = *from;
		}
	}
	*to = '\0';
}

/* The device of the kernel's own tmpfs, where a memfd, memory of SysV and /dev/zero lie; 0: it cannot be had. */
static dev_t aa_memory_device(void)
{
	struct stat status = { 0 };
	int fd = memfd_create("", MFD_CLOEXEC);

	if (fd < 0)
		return 0;
	if (fstat(fd, &status))
		status.st_dev = 0;
	close(fd);
	return status.st_dev;
}

/* A file in no file system that anybody can see is memory. What huge pages are made of is known by its name only. */
static bool aa_is_memory(const char *link, const struct stat *status, const char *name, dev_t memory)
{
	struct statfs of;

	if (memory && status->st_dev == memory)
		return true;
	return !statfs(link, &of) && of.f_type == HUGETLBFS_MAGIC &&
	       (!strncmp(name, "/memfd:", 7) || !strncmp(name, "/SYSV", 5) || !strncmp(name, "/anon_hugepage", 14));
}

/*
 * A mapping's own link has the modes that its file was opened with (proc_map_files_instantiate()): that mprotect()
 * could make it writable the line in maps does not tell. The name is the file's if it leads to it from here.
 */
static uint64_t aa_memory_of_file(uint32_t tgid, const char *comm, char *line, dev_t memory, struct aa_signs *signs)
{
	struct aa_sign sign = { .what = AA_SIGN_MAPPING, .pid = tgid, .count = 1, .has_range = true };
	struct stat status, named;
	struct aa_mapping mapping;
	char link[80];

	if (!aa_mapping_read(line, &mapping) || mapping.protection[3] != 's' || !mapping.inode ||
	    mapping.name[0] != '/')
		return 0;
	snprintf(link, sizeof(link), "/proc/%u/map_files/%lx-%lx", tgid, mapping.start, mapping.end);
	if (lstat(link, &status))
		return aa_hidden(signs, tgid, errno);
	if (!(status.st_mode & S_IWUSR))
		return 0;
	if (stat(link, &status))
		return aa_hidden(signs, tgid, errno);
	if ((!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) || aa_is_memory(link, &status, mapping.name, memory))
		return 0;
	sign.path = line + (mapping.name - line);
	aa_name_unescape(sign.path);
	sign.is_named = !stat(sign.path, &named) && named.st_dev == status.st_dev && named.st_ino == status.st_ino;
	sign.is_writable = mapping.protection[1] == 'w';
	sign.start = mapping.offset;
	sign.end = mapping.offset + (mapping.end - mapping.start);
	memcpy(sign.comm, comm, sizeof(sign.comm));
	aa_signs_add(signs, &sign);
	return 1;
}

static uint64_t aa_memory_of_files(uint32_t tgid, dev_t memory, struct aa_signs *signs)
{
	uint64_t found = 0;
	char path[32], comm[16];
	char *line = NULL;
	size_t room = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%u/maps", tgid);
	maps = fopen(path, "re");
	if (!maps)
		return aa_hidden(signs, tgid, errno);
	aa_blind_spots_name_process(tgid, comm);
	while ((errno = 0, getline(&line, &room, maps)) > 0)
		found += aa_memory_of_file(tgid, comm, line, memory, signs);
	/* What could not be read to its end may have had more. */
	if (!feof(maps))
		found += aa_hidden(signs, tgid, errno);
	free(line);
	fclose(maps);
	return found;
}

const char *const aa_manager_sockets[] = {
	/* service managers, and the bus by which they are asked */
	"/run/systemd/private",
	"/run/dbus/system_bus_socket",
	"/var/run/dbus/system_bus_socket",
	"/run/user/*/systemd/private",
	"/run/user/*/bus",
	"/run/systemd/io.systemd.Manager",
	"/run/initctl",
	/* container engines */
	"/run/docker.sock",
	"/var/run/docker.sock",
	"/run/user/*/docker.sock",
	"/run/containerd/containerd.sock",
	"/run/podman/podman.sock",
	"/run/user/*/podman/podman.sock",
	"/run/crio/crio.sock",
	"/var/run/crio/crio.sock",
	"/run/buildkit/buildkitd.sock",
	"/run/snapd.socket",
	"/run/libvirt/libvirt-sock",
	"/var/run/libvirt/libvirt-sock",
	"/run/libvirt/virtqemud-sock",
	"/run/libvirt/virtlxcd-sock",
	"/var/lib/lxd/unix.socket",
	"/var/snap/lxd/common/lxd/unix.socket",
	"/var/lib/incus/unix.socket",
	NULL,
};

static uint64_t aa_blind_spots_of(const uint32_t *tgids, size_t count, size_t which, dev_t memory, bool is_held,
				  bool sees_rings, bool follows_compat, struct aa_signs *signs)
{
	uint32_t tgid = tgids[which];
	uint64_t found = aa_descriptors_of(tgid, tgids, count, sees_rings, signs);

	if (!is_held)
		found += aa_memory_of_files(tgid, memory, signs) +
			 (follows_compat ? 0 : aa_32_bit_program_of(tgid, signs));
	return found;
}

uint64_t aa_blind_spots_count(const uint32_t *tgids, size_t count, uint32_t held, bool sees_rings, bool follows_compat,
			      struct aa_signs *signs)
{
	dev_t memory = aa_memory_device();
	uint64_t found = 0;

	if (aa_proc_look() != AA_PROC_OURS)
		return count;
	for (size_t i = 0; i < count; i++)
		found +=
			aa_blind_spots_of(tgids, count, i, memory, tgids[i] == held, sees_rings, follows_compat, signs);
	return found;
}

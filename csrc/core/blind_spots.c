// SPDX-License-Identifier: MIT
#include "blind_spots.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

static uint64_t aa_descriptors_of(uint32_t tgid, bool sees_rings)
{
	char path[32], name[sizeof(AA_FAULTS_NAME)];
	const struct dirent *entry;
	uint64_t found = 0;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%u/fd", tgid);
	folder = opendir(path);
	if (!folder)
		return !aa_is_gone(errno);
	while ((entry = readdir(folder))) {
		ssize_t bytes = readlinkat(dirfd(folder), entry->d_name, name, sizeof(name));

		found += aa_is_name(name, bytes, AA_FAULTS_NAME) ||
			 (!sees_rings && aa_is_name(name, bytes, AA_RING_NAME));
	}
	closedir(folder);
	return found;
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

/*
 * A mapping's own link has the modes that its file was opened with (proc_map_files_instantiate()): that mprotect()
 * could make it writable the line in maps does not tell. What is behind a name in no file system (a memfd, memory of
 * SysV, /dev/zero) is memory.
 */
static bool aa_is_memory_of_file(uint32_t tgid, const char *line)
{
	unsigned long start, end, inode;
	char shared = 0, path[80];
	struct stat status;
	int name = 0;

	if (sscanf(line, "%lx-%lx %*c%*c%*c%c %*x %*x:%*x %lu %n", &start, &end, &shared, &inode, &name) < 4 || !name ||
	    shared != 's' || !inode || line[name] != '/' || !strncmp(line + name, "/memfd:", 7) ||
	    !strncmp(line + name, "/SYSV", 5) || !strncmp(line + name, "/anon_hugepage", 14) ||
	    !strncmp(line + name, "/dev/zero", 9))
		return false;
	snprintf(path, sizeof(path), "/proc/%u/map_files/%lx-%lx", tgid, start, end);
	if (lstat(path, &status))
		return !aa_is_gone(errno);
	if (!(status.st_mode & S_IWUSR))
		return false;
	return stat(path, &status) ? !aa_is_gone(errno) : S_ISREG(status.st_mode) || S_ISBLK(status.st_mode);
}

static uint64_t aa_memory_of_files(uint32_t tgid)
{
	uint64_t found = 0;
	char path[32];
	char *line = NULL;
	size_t room = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%u/maps", tgid);
	maps = fopen(path, "re");
	if (!maps)
		return !aa_is_gone(errno);
	while (getline(&line, &room, maps) > 0)
		found += aa_is_memory_of_file(tgid, line);
	/* What could not be read to its end may have had more. */
	found += !feof(maps) && !aa_is_gone(errno);
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

static uint64_t aa_blind_spots_of(uint32_t tgid, bool is_held, bool sees_rings, bool follows_compat)
{
	uint64_t found = aa_descriptors_of(tgid, sees_rings);

	if (!is_held)
		found += aa_memory_of_files(tgid) + (!follows_compat && aa_is_32_bit_program(tgid));
	return found;
}

uint64_t aa_blind_spots_count(const uint32_t *tgids, size_t count, uint32_t held, bool sees_rings, bool follows_compat)
{
	uint64_t found = 0;

	if (aa_proc_look() != AA_PROC_OURS)
		return count;
	for (size_t i = 0; i < count; i++)
		found += aa_blind_spots_of(tgids[i], tgids[i] == held, sees_rings, follows_compat);
	return found;
}

// SPDX-License-Identifier: MIT
#include "tracefs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A file system of our own that no path leads to: nothing is mounted where others could see it. */
static int aa_private_mount(const char *type)
{
	int context = (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC), root = -1, code;

	if (context < 0)
		return -1;
	if (!syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		root = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0);
	code = errno;
	close(context);
	errno = code;
	return root;
}

int aa_tracefs_open(void)
{
	static const char *const places[] = { "/sys/kernel/tracing", "/sys/kernel/debug/tracing" };

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		int root = open(places[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (root >= 0 && !faccessat(root, "README", F_OK, 0))
			return root;
		if (root >= 0)
			close(root);
	}
	return aa_private_mount("tracefs");
}

struct aa_error *aa_tracefs_error(int errno_value)
{
	bool is_refused = errno_value == EACCES || errno_value == EPERM;
	struct aa_error *error;

	error = aa_error_create(is_refused ? AA_ERROR_PERMISSION : AA_ERROR_UNAVAILABLE, errno_value,
				"tracefs is not at /sys/kernel/tracing, and this process cannot mount it: %s",
				strerror(errno_value));
	return aa_error_with_remedy(error, "mount it there as root (mount -t tracefs tracefs /sys/kernel/tracing; a "
					   "container gets the host's: -v /sys/kernel/tracing:/sys/kernel/tracing)");
}

int aa_debugfs_open(void)
{
	int root = open("/sys/kernel/debug", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (root >= 0 && !faccessat(root, "kprobes", F_OK, 0))
		return root;
	if (root >= 0)
		close(root);
	return aa_private_mount("debugfs");
}

static int aa_perf_event_open(struct perf_event_attr *attribute)
{
	/* pid -1, cpu 0: a BPF program hangs on the event itself and runs on every CPU. */
	return (int)syscall(SYS_perf_event_open, attribute, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
}

bool aa_number_read(int directory, const char *path, unsigned long long *ret_number)
{
	int fd = openat(directory, path, O_RDONLY | O_CLOEXEC);
	char text[64];
	ssize_t bytes;

	if (fd < 0)
		return false;
	bytes = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (bytes <= 0)
		return false;
	text[bytes] = '\0';
	*ret_number = strtoull(text, NULL, 10);
	return true;
}

int aa_tracefs_event_open(int tracefs, const char *name)
{
	struct perf_event_attr attribute = {
		.type = PERF_TYPE_TRACEPOINT, .size = sizeof(attribute), .sample_period = 1, .wakeup_events = 1
	};
	unsigned long long id;
	char path[192];

	snprintf(path, sizeof(path), "events/%s/id", name);
	if (!aa_number_read(tracefs, path, &id))
		return -1;
	attribute.config = id;
	return aa_perf_event_open(&attribute);
}

int aa_kprobe_entry_open(const char *function)
{
	struct perf_event_attr attribute = { .size = sizeof(attribute), .config1 = (uintptr_t)function };
	unsigned long long type;

	if (!aa_number_read(AT_FDCWD, "/sys/bus/event_source/devices/kprobe/type", &type))
		return -1;
	attribute.type = (unsigned)type;
	return aa_perf_event_open(&attribute);
}

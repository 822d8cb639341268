// SPDX-License-Identifier: MIT
#include "proc.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * NSpid has this process's number in each pid namespace from that of the mount down to its own (e4bc33245124, 4.1): one
 * number where both are the same. A mount of a namespace that this process is not in has no /proc/self.
 */
enum aa_proc aa_proc_look(void)
{
	char text[4096], *line, *end;
	ssize_t bytes;
	int fd;

	fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return access("/proc/version", F_OK) ? AA_PROC_MISSING : AA_PROC_FOREIGN;
	bytes = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (bytes <= 0)
		return AA_PROC_MISSING;
	text[bytes] = '\0';
	line = strstr(text, "\nNSpid:");
	if (!line)
		return AA_PROC_OURS; /* a kernel without pid namespaces does not tell */
	if (strtol(line + strlen("\nNSpid:"), &end, 10) != getpid() || *end != '\n')
		return AA_PROC_FOREIGN;
	return AA_PROC_OURS;
}

// SPDX-License-Identifier: MIT
/*
 * inherited FILE [WORD…]: all that a process is given, one fact a line, appended to FILE. What differs between two runs
 * of one and the same command (numbers of processes, of pipes) is told as a relation.
 *
 * The environment variable INHERITED_STATUS is its exit status; "-n": it dies of signal n.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <termios.h>
#include <unistd.h>

extern char **environ;

static FILE *out;

static void tell_signals(void)
{
	sigset_t mask, pending;

	sigprocmask(SIG_BLOCK, NULL, &mask);
	sigpending(&pending);
	for (int number = 1; number <= 64; number++) {
		struct sigaction action;

		if (sigismember(&mask, number) == 1)
			fprintf(out, "blocked: %d\n", number);
		if (sigismember(&pending, number) == 1)
			fprintf(out, "pending: %d\n", number);
		if (!sigaction(number, NULL, &action) && action.sa_handler != SIG_DFL)
			fprintf(out, "%s: %d\n", action.sa_handler == SIG_IGN ? "ignored" : "handled", number);
	}
}

static void tell_descriptors(void)
{
	for (int fd = 0; fd < 256; fd++) {
		struct stat status;
		char link[64], target[512];
		ssize_t bytes;

		if (fd == fileno(out) || fstat(fd, &status))
			continue;
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		bytes = readlink(link, target, sizeof(target) - 1);
		target[bytes < 0 ? 0 : bytes] = '\0';
		/* Of what has no name in a file system, and of terminals, the kind: each run has another one. */
		if (target[0] != '/' || S_ISCHR(status.st_mode))
			target[strcspn(target, ":0123456789")] = '\0';
		fprintf(out, "descriptor: %d %o %s flags %o close-on-exec %d at %ld\n", fd, status.st_mode & S_IFMT,
			target, fcntl(fd, F_GETFL), fcntl(fd, F_GETFD), (long)lseek(fd, 0, SEEK_CUR));
	}
}

static void tell_limits(void)
{
	struct itimerval timer;

	for (int which = 0; which < RLIM_NLIMITS; which++) {
		struct rlimit limit;

		if (!getrlimit(which, &limit))
			fprintf(out, "limit: %d %llu %llu\n", which, (unsigned long long)limit.rlim_cur,
				(unsigned long long)limit.rlim_max);
	}
	getitimer(ITIMER_REAL, &timer);
	fprintf(out, "timer: %d\n", timer.it_value.tv_sec || timer.it_value.tv_usec);
}

static void tell_scheduling(void)
{
	struct sched_param parameters = { 0 };
	cpu_set_t processors;

	CPU_ZERO(&processors);
	sched_getaffinity(0, sizeof(processors), &processors);
	sched_getparam(0, &parameters);
	fprintf(out, "scheduling: policy %d priority %d nice %d io %ld processors %d slack %d\n", sched_getscheduler(0),
		parameters.sched_priority, getpriority(PRIO_PROCESS, 0), syscall(SYS_ioprio_get, 1, 0),
		CPU_COUNT(&processors), prctl(PR_GET_TIMERSLACK));
}

static void tell_place(void)
{
	static const char *const links[] = { "cwd",
					     "root",
					     "ns/cgroup",
					     "ns/ipc",
					     "ns/mnt",
					     "ns/net",
					     "ns/pid",
					     "ns/time",
					     "ns/user",
					     "ns/uts",
					     "ns/pid_for_children",
					     "ns/time_for_children" };
	static const char *const files[] = { "oom_score_adj", "loginuid",  "coredump_filter",
					     "cgroup",	      "uid_map",   "timens_offsets",
					     "attr/current",  "sessionid", "timerslack_ns" };
	char path[64], text[512];
	mode_t mask = umask(0);

	umask(mask);
	fprintf(out, "umask: %o\n", mask);
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		ssize_t bytes;

		snprintf(path, sizeof(path), "/proc/self/%s", links[i]);
		bytes = readlink(path, text, sizeof(text) - 1);
		text[bytes < 0 ? 0 : bytes] = '\0';
		/* A namespace that the launcher made is another one each time. */
		fprintf(out, "%s: %s\n", links[i], getenv("INHERITED_NEW_NAMESPACES") && text[0] != '/' ? "" : text);
	}
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		size_t bytes = 0;
		FILE *file;

		snprintf(path, sizeof(path), "/proc/self/%s", files[i]);
		file = fopen(path, "re");
		if (file) {
			bytes = fread(text, 1, sizeof(text) - 1, file);
			fclose(file);
		}
		text[bytes] = '\0';
		for (char *at = text; *at; at++)
			if (*at == '\n')
				*at = ' ';
		fprintf(out, "%s: %s\n", files[i], text);
	}
}

static void tell_identity(void)
{
	static const char *const rows[] = { "Uid:",    "Gid:",	  "Groups:", "CapInh:",	    "CapPrm:",
					    "CapEff:", "CapBnd:", "CapAmb:", "NoNewPrivs:", "Seccomp:" };
	int death_signal = -1;
	char line[512];
	FILE *status = fopen("/proc/self/status", "re");

	while (status && fgets(line, sizeof(line), status))
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
			if (!strncmp(line, rows[i], strlen(rows[i])))
				fputs(line, out);
	if (status)
		fclose(status);
	prctl(PR_GET_PDEATHSIG, &death_signal);
	fprintf(out, "death signal: %d\n", death_signal);
	fprintf(out, "process: dumpable %d keepcaps %d securebits %d huge pages %d personality %x\n",
		prctl(PR_GET_DUMPABLE), prctl(PR_GET_KEEPCAPS), prctl(PR_GET_SECUREBITS),
		prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), personality(0xffffffff));
}

static void tell_session(void)
{
	int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC);

	fprintf(out, "terminal: %d in front %d\n", terminal >= 0, terminal >= 0 && tcgetpgrp(terminal) == getpgrp());
	if (terminal >= 0)
		close(terminal);
	/* A parent of ours is the one that leads. */
	fprintf(out, "leads: session %d group %d\n", getsid(0) == getpid(), getpgrp() == getpid());
	fprintf(out, "group is the session's: %d\n", getpgrp() == getsid(0));
}

int main(int argc, char **argv)
{
	const char *status = getenv("INHERITED_STATUS");
	int fd;

	if (argc < 2)
		return 2;
	fd = open(argv[1], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
	out = fdopen(fd, "a");
	if (!out)
		return 3;
	for (int i = 2; i < argc; i++)
		fprintf(out, "argument: %s\n", argv[i]);
	for (char **variable = environ; *variable; variable++)
		if (strncmp(*variable, "_=", 2)) /* the shell's, of the program that it ran */
			fprintf(out, "variable: %s\n", *variable);
	tell_signals();
	tell_descriptors();
	tell_limits();
	tell_scheduling();
	tell_place();
	tell_identity();
	tell_session();
	fflush(out);
	if (status && status[0] == '-') {
		raise(atoi(status + 1));
		return 4;
	}
	return status ? atoi(status) : 0;
}

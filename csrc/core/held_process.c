// SPDX-License-Identifier: MIT
/*
 * A command held before its exec. What the child does between fork and exec must make no call that a trace reports, so
 * it waits on a futex in shared memory (not on a pipe), and tells a failure through that memory.
 */
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum aa_hold {
	AA_HOLD_PREPARING,
	AA_HOLD_READY,	  /* the child waits */
	AA_HOLD_RELEASED, /* it may exec */
	AA_HOLD_FAILED,	  /* it has exited, the reason is in errno_value */
};

struct aa_hold_page {
	_Atomic uint32_t state;
	_Atomic int errno_value;
};

struct aa_held_process {
	struct aa_hold_page *page;
	int exec_pipe; /* end of file when the exec closes the child's end */
	pid_t pid;
	bool released;
};

static void aa_futex_wait(_Atomic uint32_t *word, uint32_t value)
{
	syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

static void aa_futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void __attribute__((noreturn)) aa_child_fail(struct aa_hold_page *page)
{
	atomic_store(&page->errno_value, errno);
	atomic_store(&page->state, AA_HOLD_FAILED);
	aa_futex_wake(&page->state);
	_exit(127);
}

/* Descriptors for 0, 1 and 2 may lie in each other's way: out of the way first, then into place. */
static bool aa_child_stdio(const int stdio[3])
{
	int moved[3];

	for (int i = 0; i < 3; i++) {
		moved[i] = stdio[i];
		if (stdio[i] >= 0 && stdio[i] < 3 && stdio[i] != i) {
			moved[i] = fcntl(stdio[i], F_DUPFD_CLOEXEC, 3);
			if (moved[i] < 0)
				return false;
		}
	}
	for (int i = 0; i < 3; i++) {
		if (moved[i] < 0)
			continue;
		if (moved[i] == i) {
			if (fcntl(i, F_SETFD, 0) < 0)
				return false;
		} else if (dup2(moved[i], i) < 0) {
			return false;
		}
	}
	return true;
}

static bool aa_child_keeps(const struct aa_held_options *options, int exec_pipe, int fd)
{
	int flags;

	if (fd < 3 || fd == exec_pipe)
		return true;
	for (size_t i = 0; i < options->pass_fd_count; i++)
		if (options->pass_fds[i] == fd)
			return true;
	if (options->close_fds)
		return false;
	flags = fcntl(fd, F_GETFD);
	return flags >= 0 && !(flags & FD_CLOEXEC);
}

struct aa_directory_entry { /* linux_dirent64, of getdents64(2) */
	uint64_t inode;
	int64_t offset;
	unsigned short bytes;
	unsigned char type;
	char name[];
};

static int aa_entry_number(const struct aa_directory_entry *entry)
{
	int number = 0;

	for (const char *at = entry->name; *at; at++) {
		if (*at < '0' || *at > '9')
			return -1;
		number = number * 10 + (*at - '0');
	}
	return number;
}

/* By the kernel's list of them; false where there is none. */
static bool aa_child_close_listed(const struct aa_held_options *options, int exec_pipe)
{
	_Alignas(struct aa_directory_entry) char buffer[4096];
	int folder = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	long bytes;

	if (folder < 0)
		return false;
	while ((bytes = syscall(SYS_getdents64, folder, buffer, sizeof(buffer))) > 0) {
		for (long at = 0; at < bytes;) {
			const struct aa_directory_entry *entry = (const void *)(buffer + at);
			int fd = aa_entry_number(entry);

			if (fd != folder && !aa_child_keeps(options, exec_pipe, fd))
				close(fd);
			at += entry->bytes;
		}
	}
	close(folder);
	return bytes == 0;
}

/*
 * What will not pass the exec is closed before it: what the child has when the probes go in is then what the command
 * begins with, and nothing of the tracer's is taken for the command's. The exec pipe goes with the exec.
 */
static void aa_child_close(const struct aa_held_options *options, int exec_pipe)
{
	struct rlimit limit = { 0 };

	for (size_t i = 0; i < options->pass_fd_count; i++)
		fcntl(options->pass_fds[i], F_SETFD, 0);
	if (aa_child_close_listed(options, exec_pipe))
		return;
	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur > 65536)
		limit.rlim_cur = 65536;
	for (int fd = 3; fd < (int)limit.rlim_cur; fd++)
		if (!aa_child_keeps(options, exec_pipe, fd))
			close(fd);
}

/* Dispositions pass an exec when they are SIG_IGN; a handler becomes SIG_DFL by itself. */
static void aa_child_signals(const struct aa_held_options *options)
{
	for (int number = 1; number <= 64; number++) {
		struct sigaction action = { .sa_handler = SIG_DFL };

		if (options->has_ignored) {
			if (options->ignored >> (number - 1) & 1)
				action.sa_handler = SIG_IGN;
		} else if (number != SIGPIPE && number != SIGXFSZ) {
			continue; /* what subprocess's restore_signals restores: Python ignores these two */
		}
		sigaction(number, &action, NULL); /* refused for SIGKILL, SIGSTOP and the C library's own */
	}
}

/*
 * The two capabilities that tracing takes are the tracer's: a command that runs as another user than root would have
 * them by the ambient set, and by the inheritable one with a file that asks for them.
 */
static bool aa_child_drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };
	static const unsigned capabilities[] = { 38 /* CAP_PERFMON */, 39 /* CAP_BPF */ };
	bool changes = false;

	for (size_t i = 0; i < 2; i++)
		prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, capabilities[i], 0, 0);
	if (syscall(SYS_capget, &header, data))
		return false;
	for (size_t i = 0; i < 2; i++) {
		uint32_t bit = 1u << (capabilities[i] & 31);

		changes = changes || data[capabilities[i] >> 5].inheritable & bit;
		data[capabilities[i] >> 5].inheritable &= ~bit;
	}
	return !changes || !syscall(SYS_capset, &header, data);
}

static bool aa_child_identity(const struct aa_held_options *options)
{
	if (options->has_groups && setgroups(options->group_count, options->groups))
		return false;
	if (!options->has_groups && options->has_uid && geteuid() == 0 && setgroups(0, NULL))
		return false;
	if (options->has_gid && setresgid(options->gid, options->gid, options->gid))
		return false;
	if (options->has_uid && setresuid(options->uid, options->uid, options->uid))
		return false;
	return options->keep_capabilities || geteuid() == 0 || aa_child_drop_capabilities();
}

struct aa_child {
	struct aa_hold_page *page;
	pid_t parent;
	int exec_pipe;
	int death_signal; /* of the parent, for the command */
	char **shell;	  /* words for /bin/sh, the second one still to be set; or NULL */
	sigset_t mask;
};

/* After fork() of a threaded process: async-signal-safe calls only. */
static void __attribute__((noreturn)) aa_child_run(const struct aa_held_options *options, const struct aa_child *child)
{
	char *const *envp = options->envp ? options->envp : environ;
	struct aa_hold_page *page = child->page;
	int first = 0;

	/* Without this the child would wait for ever when the tracer dies. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != child->parent)
		_exit(127);
	aa_child_signals(options);
	if (options->start_new_session && setsid() < 0)
		aa_child_fail(page);
	if (!aa_child_stdio(options->stdio))
		aa_child_fail(page);
	aa_child_close(options, child->exec_pipe);
	if (options->cwd && chdir(options->cwd))
		aa_child_fail(page);
	if (!aa_child_identity(options))
		aa_child_fail(page);
	/* A change of identity clears the parent-death signal. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	atomic_store(&page->state, AA_HOLD_READY);
	aa_futex_wake(&page->state);
	while (atomic_load(&page->state) == AA_HOLD_READY)
		aa_futex_wait(&page->state, AA_HOLD_READY);
	prctl(PR_SET_PDEATHSIG, child->death_signal);
	sigprocmask(SIG_SETMASK, &child->mask, NULL);
	for (size_t i = 0; options->executables[i]; i++) {
		execve(options->executables[i], options->argv, envp);
		if (errno == ENOEXEC && child->shell) {
			child->shell[1] = (char *)options->executables[i];
			execve(child->shell[0], child->shell, envp);
		}
		/* As execvp: a file that is not there gives way to the next; the first other reason is the one told. */
		if (errno != ENOENT && errno != ENOTDIR && !first)
			first = errno;
	}
	if (first)
		errno = first;
	aa_child_fail(page);
}

static char **aa_shell_words(char *const *argv)
{
	static char shell[] = "/bin/sh";
	size_t count = 0;
	char **words;

	while (argv[count])
		count++;
	words = calloc(count + 2, sizeof(*words));
	if (words) {
		words[0] = shell;
		memcpy(words + 2, argv + 1, (count - 1) * sizeof(*words));
	}
	return words;
}

static void aa_reap(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

struct aa_error *aa_held_process_create(const struct aa_held_options *options, struct aa_held_process **ret_held)
{
	struct aa_held_process *held = calloc(1, sizeof(*held));
	struct aa_error *error;
	struct aa_child child = { .parent = getpid() };
	int pipes[2] = { -1, -1 }, code;
	sigset_t all;

	if (!held)
		return aa_error_create(AA_ERROR_MEMORY, ENOMEM, "out of memory");
	held->exec_pipe = -1;
	held->page = mmap(NULL, sizeof(*held->page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (held->page == MAP_FAILED) {
		held->page = NULL;
		goto fail;
	}
	if (pipe2(pipes, O_CLOEXEC))
		goto fail;
	held->exec_pipe = pipes[0];
	if (pipes[1] < 3) {
		/* Our 0, 1 or 2 was closed: the child would put its stdio over the end that tells of the exec. */
		int moved = fcntl(pipes[1], F_DUPFD_CLOEXEC, 3);

		code = errno;
		close(pipes[1]);
		errno = code;
		if (moved < 0)
			goto fail;
		pipes[1] = moved;
	}
	child.page = held->page;
	child.exec_pipe = pipes[1];
	if (options->uses_shell)
		child.shell = aa_shell_words(options->argv);
	if (options->keep_death_signal)
		prctl(PR_GET_PDEATHSIG, &child.death_signal);
	/* No handler of the program's may run in the child. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &child.mask);
	held->pid = fork();
	if (held->pid == 0)
		aa_child_run(options, &child);
	code = errno;
	pthread_sigmask(SIG_SETMASK, &child.mask, NULL);
	free(child.shell);
	close(pipes[1]);
	errno = code;
	if (held->pid < 0) {
		held->pid = 0;
		goto fail;
	}
	while (atomic_load(&held->page->state) == AA_HOLD_PREPARING) {
		struct timespec slice = { 0, 50000000 };
		int status;

		/* Woken by the child; in slices, for one that was killed before it could. */
		syscall(SYS_futex, &held->page->state, FUTEX_WAIT, AA_HOLD_PREPARING, &slice, NULL, 0);
		if (atomic_load(&held->page->state) == AA_HOLD_PREPARING &&
		    waitpid(held->pid, &status, WNOHANG) == held->pid) {
			held->pid = 0;
			errno = ECHILD;
			goto fail;
		}
	}
	if (atomic_load(&held->page->state) == AA_HOLD_FAILED) {
		code = atomic_load(&held->page->errno_value);
		aa_reap(held->pid);
		held->pid = 0;
		errno = code;
		goto fail;
	}
	*ret_held = held;
	return NULL;
fail:
	code = errno;
	error = aa_error_create(AA_ERROR_SYSTEM, code, "%s", strerror(code));
	aa_held_process_destroy(held);
	return error;
}

pid_t aa_held_process_pid(const struct aa_held_process *held)
{
	return held->pid;
}

struct aa_error *aa_held_process_release(struct aa_held_process *held)
{
	char byte;
	int code;

	held->released = true;
	atomic_store(&held->page->state, AA_HOLD_RELEASED);
	aa_futex_wake(&held->page->state);
	while (read(held->exec_pipe, &byte, 1) < 0 && errno == EINTR)
		;
	if (atomic_load(&held->page->state) != AA_HOLD_FAILED)
		return NULL;
	code = atomic_load(&held->page->errno_value);
	aa_reap(held->pid);
	held->pid = 0;
	return aa_error_create(AA_ERROR_SYSTEM, code, "%s", strerror(code));
}

void aa_held_process_destroy(struct aa_held_process *held)
{
	if (!held)
		return;
	if (held->pid > 0 && !held->released) {
		kill(held->pid, SIGKILL);
		aa_reap(held->pid);
	}
	if (held->exec_pipe >= 0)
		close(held->exec_pipe);
	if (held->page)
		munmap(held->page, sizeof(*held->page));
	free(held);
}

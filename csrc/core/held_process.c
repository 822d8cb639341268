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
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
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
			moved[i] = fcntl(stdio[i], F_DUPFD, 3);
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

/* Like subprocess: nothing but 0, 1 and 2 is inherited. The exec pipe goes with the exec. */
static void aa_child_close_rest(void)
{
#ifdef SYS_close_range
	if (!syscall(SYS_close_range, 3, ~0U, 4 /* CLOSE_RANGE_CLOEXEC, 5.11 */))
		return;
#endif
	for (int fd = 3; fd < 65536; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* After fork() of a threaded process: async-signal-safe calls only. */
static void __attribute__((noreturn))
aa_child_run(const struct aa_held_options *options, struct aa_hold_page *page, pid_t parent)
{
	char *const *envp = options->envp ? options->envp : environ;
	struct sigaction action = { .sa_handler = SIG_DFL };
	int first = 0;
	sigset_t none;

	/* Without this the child would wait for ever when the tracer dies. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	/* What subprocess's restore_signals does: Python ignores these. */
	sigaction(SIGPIPE, &action, NULL);
	sigaction(SIGXFSZ, &action, NULL);
	if (options->start_new_session && setsid() < 0)
		aa_child_fail(page);
	if (!aa_child_stdio(options->stdio))
		aa_child_fail(page);
	if (options->cwd && chdir(options->cwd))
		aa_child_fail(page);
	if (options->has_uid && geteuid() == 0 && setgroups(0, NULL))
		aa_child_fail(page);
	if (options->has_gid && setregid(options->gid, options->gid))
		aa_child_fail(page);
	if (options->has_uid && setreuid(options->uid, options->uid))
		aa_child_fail(page);
	/* A change of identity clears the parent-death signal. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	aa_child_close_rest();
	atomic_store(&page->state, AA_HOLD_READY);
	aa_futex_wake(&page->state);
	while (atomic_load(&page->state) == AA_HOLD_READY)
		aa_futex_wait(&page->state, AA_HOLD_READY);
	prctl(PR_SET_PDEATHSIG, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (size_t i = 0; options->executables[i]; i++) {
		execve(options->executables[i], options->argv, envp);
		/* As execvp: a file that is not there gives way to the next; the first other reason is the one told. */
		if (errno != ENOENT && errno != ENOTDIR && !first)
			first = errno;
	}
	if (first)
		errno = first;
	aa_child_fail(page);
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
	sigset_t all, before;
	pid_t parent = getpid();
	int pipes[2] = { -1, -1 }, code;

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
	/* No handler of the program's may run in the child. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	held->pid = fork();
	if (held->pid == 0)
		aa_child_run(options, held->page, parent);
	code = errno;
	sigprocmask(SIG_SETMASK, &before, NULL);
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

// SPDX-License-Identifier: MIT
#include "signal_witness.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define AA_ASK 64 /* the last number: pending with others it is handed out last */

struct aa_witness_page {
	_Atomic uint32_t answers;
	_Atomic uint32_t counts[AA_SIGNALS];
};

struct aa_signal_witness {
	struct aa_witness_page *page;
	pid_t pid;
};

static void aa_witness_close_all(void)
{
	struct rlimit limit = { 0 };

#ifdef SYS_close_range
	if (!syscall(SYS_close_range, 0, ~0U, 0)) /* 5.9 */
		return;
#endif
	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur > 65536)
		limit.rlim_cur = 65536;
	for (int fd = 0; fd < (int)limit.rlim_cur; fd++)
		close(fd);
}

/* After fork() of a threaded process: async-signal-safe calls only. */
static void __attribute__((noreturn)) aa_witness_run(struct aa_witness_page *page, pid_t parent)
{
	siginfo_t info;
	sigset_t all;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	prctl(PR_SET_NAME, "aa_witness");
	aa_witness_close_all();
	sigfillset(&all);
	for (;;) {
		int number = sigwaitinfo(&all, &info);

		if (number == AA_ASK && info.si_code == SI_QUEUE && info.si_pid == parent) {
			atomic_fetch_add(&page->answers, 1);
			syscall(SYS_futex, &page->answers, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
		} else if (number > 0 && number < AA_SIGNALS) {
			atomic_fetch_add(&page->counts[number], 1);
		}
	}
}

struct aa_error *aa_signal_witness_create(struct aa_signal_witness **ret_witness)
{
	struct aa_signal_witness *witness = calloc(1, sizeof(*witness));
	pid_t parent = getpid();
	sigset_t all, before;
	int code;

	if (!witness)
		return aa_error_create(AA_ERROR_MEMORY, ENOMEM, "out of memory");
	witness->page = mmap(NULL, sizeof(*witness->page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (witness->page == MAP_FAILED) {
		code = errno;
		free(witness);
		return aa_error_create(AA_ERROR_SYSTEM, code, "a page for the signals of the group: %s",
				       strerror(code));
	}
	/* Blocked from its first instruction on. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	witness->pid = fork();
	if (witness->pid == 0)
		aa_witness_run(witness->page, parent);
	code = errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (witness->pid < 0) {
		aa_signal_witness_destroy(witness);
		return aa_error_create(AA_ERROR_SYSTEM, code, "a process for the signals of the group: %s",
				       strerror(code));
	}
	*ret_witness = witness;
	return NULL;
}

struct aa_error *aa_signal_witness_counts(struct aa_signal_witness *witness, uint32_t ret_counts[AA_SIGNALS])
{
	uint32_t before = atomic_load(&witness->page->answers);
	struct timespec slice = { 0, 20000000 };

	if (sigqueue(witness->pid, AA_ASK, (union sigval){ 0 }))
		return aa_error_create(AA_ERROR_SYSTEM, errno, "the witness of signals: %s", strerror(errno));
	for (int i = 0; i < 50 && atomic_load(&witness->page->answers) == before; i++)
		syscall(SYS_futex, &witness->page->answers, FUTEX_WAIT, before, &slice, NULL, 0);
	if (atomic_load(&witness->page->answers) == before)
		return aa_error_create(AA_ERROR_SYSTEM, ETIMEDOUT, "the witness of signals does not answer");
	for (int i = 0; i < AA_SIGNALS; i++)
		ret_counts[i] = atomic_load(&witness->page->counts[i]);
	return NULL;
}

void aa_signal_witness_destroy(struct aa_signal_witness *witness)
{
	if (!witness)
		return;
	if (witness->pid > 0) {
		kill(witness->pid, SIGKILL);
		while (waitpid(witness->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	munmap(witness->page, sizeof(*witness->page));
	free(witness);
}

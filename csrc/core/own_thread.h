// SPDX-License-Identifier: MIT
/* Threads of the core's own. */
#ifndef AA_OWN_THREAD_H
#define AA_OWN_THREAD_H

#include <pthread.h>
#include <signal.h>

/* As pthread_create(), for a thread that takes no signal: they are the program's, and would not wake the interpreter.
 */
static inline int aa_own_thread_create(pthread_t *ret_thread, void *(*run)(void *), void *argument)
{
	sigset_t all, before;
	int code;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	code = pthread_create(ret_thread, NULL, run, argument);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return code;
}

#endif

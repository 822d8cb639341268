// SPDX-License-Identifier: MIT
/* Threads of the core's own. */
#ifndef AA_OWN_THREAD_H
#define AA_OWN_THREAD_H

#include <pthread.h>
#include <signal.h>

/* Bytes. The stack limit, which pthread_create() takes otherwise, may be larger than the address space that is left. */
#define AA_OWN_THREAD_STACK (1 << 20)

/*
 * As pthread_create(), for a thread that takes no signal: signals are the program's, and a signal that this thread took
 * would not wake the interpreter.
 */
static inline int aa_own_thread_create(pthread_t *ret_thread, void *(*run)(void *), void *argument)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	int code;

	code = pthread_attr_init(&attributes);
	if (code)
		return code;
	pthread_attr_setstacksize(&attributes, AA_OWN_THREAD_STACK);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	code = pthread_create(ret_thread, &attributes, run, argument);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return code;
}

#endif

// SPDX-License-Identifier: MIT
#include "health.h"

#include <errno.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "backend.h"
#include "drain.h"
#include "own_thread.h"
#include "syscall_table.h"

void aa_health_add_problem(struct aa_health *health, const char *format, ...)
{
	va_list arguments;

	if (health->problem_count == AA_PROBLEMS_MAX)
		return;
	va_start(arguments, format);
	vsnprintf(health->problems[health->problem_count++], AA_PROBLEM_BYTES, format, arguments);
	va_end(arguments);
}

/* A name that cannot be: /dev/null is no directory. Of a relative one, the directory is no descriptor. */
static const char aa_canary_name[] = "/dev/null/aa_fileio";
static const struct sockaddr_un aa_canary_address = { .sun_family = AF_UNIX, .sun_path = "/dev/null/aa_fileio" };

static const char *const aa_canary_argv[] = { aa_canary_name, NULL };

static void aa_canary_put(long *args, uint8_t argument, long value)
{
	if (argument)
		args[argument - 1] = value;
}

/* Arguments by which the row's call fails without doing anything. */
static void aa_canary_arguments(const struct aa_call_spec *spec, long *ret_args)
{
	memset(ret_args, 0, 6 * sizeof(*ret_args));
	aa_canary_put(ret_args, spec->fd, -1);
	aa_canary_put(ret_args, spec->fd2, -1);
	aa_canary_put(ret_args, spec->dirfd, -1);
	aa_canary_put(ret_args, spec->dirfd2, -1);
	aa_canary_put(ret_args, spec->path, (long)(aa_canary_name + (spec->dirfd ? 1 : 0)));
	aa_canary_put(ret_args, spec->path2, (long)(aa_canary_name + (spec->dirfd2 ? 1 : 0)));
	/* Without arguments the kernel complains in its log. */
	if (spec->operation == AA_OPERATION_EXEC)
		aa_canary_put(ret_args, spec->path + 1, (long)aa_canary_argv);
	switch (spec->when) {
	case AA_WHEN_REMOVE:
		ret_args[0] = 1; /* no page begins there */
		ret_args[1] = 1;
		ret_args[2] = MADV_REMOVE;
		break;
	case AA_WHEN_UNIX_PATH:
		ret_args[1] = (long)&aa_canary_address;
		ret_args[2] = sizeof(aa_canary_address);
		break;
	case AA_WHEN_BLOCKS:
		ret_args[1] = FICLONE;
		break;
	case AA_WHEN_OF_FILE:
		ret_args[1] = 4096;
		ret_args[3] = MAP_PRIVATE;
		break;
	default:
		/* memfd_create() refuses these flags, msync() that address. */
		if (!spec->fd && !spec->path && !spec->dirfd) {
			ret_args[0] = 1;
			aa_canary_put(ret_args, spec->flags, -1);
		}
	}
}

struct aa_canaries {
	struct aa_probes *probes;
	struct aa_drain *drain;
	uint64_t operations;
	bool errors_only;
	int code;			 /* of errno: the kernel did not take the thread for watched */
	bool is_expected[AA_CALL_COUNT]; /* made, and its event must come */
};

static void *aa_canaries_call(void *context)
{
	struct aa_canaries *canaries = context;
	/* A filter might kill for a call that this process does not make otherwise. */
	bool has_filter = prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != 0;

	canaries->code = aa_probes_watch_thread(canaries->probes);
	if (canaries->code)
		return NULL;
	aa_drain_canaries_begin(canaries->drain);
	for (unsigned row = 0; row < AA_CALL_COUNT; row++) {
		const struct aa_call_spec *spec = &aa_call_specs[row];
		long args[6], result;

		if (!(canaries->operations >> spec->operation & 1) || spec->operation == AA_OPERATION_BLIND_SPOT ||
		    (has_filter && row != AA_CALL_openat && row != AA_CALL_read))
			continue;
		aa_canary_arguments(spec, args);
		errno = 0;
		result = syscall(aa_call_info(row)->number, args[0], args[1], args[2], args[3], args[4], args[5]);
		/* Not of this kernel; or refused before it was entered. */
		canaries->is_expected[row] =
			!(result < 0 && (errno == ENOSYS || errno == EPERM)) && !(canaries->errors_only && result >= 0);
	}
	aa_drain_canaries_end(canaries->drain);
	aa_probes_unwatch_thread(canaries->probes);
	return NULL;
}

void aa_canaries_run(struct aa_probes *probes, struct aa_drain *drain, uint64_t operations, bool errors_only,
		     int64_t deadline_ns, struct aa_health *health)
{
	struct aa_canaries canaries = {
		.probes = probes, .drain = drain, .operations = operations, .errors_only = errors_only
	};
	bool has_arrived[AA_CALL_COUNT] = { false };
	pthread_t thread;
	int code;

	if (!aa_drain_canaries_wait(drain, 0, has_arrived)) {
		aa_health_add_problem(health, "the last canaries are still in the ring: events wait to be read");
		return;
	}
	code = aa_own_thread_create(&thread, aa_canaries_call, &canaries);
	if (!code) {
		pthread_join(thread, NULL);
		code = canaries.code;
	}
	if (code) {
		aa_health_add_problem(health, "no canary could be sent: %s", strerror(code));
		return;
	}
	if (!aa_drain_canaries_wait(drain, deadline_ns, has_arrived))
		aa_health_add_problem(health, "the canaries have not all come through in time: events wait to be read");
	health->has_canaries = true;
	for (unsigned row = 0; row < AA_CALL_COUNT; row++) {
		if (!canaries.is_expected[row])
			continue;
		health->canaries++;
		if (!has_arrived[row])
			aa_health_add_problem(health, "a call of %s was not seen", aa_call_name(row));
	}
}

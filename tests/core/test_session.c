// SPDX-License-Identifier: MIT
/* What a session says before any probe: options, lifecycle, errors as values, names of the table. */
#include "session.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../bpf/fileio_abi.h"
#include "check.h"

static void expect_refusal(struct aa_session_options options, const char *words)
{
	struct aa_session *session = NULL;
	struct aa_error *error = aa_session_create(&options, &session);

	CHECK(error && error->code == AA_ERROR_VALUE && strstr(error->message, words) && !session);
	aa_error_destroy(error);
}

static void test_options(void)
{
	expect_refusal((struct aa_session_options){ .ring_bytes = 4095 }, "ring_bytes=4095");
	expect_refusal((struct aa_session_options){ .ring_bytes = 12288 }, "power of two");
	expect_refusal((struct aa_session_options){ .ring_bytes = 1ull << 31 }, "ring_bytes=2147483648");
	expect_refusal((struct aa_session_options){ .queue_bytes = 1 }, "queue_bytes=1");
	expect_refusal((struct aa_session_options){ .backend = "fanotify" }, "fanotify");
	expect_refusal((struct aa_session_options){ .operations = 1ull << 60 }, "operations");
	expect_refusal((struct aa_session_options){ .kinds = 1u << 30 }, "kinds");
}

static enum aa_error_code attach_code(pid_t pid)
{
	struct aa_session *session;
	struct aa_error *error =
		aa_session_create(&(struct aa_session_options){ .has_pid = true, .pid = pid }, &session);
	enum aa_error_code code;

	CHECK(!error);
	error = aa_session_attach(session);
	CHECK(error);
	code = error ? error->code : AA_ERROR_MEMORY;
	CHECK(!aa_session_is_attached(session) && !aa_session_backend(session));
	aa_error_destroy(error);
	aa_session_destroy(session);
	return code;
}

static void test_pids(void)
{
	pid_t child;

	CHECK(attach_code(0) == AA_ERROR_VALUE);
	CHECK(attach_code(-1) == AA_ERROR_VALUE);
	CHECK(attach_code(INT_MAX) == AA_ERROR_NO_PROCESS);
	child = fork();
	if (!child)
		_exit(0);
	waitid(P_PID, (id_t)child, NULL, WEXITED | WNOWAIT);
	CHECK(attach_code(child) == AA_ERROR_NO_PROCESS); /* a zombie */
	waitpid(child, NULL, 0);
	CHECK(attach_code(child) == AA_ERROR_NO_PROCESS);
}

static void test_lifecycle(void)
{
	struct aa_session *session;
	struct aa_stats stats;
	struct aa_error *error;
	struct aa_passed_over_list passed_over;

	CHECK(!aa_session_create(&(struct aa_session_options){ 0 }, &session));
	error = aa_session_reader_acquire(session);
	CHECK(error && error->code == AA_ERROR_STATE);
	aa_error_destroy(error);
	CHECK(!aa_session_detach(session, true));
	CHECK(aa_session_fileno(session) >= 0);
	aa_session_stats(session, &stats);
	CHECK(stats.performed == 0 && stats.exact);
	aa_session_passed_over(session, &passed_over);
	CHECK(passed_over.count == 0);
	CHECK(!aa_session_close(session) && !aa_session_close(session));
	CHECK(aa_session_is_closed(session) && aa_session_fileno(session) == -1);
	error = aa_session_attach(session);
	CHECK(error && error->code == AA_ERROR_CLOSED);
	aa_error_destroy(error);
	error = aa_session_reader_acquire(session);
	CHECK(error && error->code == AA_ERROR_CLOSED);
	aa_error_destroy(error);
	aa_session_stats(session, &stats);
	CHECK(stats.exact);
	aa_session_destroy(session);
	aa_session_destroy(NULL);
}

static void test_forked_child(void)
{
	struct aa_session *session;
	int status;
	pid_t child;

	CHECK(!aa_session_create(&(struct aa_session_options){ 0 }, &session));
	child = fork();
	if (!child) {
		struct aa_error *error;

		aa_session_after_fork_in_child(session);
		error = aa_session_attach(session);
		CHECK(error && error->code == AA_ERROR_STATE && strstr(error->message, "parent"));
		aa_error_destroy(error);
		CHECK(!aa_session_detach(session, true) && !aa_session_close(session));
		CHECK(aa_session_fileno(session) == -1);
		aa_session_destroy(session);
		_exit(CHECK_DONE());
	}
	waitpid(child, &status, 0);
	CHECK(status == 0);
	aa_session_destroy(session);
}

static void test_errors(void)
{
	struct aa_error *error = aa_error_create(AA_ERROR_ATTACH, EBUSY, "no %s", "luck");

	CHECK(!strcmp(error->message, "no luck") && error->errno_value == EBUSY && !error->program);
	CHECK(aa_error_with_probe(error, "p", NULL) == error && !strcmp(error->program, "p") && !error->function);
	aa_error_with_log(error, "");
	CHECK(!error->libbpf_log);
	aa_error_with_remedy(error, "try");
	aa_error_with_remedy(error, "try again");
	CHECK(!strcmp(error->remedy, "try again"));
	aa_error_destroy(error);
	aa_error_destroy(NULL);
}

static void test_names(void)
{
	unsigned origin = 0;
	size_t i;

	for (i = 0; aa_call_info(i); i++) {
		origin += aa_call_info(i)->origin;
		CHECK(!strcmp(aa_call_info(i)->name, aa_call_name((unsigned)i)));
		CHECK(!strncmp(aa_call_info(i)->function, "__x64_sys_", 10));
	}
	CHECK(origin == 7 && !aa_call_via(0));
	for (size_t request = 0; aa_aio_info(request); request++, i++) {
		CHECK(!strcmp(aa_aio_info(request)->name, aa_call_name((unsigned)i)));
		CHECK(!strcmp(aa_via_name(aa_call_via((unsigned)i)), "aio"));
	}
	for (size_t ring = 0; aa_ring_info(ring); ring++, i++) {
		CHECK(!strcmp(aa_ring_info(ring)->name, aa_call_name((unsigned)i)));
		CHECK(!strcmp(aa_via_name(aa_call_via((unsigned)i)), "io_uring"));
	}
	CHECK(!strcmp(aa_call_name((unsigned)i), "open_exec") &&
	      !strcmp(aa_via_name(aa_call_via((unsigned)i)), "exec"));
	CHECK(aa_call_operation((unsigned)i) == AA_OPERATION_OPEN);
	i++;
	CHECK(!strcmp(aa_call_name((unsigned)i), "security_file_open"));
	CHECK(!strcmp(aa_via_name(aa_call_via((unsigned)i)), "kernel"));
	i++;
	CHECK(!strcmp(aa_call_name((unsigned)i), "security_file_permission"));
	CHECK(!strcmp(aa_via_name(aa_call_via((unsigned)i)), "kernel"));
	i++;
	CHECK(!aa_call_name((unsigned)i) && !aa_via_name(5) && aa_call_operation((unsigned)i) == AA_OPERATION_COUNT);
	CHECK(!strcmp(aa_operation_name(0), "open") && !aa_operation_name(63));
	CHECK(aa_operation_in_group(0, "access") && !aa_operation_in_group(0, "nonsense"));
	CHECK(!aa_kind_name(63) && !aa_path_source_name(63) && !aa_path_flag_name(7));
}

static void test_held_process(void)
{
	const char *nowhere[] = { "/nonexistent/program", NULL }, *shell[] = { "/bin/sh", NULL };
	char *argv[] = { "sh", "-c", "exit 7", NULL };
	struct aa_held_options options = { .executables = nowhere, .argv = argv, .stdio = { -1, -1, -1 } };
	struct aa_held_process *held;
	struct aa_error *error;
	int status;

	CHECK(!aa_held_process_create(&options, &held));
	error = aa_held_process_release(held);
	CHECK(error && error->code == AA_ERROR_SYSTEM && error->errno_value == ENOENT);
	aa_error_destroy(error);
	aa_held_process_destroy(held);

	options.executables = shell;
	CHECK(!aa_held_process_create(&options, &held));
	CHECK(waitpid(aa_held_process_pid(held), &status, WNOHANG) == 0);
	CHECK(!aa_held_process_release(held));
	CHECK(waitpid(aa_held_process_pid(held), &status, 0) > 0 && WEXITSTATUS(status) == 7);
	aa_held_process_destroy(held);

	/* Never released: killed and reaped. */
	CHECK(!aa_held_process_create(&options, &held));
	aa_held_process_destroy(held);
	CHECK(waitpid(-1, &status, WNOHANG) == -1 && errno == ECHILD);

	/* With our own 0, 1 and 2 closed the failure of an exec is still told. */
	if (!fork()) {
		close(0);
		close(1);
		options.executables = nowhere;
		options.stdio[0] = options.stdio[1] = 2;
		CHECK(!aa_held_process_create(&options, &held));
		error = aa_held_process_release(held);
		CHECK(error && error->errno_value == ENOENT);
		_exit(CHECK_DONE());
	}
	CHECK(wait(&status) > 0 && status == 0);

	options.cwd = "/nonexistent";
	error = aa_held_process_create(&options, &held);
	CHECK(error && error->errno_value == ENOENT);
	aa_error_destroy(error);
	aa_held_process_destroy(NULL);
}

int main(void)
{
	test_options();
	test_pids();
	test_lifecycle();
	test_forked_child();
	test_errors();
	test_names();
	test_held_process();
	return CHECK_DONE();
}

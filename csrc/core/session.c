// SPDX-License-Identifier: MIT
#include "session.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "backend.h"
#include "blind_spots.h"
#include "boot_clock.h"
#include "drain.h"
#include "event_queue.h"
#include "health.h"
#include "kernel_types.h"
#include "process_tree.h"
#include "proc.h"
#include "refusal.h"
#include "signs.h"
#include "totals.h"

enum aa_state {
	AA_STATE_DETACHED,
	AA_STATE_ATTACHING,
	AA_STATE_ATTACHED,
	AA_STATE_DETACHING, /* is_attached is false already, the kernel not yet rid of us */
};

struct aa_session {
	struct aa_session_options options;
	char backend_asked[32];
	volatile unsigned char *own; /* 1, and 0 in a forked child, which may not use it: each read of an event asks */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Changed under the lock; what is atomic is read without it, too. */
	_Atomic(enum aa_state) state;
	_Atomic bool closed, has_ledger;
	bool is_checking; /* health is being looked at: probes and drain stay */
	_Atomic(const char *) backend;
	struct aa_passed_over_list passed_over;
	_Atomic uint64_t boottime_to_realtime_ns;
	struct aa_before before;
	bool target_is_held;
	struct aa_stats final; /* of a closed session */

	struct aa_probes *probes;
	struct aa_drain *drain;
	struct aa_event_queue *queue;
	struct aa_totals *totals;    /* of the last trace, if asked for */
	struct aa_path_rules *rules; /* NULL: none were given */
	struct aa_signs *signs;	     /* of the last trace */

	int signal; /* eventfd, readable while a read would not wait */
	pthread_mutex_t signal_lock;
	bool signalled;
	_Atomic bool reading, stream_over;
	_Atomic uint64_t delivered;
};

static const char aa_text_forked[] =
	"this trace belongs to the parent process: a forked child makes its own KprobeManager";

static const char aa_text_rings[] = "its requests are not followed, and so a ring is a blind spot";
static const char aa_text_nothing_attached[] = "nothing has been attached";
static const char aa_text_attaching[] = "attach() is still under way";

static bool aa_session_is_inert(const struct aa_session *session)
{
	return !*session->own;
}

/* A page of which a fork's copy is wiped (MADV_WIPEONFORK, 4.14): that costs a load to ask, and getpid() a system call.
 */
static volatile unsigned char *aa_own_create(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	unsigned char *own = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (own == MAP_FAILED)
		return NULL;
	if (madvise(own, page, MADV_WIPEONFORK)) {
		munmap(own, page);
		return NULL;
	}
	*own = 1;
	return own;
}

static void aa_own_destroy(volatile unsigned char *own)
{
	if (own)
		munmap((void *)own, (size_t)sysconf(_SC_PAGESIZE));
}

static struct aa_error *aa_no_memory_error(void)
{
	return aa_error_create(AA_ERROR_MEMORY, ENOMEM, "out of memory");
}

/* The eventfd follows what a read would find. */
static void aa_signal_update(struct aa_session *session)
{
	bool wanted;
	uint64_t value = 1;

	pthread_mutex_lock(&session->signal_lock);
	wanted = aa_event_queue_length(session->queue) || atomic_load(&session->stream_over);
	if (wanted != session->signalled && session->signal >= 0) {
		ssize_t bytes = wanted ? write(session->signal, &value, sizeof(value)) :
					 read(session->signal, &value, sizeof(value));

		if (bytes == sizeof(value))
			session->signalled = wanted;
	}
	pthread_mutex_unlock(&session->signal_lock);
}

static struct aa_error *aa_check_size(const char *name, uint64_t given, bool power_of_two)
{
	if (given < AA_SIZE_BYTES_MIN || given > AA_SIZE_BYTES_MAX || (power_of_two && given & (given - 1)))
		return aa_error_create(AA_ERROR_VALUE, 0, "%s=%llu: it must be %sbetween %u and %u", name,
				       (unsigned long long)given, power_of_two ? "a power of two " : "",
				       AA_SIZE_BYTES_MIN, AA_SIZE_BYTES_MAX);
	return NULL;
}

static struct aa_error *aa_session_set_options(struct aa_session *session, const struct aa_session_options *options)
{
	struct aa_session_options *ours = &session->options;
	struct aa_error *error;

	*ours = *options;
	for (unsigned i = 0; aa_operation_name(i); i++)
		if (aa_operation_in_group(i, "always") || (!options->operations && aa_operation_in_group(i, "default")))
			ours->operations |= 1ULL << i;
	if (ours->operations >> AA_OPERATION_COUNT)
		return aa_error_create(AA_ERROR_VALUE, 0, "operations=%#llx: only %u are known",
				       (unsigned long long)ours->operations, AA_OPERATION_COUNT);
	if (!ours->kinds)
		for (unsigned i = 0; aa_kind_name(i); i++)
			if (aa_kind_is_default(i))
				ours->kinds |= 1u << i;
	if (ours->kinds >> AA_KIND_COUNT)
		return aa_error_create(AA_ERROR_VALUE, 0, "kinds=%#x: only %u are known", ours->kinds, AA_KIND_COUNT);
	if (ours->min_duration_ns > AA_DURATION_NS_MAX)
		return aa_error_create(AA_ERROR_VALUE, 0, "min_duration_ns=%llu: at most %lld",
				       (unsigned long long)ours->min_duration_ns, (long long)AA_DURATION_NS_MAX);
	if (ours->witness_io && !(ours->operations & (1ULL << AA_OPERATION_READ | 1ULL << AA_OPERATION_WRITE)))
		return aa_error_create(AA_ERROR_VALUE, 0, "witness_io=True needs read or write among the ops");
	if (ours->min_duration_ns && ours->no_latency)
		return aa_error_create(AA_ERROR_VALUE, 0,
				       "min_duration_ns needs durations: it cannot be given with latency=False");
	if (ours->total_rows && (ours->total_rows < AA_TOTAL_ROWS_MIN || ours->total_rows > AA_TOTAL_ROWS_MAX ||
				 ours->total_rows & (ours->total_rows - 1)))
		return aa_error_create(AA_ERROR_VALUE, 0, "totals_rows=%u: it must be a power of two between %u and %u",
				       ours->total_rows, AA_TOTAL_ROWS_MIN, AA_TOTAL_ROWS_MAX);
	if (ours->no_events && !ours->total_rows)
		return aa_error_create(AA_ERROR_VALUE, 0, "events=False leaves nothing without totals=True");
	if (ours->max_delay_ms > AA_DELAY_MS_MAX)
		return aa_error_create(AA_ERROR_VALUE, 0, "max_delay_ms=%u: it must be between 1 and %u",
				       ours->max_delay_ms, AA_DELAY_MS_MAX);
	if (!ours->max_delay_ms)
		ours->max_delay_ms = AA_DELAY_MS_DEFAULT;
	if (!ours->ring_bytes)
		ours->ring_bytes = AA_RING_BYTES_DEFAULT;
	if (!ours->queue_bytes)
		ours->queue_bytes = AA_QUEUE_BYTES_DEFAULT;
	error = aa_check_size("ring_bytes", ours->ring_bytes, true);
	if (!error)
		error = aa_check_size("queue_bytes", ours->queue_bytes, false);
	if (error)
		return error;
	/* Nothing comes through either but that the tree has ended. */
	if (ours->no_events) {
		ours->ring_bytes = AA_SIZE_BYTES_MIN;
		ours->queue_bytes = AA_SIZE_BYTES_MIN;
	}
	if (ours->backend) {
		bool known = false;

		for (size_t i = 0; aa_backend_name(i); i++)
			known = known || strcmp(ours->backend, aa_backend_name(i)) == 0;
		if (!known)
			return aa_error_create(AA_ERROR_VALUE, 0,
					       "backend=\"%s\": known are kprobe, fentry and tracepoint",
					       ours->backend);
		snprintf(session->backend_asked, sizeof(session->backend_asked), "%s", ours->backend);
		ours->backend = session->backend_asked;
	}
	return NULL;
}

/* The texts stay the caller's. */
static struct aa_error *aa_session_set_rules(struct aa_session *session)
{
	struct aa_error *error = NULL;
	size_t count = 0;

	for (size_t list = 0; list < AA_RULE_LISTS; list++)
		count += session->options.rules[list].count;
	if (count)
		error = aa_path_rules_create(session->options.rules, &session->rules);
	memset(session->options.rules, 0, sizeof(session->options.rules));
	return error;
}

struct aa_error *aa_session_create(const struct aa_session_options *options, struct aa_session **ret_session)
{
	struct aa_session *session = calloc(1, sizeof(*session));
	struct aa_error *error;

	if (!session)
		return aa_no_memory_error();
	session->own = aa_own_create();
	if (!session->own) {
		free(session);
		return aa_no_memory_error();
	}
	session->signal = -1;
	session->final = (struct aa_stats){ .exact = true, .no_trace_reason = aa_text_nothing_attached };
	pthread_mutex_init(&session->lock, NULL);
	pthread_mutex_init(&session->signal_lock, NULL);
	pthread_cond_init(&session->changed, NULL);
	error = aa_session_set_options(session, options);
	if (!error)
		error = aa_session_set_rules(session);
	if (!error) {
		session->signal = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		session->queue = aa_event_queue_create(session->options.queue_bytes);
		session->signs = aa_signs_create();
		if (session->signal < 0)
			error = aa_error_create(AA_ERROR_SYSTEM, errno, "eventfd: %s", strerror(errno));
		else if (!session->queue || !session->signs)
			error = aa_no_memory_error();
	}
	if (error) {
		aa_session_destroy(session);
		return error;
	}
	*ret_session = session;
	return NULL;
}

void aa_session_destroy(struct aa_session *session)
{
	if (!session)
		return;
	/*
	 * In a forked child the threads that were inside a call of this session are gone, and what they held is held
	 * for ever, in the middle of a change: locks, a condition that they wait for, the queue. All of that is left as
	 * it is.
	 */
	if (aa_session_is_inert(session)) {
		aa_session_after_fork_in_child(session);
		return;
	}
	if (session->queue)
		aa_error_destroy(aa_session_close(session));
	aa_event_queue_destroy(session->queue);
	aa_path_rules_destroy(session->rules);
	aa_signs_destroy(session->signs);
	if (session->signal >= 0)
		close(session->signal);
	pthread_mutex_destroy(&session->lock);
	pthread_mutex_destroy(&session->signal_lock);
	pthread_cond_destroy(&session->changed);
	aa_own_destroy(session->own);
	free(session);
}

static void aa_on_ready(void *context)
{
	aa_signal_update(context);
}

static void aa_on_ended(void *context)
{
	struct aa_session *session = context;

	atomic_store(&session->stream_over, true);
	aa_signal_update(session);
}

static void aa_on_detached(void *context)
{
	struct aa_session *session = context;

	pthread_mutex_lock(&session->lock);
	session->state = AA_STATE_DETACHED;
	aa_path_rules_unmark(session->rules);
	pthread_cond_broadcast(&session->changed);
	pthread_mutex_unlock(&session->lock);
}

/* The last trace's thread and probes; its events stay. The lock is not held: the thread takes it at its end. */
static void aa_session_drop_trace(struct aa_session *session)
{
	aa_drain_destroy(session->drain);
	session->drain = NULL;
	aa_totals_destroy(session->totals);
	session->totals = NULL;
	aa_probes_destroy(session->probes);
	session->probes = NULL;
	aa_path_rules_unmark(session->rules);
}

static uint64_t aa_clock_ns(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return (uint64_t)time.tv_sec * 1000000000ull + (uint64_t)time.tv_nsec;
}

/* One backend, all of it: load, hooks, probes, the tree, and the gate last. */
static struct aa_error *aa_session_attach_with(struct aa_session *session, const char *backend, int pidfd,
					       struct aa_kernel_types **types, bool no_rings)
{
	const struct aa_session_options *options = &session->options;
	struct aa_probe_options probe_options = {
		.operations = options->operations,
		.kinds = options->kinds,
		.scope = !options->has_pid ? AA_SCOPE_SYSTEM :
			 options->follow   ? AA_SCOPE_TREE :
					     AA_SCOPE_SINGLE,
		.no_latency = options->no_latency,
		.no_multi = options->no_multi,
		.errors_only = options->errors_only,
		.witness_io = options->witness_io,
		.rules = session->rules ? aa_path_rules_for_kernel(session->rules) : NULL,
		.only_changes = options->only_changes,
		.min_duration_ns = options->min_duration_ns,
		.total_rows = options->total_rows,
		.no_events = options->no_events,
		.ring_bytes = options->ring_bytes,
		.no_rings = no_rings,
		.is_named = options->backend != NULL,
	};
	struct aa_drain_options drain_options = {
		.ring_bytes = options->ring_bytes,
		.max_delay_ms = options->max_delay_ms,
		.rules = session->rules,
		.signs = session->signs,
		.ends_with_root = options->until == AA_UNTIL_ROOT || !options->follow,
	};
	struct aa_drain_callbacks callbacks = { session, aa_on_ready, aa_on_ended, aa_on_detached };
	volatile struct aa_control *control;
	struct aa_error *error;

	aa_signs_clear(session->signs);
	if (session->rules)
		aa_path_rules_mark(session->rules);
	error = aa_probes_create(backend, &probe_options, types, &session->probes);
	if (error)
		return error;
	control = aa_probes_control(session->probes);
	control->own_fd = session->signal;
	if (options->total_rows)
		error = aa_totals_create(aa_probes_totals(session->probes), aa_probes_names(session->probes),
					 options->total_rows, &session->totals);
	if (!error)
		error = aa_drain_create(session->probes, session->queue, session->totals, &drain_options, &callbacks,
					&session->drain);
	if (!error)
		error = aa_probes_attach(session->probes);
	if (!error)
		error = aa_process_tree_seed(session->probes, options->has_pid, options->pid, options->follow,
					     session->target_is_held, aa_drain_tid(session->drain), options->operations,
					     session->signs, &session->before);
	if (!error && pidfd >= 0 && !aa_process_is_alive(pidfd))
		error = aa_error_create(AA_ERROR_NO_PROCESS, ESRCH, "process %d exited while it was being attached to",
					(int)options->pid);
	if (error) {
		/* The drain was not to watch yet, and so ends without a word: the next try finds the session as it was.
		 */
		aa_session_drop_trace(session);
		return error;
	}
	for (size_t i = 0; probe_options.rules && i < probe_options.rules->file_count; i++)
		if (probe_options.rules->files[i].unseen)
			aa_path_rules_note_unseen(session->rules, i, probe_options.rules->files[i].unseen);
	session->boottime_to_realtime_ns = aa_clock_ns(CLOCK_REALTIME) - aa_boot_clock_ns();
	aa_drain_watch(session->drain);
	__atomic_store_n(&control->gate, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/* Under a name that is there already it is said once: each backend tries the rings anew. */
static void aa_passed_over_add(struct aa_passed_over_list *list, const char *backend, const char *message,
			       const char *more)
{
	struct aa_passed_over *item = &list->items[list->count];

	for (size_t i = 0; i < list->count; i++)
		if (!strcmp(list->items[i].backend, backend))
			return;
	if (list->count == AA_PASSED_OVER_MAX)
		return;
	list->count++;
	snprintf(item->backend, sizeof(item->backend), "%s", backend);
	snprintf(item->reason, sizeof(item->reason), "%s%s%s", message, more ? "; " : "", more ? more : "");
}

/* Where the requests of io_uring cannot be followed although the kernel shows them, a ring is a blind spot. */
static struct aa_error *aa_session_attach_backend(struct aa_session *session, const char *backend, int pidfd,
						  struct aa_kernel_types **types, struct aa_passed_over_list *passed)
{
	struct aa_error *error = aa_session_attach_with(session, backend, pidfd, types, false);
	const char *refused;

	if (!error && (refused = aa_probes_rings_refused(session->probes)))
		aa_passed_over_add(passed, AA_PASSED_OVER_RINGS, aa_text_rings, refused);
	if (!error || !error->program || !strstr(error->program, "_ring_"))
		return error;
	aa_passed_over_add(passed, AA_PASSED_OVER_RINGS, aa_text_rings, error->message);
	aa_error_destroy(error);
	return aa_session_attach_with(session, backend, pidfd, types, true);
}

/* How bad an error is for "which one shall the user see when no backend worked". */
static int aa_error_rank(const struct aa_error *error)
{
	return error->code == AA_ERROR_PERMISSION ? 2 : error->code == AA_ERROR_UNAVAILABLE ? 0 : 1;
}

static struct aa_error *aa_session_attach_any(struct aa_session *session, int pidfd, struct aa_kernel_types **types,
					      struct aa_passed_over_list *passed, const char **ret_backend)
{
	struct aa_error *worst = NULL;

	for (size_t i = 0; aa_backend_name(i); i++) {
		const char *backend = aa_backend_name(i);
		struct aa_error *error;

		if (session->options.backend && strcmp(session->options.backend, backend) != 0)
			continue;
		error = aa_session_attach_backend(session, backend, pidfd, types, passed);
		if (!error) {
			*ret_backend = backend;
			aa_error_destroy(worst);
			return NULL;
		}
		if (session->options.backend ||
		    (error->code != AA_ERROR_UNAVAILABLE && error->code != AA_ERROR_ATTACH &&
		     error->code != AA_ERROR_PERMISSION)) {
			/* The process is gone, memory is short: another backend would say the same. */
			aa_error_destroy(worst);
			return error;
		}
		aa_passed_over_add(passed, backend, error->message, error->remedy);
		/* Of equals the later one: it asks for less, and would be the one that is used. */
		if (!worst || aa_error_rank(error) >= aa_error_rank(worst)) {
			aa_error_destroy(worst);
			worst = error;
		} else {
			aa_error_destroy(error);
		}
	}
	return worst;
}

/* What no backend can help replaces what one of them said. */
static struct aa_error *aa_session_refused(struct aa_error *error)
{
	struct aa_error *refusal = aa_refusal_find();

	if (!refusal)
		return error;
	aa_error_with_log(refusal, error->libbpf_log);
	aa_error_destroy(error);
	return refusal;
}

struct aa_error *aa_session_attach(struct aa_session *session)
{
	struct aa_error *error = NULL;
	struct aa_kernel_types *types = NULL;
	struct aa_passed_over_list passed = { 0 };
	const char *backend = NULL;
	int pidfd = -1;

	if (aa_session_is_inert(session))
		return aa_error_create(AA_ERROR_STATE, 0, "%s", aa_text_forked);
	pthread_mutex_lock(&session->lock);
	if (session->closed)
		error = aa_error_create(AA_ERROR_CLOSED, 0, "this KprobeManager is closed");
	else if (session->state == AA_STATE_ATTACHED || session->state == AA_STATE_ATTACHING)
		error = aa_error_create(AA_ERROR_STATE, 0, "already attached: detach() first");
	else if (atomic_exchange(&session->reading, true))
		error = aa_error_create(AA_ERROR_STATE, 0, "another thread is reading events");
	if (!error) {
		while (session->state == AA_STATE_DETACHING)
			pthread_cond_wait(&session->changed, &session->lock);
		session->state = AA_STATE_ATTACHING;
	}
	pthread_mutex_unlock(&session->lock);
	if (error)
		return error;

	if (session->options.has_pid)
		error = aa_process_open(session->options.pid, &pidfd);
	if (!error) {
		aa_session_drop_trace(session);
		aa_event_queue_clear(session->queue);
		atomic_store(&session->stream_over, false);
		atomic_store(&session->delivered, 0);
		aa_signal_update(session);
		session->has_ledger = false;
		if (session->rules)
			aa_path_rules_look(session->rules);
		error = aa_session_attach_any(session, pidfd, &types, &passed, &backend);
		if (error && (error->code == AA_ERROR_PERMISSION || error->code == AA_ERROR_ATTACH))
			error = aa_session_refused(error);
		aa_kernel_types_destroy(types);
	}
	if (pidfd >= 0)
		close(pidfd);
	pthread_mutex_lock(&session->lock);
	session->passed_over = passed;
	if (backend)
		session->backend = backend;
	session->state = error ? AA_STATE_DETACHED : AA_STATE_ATTACHED;
	session->has_ledger = !error;
	atomic_store(&session->reading, false);
	pthread_cond_broadcast(&session->changed);
	pthread_mutex_unlock(&session->lock);
	return error;
}

struct aa_error *aa_session_set_target(struct aa_session *session, bool has_pid, pid_t pid)
{
	struct aa_error *error = NULL;

	if (aa_session_is_inert(session))
		return aa_error_create(AA_ERROR_STATE, 0, "%s", aa_text_forked);
	pthread_mutex_lock(&session->lock);
	if (session->closed)
		error = aa_error_create(AA_ERROR_CLOSED, 0, "this KprobeManager is closed");
	else if (session->state == AA_STATE_ATTACHED || session->state == AA_STATE_ATTACHING)
		error = aa_error_create(AA_ERROR_STATE, 0, "already attached: detach() first");
	if (!error) {
		session->options.has_pid = has_pid;
		session->options.pid = pid;
	}
	pthread_mutex_unlock(&session->lock);
	return error;
}

void aa_session_set_held(struct aa_session *session, bool is_held)
{
	pthread_mutex_lock(&session->lock);
	session->target_is_held = is_held;
	pthread_mutex_unlock(&session->lock);
}

struct aa_error *aa_session_detach(struct aa_session *session, bool wait)
{
	if (aa_session_is_inert(session))
		return NULL;
	pthread_mutex_lock(&session->lock);
	while (session->state == AA_STATE_ATTACHING || session->is_checking)
		pthread_cond_wait(&session->changed, &session->lock);
	if (session->state == AA_STATE_ATTACHED) {
		session->state = AA_STATE_DETACHING;
		aa_drain_detach(session->drain);
	}
	while (wait && session->state == AA_STATE_DETACHING)
		pthread_cond_wait(&session->changed, &session->lock);
	pthread_mutex_unlock(&session->lock);
	return NULL;
}

/* The lock is held, and the probes are not being attached. */
static void aa_session_add_under_way(struct aa_session *session, struct aa_signs *signs)
{
	uint32_t tid, call;
	size_t position = 0;

	while (aa_probes_next_under_way(session->probes, &position, &tid, &call)) {
		struct aa_sign sign = { .what = AA_SIGN_UNDER_WAY, .call = (uint16_t)call, .count = 1 };

		/* Of another pid namespace it is not known what the number is here. */
		if (!aa_probes_control(session->probes)->reader_level && aa_proc_look() == AA_PROC_OURS)
			sign.pid = aa_process_of_thread((pid_t)tid);
		if (sign.pid)
			aa_blind_spots_name_process(sign.pid, sign.comm);
		aa_signs_add(signs, &sign);
	}
}

struct aa_error *aa_session_close(struct aa_session *session)
{
	struct aa_stats final;
	struct aa_error *error;
	bool was_closed;

	if (aa_session_is_inert(session))
		return NULL;
	error = aa_session_detach(session, true);
	pthread_mutex_lock(&session->lock);
	was_closed = session->closed;
	session->closed = true;
	pthread_mutex_unlock(&session->lock);
	if (was_closed || error)
		return error;
	/* The reader leaves by itself: its wait ends, and then it may not come in again. */
	atomic_store(&session->stream_over, true);
	aa_signal_update(session);
	while (atomic_exchange(&session->reading, true)) {
		struct timespec nap = { 0, 200000 };

		nanosleep(&nap, NULL);
	}
	aa_session_stats(session, &final);
	pthread_mutex_lock(&session->lock);
	session->final = final;
	if (session->has_ledger && session->probes)
		aa_session_add_under_way(session, session->signs);
	session->has_ledger = false;
	pthread_mutex_unlock(&session->lock);
	aa_session_drop_trace(session);
	aa_event_queue_clear(session->queue);
	atomic_store(&session->reading, false);
	return NULL;
}

void aa_session_after_fork_in_child(struct aa_session *session)
{
	if (!aa_session_is_inert(session))
		return;
	aa_drain_abandon(session->drain);
	session->drain = NULL;
	session->totals = NULL; /* mapped without a fork's copy, and perhaps in the middle of a change */
	aa_probes_abandon(session->probes);
	session->probes = NULL;
	aa_path_rules_unmark(session->rules);
	if (session->signal >= 0)
		close(session->signal);
	session->signal = -1;
	session->state = AA_STATE_DETACHED;
}

bool aa_session_is_attached(const struct aa_session *session)
{
	return session->state == AA_STATE_ATTACHED && !aa_session_is_inert(session);
}

bool aa_session_is_closed(const struct aa_session *session)
{
	return session->closed;
}

bool aa_session_target(struct aa_session *session, pid_t *ret_pid)
{
	bool is_inert = aa_session_is_inert(session), has_pid;

	/* Whoever held the lock when a child was forked does not exist in it. */
	if (!is_inert)
		pthread_mutex_lock(&session->lock);
	*ret_pid = session->options.pid;
	has_pid = session->options.has_pid;
	if (!is_inert)
		pthread_mutex_unlock(&session->lock);
	return has_pid;
}

const char *aa_session_backend(const struct aa_session *session)
{
	return session->backend;
}

void aa_session_passed_over(struct aa_session *session, struct aa_passed_over_list *ret_list)
{
	ret_list->count = 0;
	if (aa_session_is_inert(session))
		return;
	pthread_mutex_lock(&session->lock);
	*ret_list = session->passed_over;
	pthread_mutex_unlock(&session->lock);
}

struct aa_error *aa_session_rule_notes(struct aa_session *session, struct aa_rule_note **ret_notes, size_t *ret_count)
{
	const struct aa_rule_note *notes = NULL;
	size_t count = 0, bytes = 0;
	char *text;

	*ret_notes = NULL;
	*ret_count = 0;
	if (aa_session_is_inert(session))
		return aa_error_create(AA_ERROR_STATE, 0, "%s", aa_text_forked);
	pthread_mutex_lock(&session->lock);
	if (session->rules && session->state != AA_STATE_ATTACHING)
		notes = aa_path_rules_notes(session->rules, &count);
	for (size_t i = 0; i < count; i++)
		bytes += strlen(notes[i].rule) + strlen(notes[i].text) + 2;
	*ret_notes = malloc(count * sizeof(**ret_notes) + bytes + 1);
	text = *ret_notes ? (char *)(*ret_notes + count) : NULL;
	for (size_t i = 0; text && i < count; i++) {
		(*ret_notes)[i] = (struct aa_rule_note){ notes[i].list, text, NULL };
		text = stpcpy(text, notes[i].rule) + 1;
		(*ret_notes)[i].text = text;
		text = stpcpy(text, notes[i].text) + 1;
	}
	pthread_mutex_unlock(&session->lock);
	if (!text)
		return aa_no_memory_error();
	*ret_count = count;
	return NULL;
}

struct aa_error *aa_session_targets(struct aa_session *session, struct aa_target **ret_targets, size_t *ret_count)
{
	const struct aa_target *targets;
	struct aa_error *error = NULL;

	*ret_targets = NULL;
	*ret_count = 0;
	if (aa_session_is_inert(session))
		return aa_error_create(AA_ERROR_STATE, 0, "%s", aa_text_forked);
	pthread_mutex_lock(&session->lock);
	if (session->state == AA_STATE_ATTACHED) {
		targets = aa_probes_targets(session->probes, ret_count);
		*ret_targets = malloc(*ret_count * sizeof(*targets));
		if (*ret_targets)
			memcpy(*ret_targets, targets, *ret_count * sizeof(*targets));
		else
			error = aa_no_memory_error();
	}
	pthread_mutex_unlock(&session->lock);
	return error;
}

struct aa_error *aa_session_reader_acquire(struct aa_session *session)
{
	if (aa_session_is_inert(session))
		return aa_error_create(AA_ERROR_STATE, 0, "%s", aa_text_forked);
	if (atomic_exchange(&session->reading, true)) {
		if (session->state == AA_STATE_ATTACHING)
			return aa_error_create(AA_ERROR_STATE, 0, "attach() is still under way");
		return aa_error_create(AA_ERROR_STATE, 0, "another thread is reading events: one reader at a time");
	}
	if (session->closed || !session->has_ledger) {
		atomic_store(&session->reading, false);
		return session->closed ? aa_error_create(AA_ERROR_CLOSED, 0, "this KprobeManager is closed") :
					 aa_error_create(AA_ERROR_STATE, 0, "not attached: call attach() first");
	}
	return NULL;
}

void aa_session_reader_release(struct aa_session *session)
{
	atomic_store(&session->reading, false);
}

enum aa_peek aa_session_peek(struct aa_session *session, const struct aa_file_event **ret_event)
{
	bool over;

	if (session->closed)
		return AA_PEEK_END;
	/* Asked before the queue: what was queued before the end was told is found. */
	over = atomic_load(&session->stream_over);
	if (!aa_event_queue_peek(session->queue, ret_event))
		return AA_PEEK_NO_MEMORY;
	if (*ret_event)
		return AA_PEEK_EVENT;
	return over ? AA_PEEK_END : AA_PEEK_EMPTY;
}

int64_t aa_session_boottime_to_realtime_ns(const struct aa_session *session)
{
	return (int64_t)session->boottime_to_realtime_ns;
}

void aa_session_advance(struct aa_session *session)
{
	aa_session_pass(session);
	aa_session_passed(session, 1);
}

void aa_session_pass(struct aa_session *session)
{
	aa_event_queue_pass(session->queue);
}

void aa_session_passed(struct aa_session *session, uint64_t count)
{
	aa_event_queue_passed(session->queue, count);
	atomic_fetch_add_explicit(&session->delivered, count, memory_order_relaxed);
	if (!aa_event_queue_length(session->queue))
		aa_signal_update(session);
}

enum aa_wait aa_session_wait(struct aa_session *session, int64_t deadline_ns)
{
	struct pollfd wait = { .fd = session->signal, .events = POLLIN };
	struct timespec left, *timeout = NULL;
	int ready;

	if (deadline_ns != AA_WAIT_FOREVER) {
		int64_t remaining = deadline_ns - (int64_t)aa_clock_ns(CLOCK_MONOTONIC);

		if (remaining < 0)
			remaining = 0;
		left.tv_sec = remaining / 1000000000;
		left.tv_nsec = remaining % 1000000000;
		timeout = &left;
	}
	ready = ppoll(&wait, 1, timeout, NULL);
	if (ready > 0)
		return AA_WAIT_READY;
	return ready < 0 ? AA_WAIT_INTERRUPTED : AA_WAIT_TIMEOUT;
}

int aa_session_fileno(const struct aa_session *session)
{
	return session->closed || aa_session_is_inert(session) ? -1 : session->signal;
}

void aa_session_stats(struct aa_session *session, struct aa_stats *ret_stats)
{
	struct aa_counters counters = { 0 };
	struct aa_stats *stats = ret_stats;

	memset(stats, 0, sizeof(*stats));
	stats->exact = true;
	if (aa_session_is_inert(session)) {
		stats->no_trace_reason = aa_text_forked;
		return;
	}
	pthread_mutex_lock(&session->lock);
	if (session->closed && !session->has_ledger) {
		*stats = session->final;
		pthread_mutex_unlock(&session->lock);
		return;
	}
	stats->no_trace_reason = session->state == AA_STATE_ATTACHING ? aa_text_attaching :
				 session->has_ledger		      ? NULL :
									aa_text_nothing_attached;
	stats->delivered = atomic_load(&session->delivered);
	stats->queued = aa_event_queue_length(session->queue);
	stats->boottime_to_realtime_ns = session->boottime_to_realtime_ns;
	/* While an attach is under way, probes and drain are in its hands. */
	if (session->has_ledger && session->state != AA_STATE_ATTACHING && session->probes) {
		aa_probes_counters(session->probes, &counters);
		stats->performed = counters.performed;
		stats->in_flight = counters.in_flight;
		stats->filtered = counters.filtered + aa_drain_filtered(session->drain);
		stats->counted = counters.counted;
		stats->ring_full = counters.ring_full;
		stats->state_full = counters.state_full;
		stats->no_entry = counters.no_entry;
		stats->no_exit = counters.no_exit;
		stats->fork_map_full = counters.fork_map_full;
		/* What was met then has returned since, where returns are seen. */
		stats->pre_attach =
			counters.pre_attach > session->before.calls ? counters.pre_attach : session->before.calls;
		stats->denied = counters.denied;
		stats->compat_calls = counters.compat_calls;
		stats->blind_spots = counters.blind_spots + session->before.blind_spots;
		stats->bypass = counters.bypass;
		stats->path_truncated = counters.path_truncated;
		stats->path_unreadable = counters.path_unreadable;
		stats->queued += aa_drain_waiting(session->drain);
		stats->canaries = aa_drain_canaries(session->drain);
		stats->queue_full = aa_drain_queue_full(session->drain);
		stats->decode_error = aa_drain_decode_error(session->drain);
		if (session->state == AA_STATE_ATTACHED && session->options.has_pid) {
			volatile struct aa_control *control = aa_probes_control(session->probes);
			int64_t watched = session->options.follow ? control->watched : !control->root_exited;

			stats->watched = watched > 0 ? (uint64_t)watched : 0;
		}
		if (session->state != AA_STATE_DETACHING)
			stats->exact = aa_probes_missed(session->probes, &stats->probe_missed, stats->inexact_reason,
							sizeof(stats->inexact_reason));
	}
	pthread_mutex_unlock(&session->lock);
}

struct aa_error *aa_session_signs(struct aa_session *session, struct aa_sign **ret_signs, size_t *ret_count)
{
	struct aa_error *error = NULL;
	struct aa_signs *signs;

	*ret_signs = NULL;
	*ret_count = 0;
	if (aa_session_is_inert(session))
		return NULL;
	pthread_mutex_lock(&session->lock);
	signs = session->signs;
	if (session->has_ledger && session->probes && session->state != AA_STATE_ATTACHING) {
		/* What is under way is so at this moment only. */
		signs = aa_signs_create();
		if (signs) {
			aa_signs_add_all(signs, session->signs);
			aa_session_add_under_way(session, signs);
		}
	}
	*ret_signs = signs ? aa_signs_copy(signs, ret_count) : NULL;
	if (!signs || (!*ret_signs && *ret_count))
		error = aa_no_memory_error();
	if (signs != session->signs)
		aa_signs_destroy(signs);
	pthread_mutex_unlock(&session->lock);
	return error;
}

struct aa_error *aa_session_health(struct aa_session *session, int64_t deadline_ns, struct aa_health *ret_health)
{
	const struct aa_session_options *options = &session->options;
	struct aa_error *error = NULL;

	memset(ret_health, 0, sizeof(*ret_health));
	if (aa_session_is_inert(session))
		return aa_error_create(AA_ERROR_STATE, 0, "%s", aa_text_forked);
	pthread_mutex_lock(&session->lock);
	while (session->is_checking)
		pthread_cond_wait(&session->changed, &session->lock);
	if (session->closed)
		error = aa_error_create(AA_ERROR_CLOSED, 0, "this KprobeManager is closed");
	else if (session->state != AA_STATE_ATTACHED)
		error = aa_error_create(AA_ERROR_STATE, 0, "not attached: call attach() first");
	session->is_checking = !error;
	pthread_mutex_unlock(&session->lock);
	if (error)
		return error;
	aa_probes_check(session->probes, ret_health);
	/* A total's row has no way to be told from the program's own. */
	if (!options->total_rows)
		aa_canaries_run(session->probes, session->drain, options->operations, options->errors_only, deadline_ns,
				ret_health);
	pthread_mutex_lock(&session->lock);
	session->is_checking = false;
	pthread_cond_broadcast(&session->changed);
	pthread_mutex_unlock(&session->lock);
	return NULL;
}

struct aa_error *aa_session_totals(struct aa_session *session, struct aa_total_row **ret_rows, size_t *ret_count)
{
	struct aa_error *error;

	*ret_rows = NULL;
	*ret_count = 0;
	if (aa_session_is_inert(session))
		return aa_error_create(AA_ERROR_STATE, 0, "%s", aa_text_forked);
	pthread_mutex_lock(&session->lock);
	if (session->closed)
		error = aa_error_create(AA_ERROR_CLOSED, 0, "this KprobeManager is closed");
	else if (!session->options.total_rows)
		error = aa_error_create(AA_ERROR_STATE, 0, "no totals were asked for: totals=True makes them");
	else if (!session->has_ledger || session->state == AA_STATE_ATTACHING)
		error = aa_error_create(AA_ERROR_STATE, 0, "not attached: call attach() first");
	else
		error = aa_totals_read(session->totals, session->rules, ret_rows, ret_count);
	pthread_mutex_unlock(&session->lock);
	return error;
}

/* NULL: it can be used. */
static struct aa_error *aa_backend_try(const char *backend, bool is_named)
{
	struct aa_probe_options options = { .operations = (1ULL << AA_OPERATION_COUNT) - 1,
					    .scope = AA_SCOPE_SINGLE, /* of no process: it attaches and sees nothing */
					    .ring_bytes = AA_SIZE_BYTES_MIN,
					    .is_named = is_named,
					    .is_trial = true };
	struct aa_probes *probes = NULL;
	struct aa_kernel_types *types = NULL;
	struct aa_error *error;

	error = aa_probes_create(backend, &options, &types, &probes);
	aa_kernel_types_destroy(types);
	if (!error)
		error = aa_probes_attach(probes);
	aa_probes_destroy(probes);
	return error;
}

struct aa_error *aa_backend_probe(const char *backend, char *ret_reason, size_t reason_bytes, bool *ret_usable)
{
	struct aa_error *error = aa_backend_try(backend, false), *named;

	*ret_usable = !error;
	/* Whoever names it may have it. */
	if (error && error->code == AA_ERROR_UNAVAILABLE) {
		named = aa_backend_try(backend, true);
		*ret_usable = !named;
		if (named) {
			aa_error_destroy(error);
			error = named;
		}
	}
	ret_reason[0] = '\0';
	if (error)
		snprintf(ret_reason, reason_bytes, "%s%s%s", error->message, error->remedy ? "; " : "",
			 error->remedy ? error->remedy : "");
	aa_error_destroy(error);
	return NULL;
}

// SPDX-License-Identifier: MIT
#include "drain.h"

#include <errno.h>
#include <limits.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "event_decode.h"
#include "kernel_ring.h"
#include "own_thread.h"
#include "../../bpf/syscalls.h"

/*
 * The reader of the ring naps between batches (measured: one that polls without pause costs the traced process 10 to
 * 40 % more), from which a ring that fills wakes it, and sleeps when nothing came for a while: then the next record
 * does. While it is awake nothing is to wake it: a wake-up is an interrupt, more than the rest of an event costs.
 */
#define AA_NAPS_BEFORE_SLEEP 10
#define AA_SLEEP_MS 500
#define AA_PASS_RECORDS 4096

struct aa_drain {
	struct aa_probes *probes;
	struct aa_event_queue *queue;
	struct aa_totals *totals; /* or NULL */
	struct aa_drain_callbacks callbacks;
	struct aa_drain_options options;
	struct aa_ring ring;
	pthread_mutex_t pass; /* held while records move, so that they can be counted in between */
	pthread_t thread;
	bool has_thread;
	int control; /* eventfd: a request waits */
	int wakers;  /* epoll of it and the rings */
	_Atomic int tid;
	_Atomic bool watching, detach_asked, stop_asked;
	_Atomic uint64_t filtered, queue_full, decode_error;
	struct aa_decoder *decoder;
	struct aa_file_event *event;
	bool has_event; /* decoded, and the queue had no room for it */
	/* Canaries: records of this thread at these positions of the ring. */
	_Atomic uint32_t canary_tid;
	_Atomic unsigned long canaries_from, canaries_until;
	_Atomic uint64_t canaries;
	_Atomic bool has_arrived[AA_CALL_COUNT];
};

static bool aa_drain_is_canary(const struct aa_drain *drain, const struct aa_record *record, unsigned long position)
{
	return record->thread == atomic_load_explicit(&drain->canary_tid, memory_order_relaxed) && record->thread &&
	       position >= atomic_load(&drain->canaries_from) && position < atomic_load(&drain->canaries_until);
}

/* Queues the decoded event; false while there is no room for it. */
static bool aa_drain_push(struct aa_drain *drain)
{
	if (aa_event_queue_push(drain->queue, drain->event))
		return true;
	if (aa_event_queue_could_hold(drain->queue, drain->event))
		return false;
	atomic_fetch_add(&drain->queue_full, 1);
	return true;
}

enum aa_pass {
	AA_PASS_NOTHING, /* the ring was empty */
	AA_PASS_SOME,
	AA_PASS_FULL, /* the queue is full: what is in the ring stays there */
};

/* By the path rules; false: it is not wanted, and counted. */
static bool aa_drain_wants(struct aa_drain *drain)
{
	if (aa_path_rules_apply(drain->options.rules, drain->event))
		return true;
	atomic_fetch_add(&drain->filtered, 1);
	return false;
}

/* One record; false while the queue has no room for its event. */
static bool aa_drain_take(struct aa_drain *drain, const unsigned char *record, size_t bytes, unsigned long position,
			  uint64_t *seq)
{
	if (!drain->has_event) {
		switch (aa_decoder_take(drain->decoder, record, bytes, drain->event)) {
		case AA_DECODED_EVENT:
			break;
		case AA_DECODED_FACT:
			return true;
		default:
			atomic_fetch_add(&drain->decode_error, 1);
			return true;
		}
		if (aa_drain_is_canary(drain, (const struct aa_record *)record, position)) {
			atomic_fetch_add(&drain->canaries, 1);
			if (drain->event->call < AA_CALL_COUNT)
				atomic_store(&drain->has_arrived[drain->event->call], true);
			return true;
		}
		if (drain->event->operation == AA_OPERATION_BLIND_SPOT)
			aa_signs_add_event(drain->options.signs, drain->event);
		if (!aa_drain_wants(drain))
			return true;
		drain->event->seq = *seq;
		*seq += 1;
	}
	drain->has_event = !aa_drain_push(drain);
	return !drain->has_event;
}

static enum aa_pass aa_drain_pass(struct aa_drain *drain, uint64_t *seq, bool *ret_busy)
{
	struct aa_ring *ring = &drain->ring;
	enum aa_pass outcome = AA_PASS_NOTHING;
	unsigned long position, start;
	const unsigned char *record;
	uint32_t header;

	pthread_mutex_lock(&drain->pass);
	position = start = atomic_load_explicit(ring->consumer, memory_order_relaxed);
	for (int i = 0; i < AA_PASS_RECORDS; i++) {
		record = aa_ring_at(ring, position, &header);
		if (!record)
			break;
		outcome = AA_PASS_SOME;
		if (!(header & BPF_RINGBUF_DISCARD_BIT) && !aa_drain_take(drain, record, header, position, seq)) {
			outcome = AA_PASS_FULL;
			break;
		}
		position = aa_ring_after(position, header);
		atomic_store_explicit(ring->consumer, position, memory_order_release);
	}
	*ret_busy = position - start > ring->bytes / 16;
	pthread_mutex_unlock(&drain->pass);
	return outcome;
}

uint64_t aa_drain_waiting(struct aa_drain *drain)
{
	const unsigned char *record;
	unsigned long position;
	uint64_t waiting = 0;
	uint32_t header;

	pthread_mutex_lock(&drain->pass);
	if (drain->ring.consumer) {
		position = atomic_load_explicit(drain->ring.consumer, memory_order_relaxed);
		while ((record = aa_ring_at(&drain->ring, position, &header))) {
			if (!(header & BPF_RINGBUF_DISCARD_BIT) && aa_record_is_event(record, header))
				waiting++;
			position = aa_ring_after(position, header);
		}
	}
	pthread_mutex_unlock(&drain->pass);
	return waiting;
}

static bool aa_drain_add_waker(struct aa_drain *drain, int fd, uint32_t events)
{
	struct epoll_event event = { .events = events };

	return !epoll_ctl(drain->wakers, EPOLL_CTL_ADD, fd, &event);
}

/* False with errno. */
static bool aa_drain_open_wakers(struct aa_drain *drain)
{
	drain->control = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	drain->wakers = epoll_create1(EPOLL_CLOEXEC);
	/* A ring with records in it is no reason to wake: the kernel side says when. */
	return drain->control >= 0 && drain->wakers >= 0 && aa_drain_add_waker(drain, drain->control, EPOLLIN) &&
	       aa_drain_add_waker(drain, drain->ring.fd, EPOLLIN | EPOLLET) &&
	       (!drain->totals || aa_drain_add_waker(drain, aa_totals_ring(drain->totals), EPOLLIN | EPOLLET));
}

static void aa_drain_wait(struct aa_drain *drain, int timeout_ms)
{
	struct epoll_event events[3];

	epoll_wait(drain->wakers, events, 3, timeout_ms);
}

static bool aa_drain_has_nothing(const struct aa_drain *drain)
{
	return aa_ring_is_empty(&drain->ring) && (!drain->totals || aa_totals_is_told(drain->totals));
}

/* Until the next batch; to be woken before if `can_take` what fills the ring. */
static void aa_drain_nap(struct aa_drain *drain, bool can_take)
{
	volatile struct aa_control *control = aa_probes_control(drain->probes);

	if (can_take) {
		control->reader_waits = AA_READER_NAPS;
		/* What filled it between our look and the flag is seen here; what fills it after it wakes us. */
		atomic_thread_fence(memory_order_seq_cst);
	}
	if (!can_take || aa_ring_waiting_bytes(&drain->ring) <= drain->ring.bytes / AA_RING_WAKE_PART)
		aa_drain_wait(drain, (int)drain->options.max_delay_ms);
	control->reader_waits = AA_READER_IS_AWAKE;
}

/* Until the next record. */
static void aa_drain_sleep(struct aa_drain *drain)
{
	volatile struct aa_control *control = aa_probes_control(drain->probes);

	control->reader_waits = AA_READER_SLEEPS;
	/* Whoever came between our look and the flag is seen here; who comes after it wakes us. */
	atomic_thread_fence(memory_order_seq_cst);
	if (aa_drain_has_nothing(drain))
		aa_drain_wait(drain, AA_SLEEP_MS);
	control->reader_waits = AA_READER_IS_AWAKE;
}

/* The watched processes have all exited, seen before the ring was last read. */
static bool aa_drain_is_over(struct aa_drain *drain)
{
	volatile struct aa_control *control = aa_probes_control(drain->probes);

	if (!atomic_load(&drain->watching) || drain->probes == NULL)
		return false;
	if (control->root_tgid == 0)
		return false; /* the whole system */
	if (drain->options.ends_with_root)
		return control->root_exited != 0;
	return control->watched <= 0;
}

static void *aa_drain_run(void *argument)
{
	struct aa_drain *drain = argument;
	bool is_detached = false, is_detach_told = false, is_ended = false, busy, has_names, is_stuck;
	volatile struct aa_control *control = aa_probes_control(drain->probes);
	uint64_t seq = 0;
	int idle = 0;

	atomic_store(&drain->tid, (int)syscall(SYS_gettid));
	while (!atomic_load(&drain->stop_asked)) {
		bool is_over = !is_ended && (is_detached || aa_drain_is_over(drain));
		enum aa_pass outcome;

		if (atomic_load(&drain->detach_asked) && !is_detached) {
			uint64_t ignored;

			__atomic_store_n(&control->gate, 0, __ATOMIC_SEQ_CST);
			aa_probes_detach(drain->probes, true);
			is_detached = true;
			if (syscall(SYS_read, drain->control, &ignored, sizeof(ignored)) < 0)
				atomic_store(&drain->detach_asked, true);
			continue;
		}
		outcome = aa_drain_pass(drain, &seq, &busy);
		/* No room in the queue, or the next record is not complete yet. */
		is_stuck = outcome == AA_PASS_FULL || (outcome == AA_PASS_NOTHING && !aa_ring_is_empty(&drain->ring));
		has_names = drain->totals && aa_totals_take_names(drain->totals);
		if (aa_event_queue_length(drain->queue))
			drain->callbacks.ready(drain->callbacks.context);
		if (outcome == AA_PASS_NOTHING && is_over && aa_ring_is_empty(&drain->ring)) {
			is_ended = true;
			drain->callbacks.ended(drain->callbacks.context);
		}
		/* Whoever waits for the detach finds all that was captured, as far as the queue has room. */
		if (is_detached && !is_detach_told && outcome != AA_PASS_SOME &&
		    (is_ended || outcome == AA_PASS_FULL)) {
			is_detach_told = true;
			drain->callbacks.detached(drain->callbacks.context);
		}
		if (outcome == AA_PASS_NOTHING && is_detached && is_ended)
			break;
		idle = outcome == AA_PASS_NOTHING && !has_names && !is_over ? idle + 1 : 0;
		if (outcome == AA_PASS_SOME && (busy || is_detached))
			continue;
		if (is_stuck || idle <= AA_NAPS_BEFORE_SLEEP)
			aa_drain_nap(drain, !is_stuck);
		else
			aa_drain_sleep(drain);
	}
	if (!is_detached) {
		__atomic_store_n(&control->gate, 0, __ATOMIC_SEQ_CST);
		aa_probes_detach(drain->probes, true);
	}
	/* Of an attach that failed there is nothing to say: no trace has begun, and the next try may be under way. */
	if (!is_ended && atomic_load(&drain->watching))
		drain->callbacks.ended(drain->callbacks.context);
	if (!is_detach_told && atomic_load(&drain->watching))
		drain->callbacks.detached(drain->callbacks.context);
	return NULL;
}

struct aa_error *aa_drain_create(struct aa_probes *probes, struct aa_event_queue *queue, struct aa_totals *totals,
				 const struct aa_drain_options *options, const struct aa_drain_callbacks *callbacks,
				 struct aa_drain **ret_drain)
{
	struct aa_drain *drain = calloc(1, sizeof(*drain));
	int code;

	if (!drain)
		return aa_error_create(AA_ERROR_MEMORY, ENOMEM, "out of memory");
	drain->probes = probes;
	drain->queue = queue;
	drain->totals = totals;
	drain->options = *options;
	drain->callbacks = *callbacks;
	pthread_mutex_init(&drain->pass, NULL);
	drain->control = drain->wakers = -1;
	drain->decoder = aa_decoder_create();
	drain->event = malloc(AA_EVENT_BYTES_MAX);
	if (!drain->decoder || !drain->event) {
		aa_drain_destroy(drain);
		return aa_error_create(AA_ERROR_MEMORY, ENOMEM, "out of memory");
	}
	if (!aa_ring_map(&drain->ring, aa_probes_ring(probes), options->ring_bytes)) {
		code = errno;
		aa_drain_destroy(drain);
		return aa_error_create(AA_ERROR_SYSTEM, code, "cannot map the ring of %llu bytes: %s",
				       (unsigned long long)options->ring_bytes, strerror(code));
	}
	if (!aa_drain_open_wakers(drain)) {
		code = errno;
		aa_drain_destroy(drain);
		return aa_error_create(AA_ERROR_SYSTEM, code, "cannot wait for the ring: %s", strerror(code));
	}
	code = aa_own_thread_create(&drain->thread, aa_drain_run, drain);
	if (code) {
		aa_drain_destroy(drain);
		return aa_error_create(AA_ERROR_SYSTEM, code, "cannot start the thread that drains the ring: %s",
				       strerror(code));
	}
	drain->has_thread = true;
	pthread_setname_np(drain->thread, "aa_drain");
	while (!atomic_load(&drain->tid))
		sched_yield();
	*ret_drain = drain;
	return NULL;
}

pid_t aa_drain_tid(const struct aa_drain *drain)
{
	return atomic_load(&drain->tid);
}

static void aa_drain_request(struct aa_drain *drain)
{
	uint64_t one = 1;

	/* The counter cannot overflow: it is read after each request, and one is enough to wake. */
	if (write(drain->control, &one, sizeof(one)) < 0)
		return;
}

void aa_drain_watch(struct aa_drain *drain)
{
	atomic_store(&drain->watching, true);
}

void aa_drain_detach(struct aa_drain *drain)
{
	atomic_store(&drain->detach_asked, true);
	/* From here on nothing begins; whoever watches its own process must not see the request either. */
	__atomic_store_n(&aa_probes_control(drain->probes)->gate, 0, __ATOMIC_SEQ_CST);
	aa_drain_request(drain);
}

static void aa_drain_close(struct aa_drain *drain)
{
	if (drain->wakers >= 0)
		close(drain->wakers);
	if (drain->control >= 0)
		close(drain->control);
}

void aa_drain_destroy(struct aa_drain *drain)
{
	if (!drain)
		return;
	if (drain->has_thread) {
		atomic_store(&drain->stop_asked, true);
		aa_drain_request(drain);
		pthread_join(drain->thread, NULL);
	}
	aa_drain_close(drain);
	aa_ring_unmap(&drain->ring);
	aa_decoder_destroy(drain->decoder);
	free(drain->event);
	pthread_mutex_destroy(&drain->pass);
	free(drain);
}

/* Its thread was in the middle of something: what is memory alone stays as it is. The ring has no mapping here. */
void aa_drain_abandon(struct aa_drain *drain)
{
	if (drain)
		aa_drain_close(drain);
}

void aa_drain_canaries_begin(struct aa_drain *drain)
{
	for (unsigned row = 0; row < AA_CALL_COUNT; row++)
		atomic_store(&drain->has_arrived[row], false);
	atomic_store(&drain->canaries_from, atomic_load(drain->ring.producer));
	atomic_store(&drain->canaries_until, ULONG_MAX);
	atomic_store(&drain->canary_tid, aa_probes_control(drain->probes)->canary_tid);
}

void aa_drain_canaries_end(struct aa_drain *drain)
{
	atomic_store(&drain->canaries_until, atomic_load(drain->ring.producer));
}

bool aa_drain_canaries_wait(struct aa_drain *drain, int64_t deadline_ns, bool *ret_arrived)
{
	const struct timespec nap = { 0, 1000000 };
	struct timespec now;

	while (atomic_load(drain->ring.consumer) < atomic_load(&drain->canaries_until)) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		if ((int64_t)now.tv_sec * 1000000000 + now.tv_nsec >= deadline_ns)
			return false;
		nanosleep(&nap, NULL);
	}
	for (unsigned row = 0; row < AA_CALL_COUNT; row++)
		ret_arrived[row] = atomic_load(&drain->has_arrived[row]);
	return true;
}

uint64_t aa_drain_canaries(const struct aa_drain *drain)
{
	return atomic_load(&drain->canaries);
}

uint64_t aa_drain_filtered(const struct aa_drain *drain)
{
	return atomic_load(&drain->filtered);
}

uint64_t aa_drain_queue_full(const struct aa_drain *drain)
{
	return atomic_load(&drain->queue_full);
}

uint64_t aa_drain_decode_error(const struct aa_drain *drain)
{
	return atomic_load(&drain->decode_error);
}

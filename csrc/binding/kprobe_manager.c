/* SPDX-License-Identifier: MIT */
/*
 * KprobeManager: one method, one call of the core, with the GIL released wherever the core may wait.
 *
 * The session lives as long as the object, so that a method needs no lock: close() only empties it. What two threads
 * may do at once is the core's to decide (aa_session_reader_acquire), not this file's.
 */
#include "arrow_export.h"
#include "module.h"
#include "options.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <structmember.h>
#include <unistd.h>

/* Of one poll() or read_batch() without max_events: it must end even if events come faster than it reads. */
#define POLL_EVENTS_MAX 65536
#define BATCH_EVENTS_MAX 8192 /* what a core's own cache holds, about: larger ones are slower to fill */

/* A session and who refers to it: its manager, and Arrow streams, which may outlive the manager and know no Python. */
struct shared_session {
	_Atomic size_t references;
	struct aa_session *session;
};

struct py_manager {
	PyObject_HEAD struct module_state *state; /* a subclass has no way to it */
	PyObject *module;			  /* keeps state */
	struct aa_session *session;
	struct shared_session *shared; /* of the same session */
	PyObject *weak_references;
	pid_t owner; /* who made it; 0 in a forked child: inert */
};

/* ---- life ---- */

static void shared_session_unref(struct shared_session *shared)
{
	if (atomic_fetch_sub_explicit(&shared->references, 1, memory_order_acq_rel) != 1)
		return;
	aa_session_destroy(shared->session);
	free(shared);
}

static PyObject *manager_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
	PyObject *module = aa_module_of_type(type);
	allocfunc alloc = PyType_GetSlot(type, Py_tp_alloc);
	struct py_manager *self;

	if (!module) {
		PyErr_SetString(PyExc_SystemError, "the module of KprobeManager is gone");
		return NULL;
	}
	self = (struct py_manager *)alloc(type, 0);
	if (!self)
		return NULL;
	self->module = Py_NewRef(module);
	self->state = PyModule_GetState(module);
	self->owner = getpid();
	return (PyObject *)self;
}

static int manager_init(struct py_manager *self, PyObject *args, PyObject *kwargs)
{
	struct aa_session_options options;
	struct aa_options_rules rules;
	struct aa_session *session = NULL;
	struct aa_error *error;
	PyObject *added;

	if (self->session) {
		PyErr_SetString(PyExc_RuntimeError, "a KprobeManager is initialised once");
		return -1;
	}
	if (aa_options_parse(args, kwargs, &options, &rules) < 0) {
		aa_options_rules_release(&rules);
		return -1;
	}
	self->shared = malloc(sizeof(*self->shared));
	if (!self->shared) {
		aa_options_rules_release(&rules);
		PyErr_NoMemory();
		return -1;
	}
	error = aa_session_create(&options, &session);
	aa_options_rules_release(&rules);
	if (error) {
		free(self->shared);
		self->shared = NULL;
		aa_raise(self->state, error);
		return -1;
	}
	atomic_init(&self->shared->references, 1);
	self->shared->session = self->session = session;
	added = PyObject_CallMethod(self->state->managers, "add", "O", self);
	Py_XDECREF(added);
	return added ? 0 : -1;
}

static bool is_attached(const struct py_manager *self)
{
	return self->session && self->owner && aa_session_is_attached(self->session);
}

static void manager_finalize(PyObject *object)
{
	struct py_manager *self = (struct py_manager *)object;
	PyObject *type, *value, *traceback;

	if (!is_attached(self))
		return;
	PyErr_Fetch(&type, &value, &traceback);
	if (PyErr_ResourceWarning(object, 1, "%R was not detached", object) < 0)
		PyErr_WriteUnraisable(object);
	PyErr_Restore(type, value, traceback);
}

static void manager_dealloc(struct py_manager *self)
{
	PyTypeObject *type = AA_TYPE(self);
	freefunc free_object = PyType_GetSlot(type, Py_tp_free);

	if (self->weak_references)
		PyObject_ClearWeakRefs((PyObject *)self);
	if (self->session) {
		struct shared_session *shared = self->shared;

		self->session = NULL;
		Py_BEGIN_ALLOW_THREADS
		/* A stream that goes on after its manager holds no probe: it comes to its end. */
		if (atomic_load(&shared->references) > 1)
			aa_error_destroy(aa_session_close(shared->session));
		shared_session_unref(shared);
		Py_END_ALLOW_THREADS
	}
	Py_XDECREF(self->module);
	free_object(self);
	Py_DECREF(type);
}

void aa_manager_after_fork_in_child(PyObject *manager)
{
	struct py_manager *self = (struct py_manager *)manager;

	if (!self->session || !self->owner)
		return;
	self->owner = 0;
	aa_session_after_fork_in_child(self->session);
}

static PyObject *raise_closed(void)
{
	PyErr_SetString(PyExc_ValueError, "operation on a closed KprobeManager");
	return NULL;
}

static int check_made(const struct py_manager *self)
{
	if (self->session)
		return 0;
	PyErr_SetString(PyExc_RuntimeError, "KprobeManager.__init__() was not called");
	return -1;
}

static int check_open(const struct py_manager *self)
{
	if (check_made(self) < 0)
		return -1;
	if (!self->owner) {
		PyErr_SetString(PyExc_RuntimeError, "this KprobeManager belongs to the parent of this forked process: "
						    "make a new one here");
		return -1;
	}
	if (aa_session_is_closed(self->session)) {
		raise_closed();
		return -1;
	}
	return 0;
}

/* ---- attach, detach, close ---- */

static PyObject *manager_attach(struct py_manager *self, PyObject *args, PyObject *kwargs)
{
	static const char *const keywords[] = { "pid", "held", NULL };
	bool has_pid = false, had_pid;
	int held = 0;
	PyObject *pid_object = NULL;
	struct aa_error *error = NULL;
	pid_t pid = 0, old_pid = 0;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$p:attach", (char **)keywords, &pid_object, &held))
		return NULL;
	if (check_open(self) < 0)
		return NULL;
	if (pid_object && aa_options_parse_pid(pid_object, &has_pid, &pid) < 0)
		return NULL;
	if (is_attached(self)) {
		PyErr_SetString(PyExc_RuntimeError, "already attached: detach() first");
		return NULL;
	}
	had_pid = aa_session_target(self->session, &old_pid);
	Py_BEGIN_ALLOW_THREADS
	if (pid_object)
		error = aa_session_set_target(self->session, has_pid, pid);
	if (!error) {
		aa_session_set_held(self->session, held);
		error = aa_session_attach(self->session);
		/* A pid that could not be attached to does not replace the one that was there. */
		if (error && pid_object)
			aa_error_destroy(aa_session_set_target(self->session, had_pid, old_pid));
	}
	Py_END_ALLOW_THREADS
	if (error)
		return aa_raise(self->state, error);
	Py_RETURN_NONE;
}

static PyObject *manager_detach(struct py_manager *self, PyObject *args, PyObject *kwargs)
{
	static const char *const keywords[] = { "wait", NULL };
	struct aa_error *error;
	int wait = 1;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$p:detach", (char **)keywords, &wait))
		return NULL;
	if (check_made(self) < 0)
		return NULL;
	if (!self->owner) /* what is attached belongs to the parent */
		Py_RETURN_NONE;
	if (aa_session_is_closed(self->session))
		return raise_closed();
	Py_BEGIN_ALLOW_THREADS
	error = aa_session_detach(self->session, wait);
	Py_END_ALLOW_THREADS
	if (error)
		return aa_raise(self->state, error);
	Py_RETURN_NONE;
}

static PyObject *manager_close(struct py_manager *self, PyObject *Py_UNUSED(ignored))
{
	struct aa_error *error;

	if (!self->session || !self->owner)
		Py_RETURN_NONE;
	Py_BEGIN_ALLOW_THREADS
	error = aa_session_close(self->session);
	Py_END_ALLOW_THREADS
	if (error)
		return aa_raise(self->state, error);
	Py_RETURN_NONE;
}

/* ---- reading ---- */

static int check_attached_once(struct py_manager *self)
{
	if (check_open(self) < 0)
		return -1;
	if (aa_session_backend(self->session))
		return 0;
	PyErr_SetString(PyExc_RuntimeError, "not attached: call attach(), or use the manager in a with statement");
	return -1;
}

static int acquire_reader(struct py_manager *self)
{
	struct aa_error *error;

	if (check_attached_once(self) < 0)
		return -1;
	error = aa_session_reader_acquire(self->session);
	if (error) {
		aa_raise(self->state, error);
		return -1;
	}
	return 0;
}

static void release_reader(struct py_manager *self)
{
	aa_session_reader_release(self->session);
}

enum await {
	AWAIT_EVENT,
	AWAIT_TIMEOUT,
	AWAIT_END,
	AWAIT_ERROR, /* an exception is set and the reader's place is given back; after the others it is held */
};

static enum await await_event(struct py_manager *self, int64_t deadline_ns, bool no_wait,
			      const struct aa_file_event **ret_event)
{
	for (;;) {
		enum aa_wait wait;

		switch (aa_session_peek(self->session, ret_event)) {
		case AA_PEEK_EVENT:
			return AWAIT_EVENT;
		case AA_PEEK_END:
			return AWAIT_END;
		case AA_PEEK_NO_MEMORY:
			release_reader(self);
			PyErr_NoMemory();
			return AWAIT_ERROR;
		case AA_PEEK_EMPTY:
			break;
		}
		if (no_wait)
			return AWAIT_TIMEOUT;
		Py_BEGIN_ALLOW_THREADS
		wait = aa_session_wait(self->session, deadline_ns);
		Py_END_ALLOW_THREADS
		if (wait == AA_WAIT_TIMEOUT)
			return AWAIT_TIMEOUT;
		if (wait == AA_WAIT_READY)
			continue;
		/* A signal handler is Python: it may read or close this very manager. So the place is given back. */
		release_reader(self);
		if (PyErr_CheckSignals() < 0 || acquire_reader(self) < 0)
			return AWAIT_ERROR;
	}
}

/* The event stays in the queue until its object exists, so that no failure loses it. */
static PyObject *make_event(struct py_manager *self, const struct aa_file_event *event)
{
	return aa_event_create(self->state, event, aa_session_boottime_to_realtime_ns(self->session));
}

static PyObject *manager_iternext(struct py_manager *self)
{
	const struct aa_file_event *event;
	PyObject *object = NULL;
	enum await got;

	if (acquire_reader(self) < 0)
		return NULL;
	got = await_event(self, AA_WAIT_FOREVER, false, &event);
	if (got == AWAIT_ERROR)
		return NULL;
	if (got == AWAIT_EVENT) {
		object = make_event(self, event);
		if (object)
			aa_session_advance(self->session);
	}
	release_reader(self);
	return object;
}

/* Appends what is queued, at most `max`. With nothing appended a failure is raised; else it will come again next time.
 */
static int take_queued(struct py_manager *self, PyObject *list, size_t max, const struct aa_file_event *event)
{
	size_t taken = 0;

	do {
		PyObject *object = make_event(self, event);
		int status = object ? PyList_Append(list, object) : -1;

		Py_XDECREF(object);
		if (status < 0) {
			if (!taken)
				return -1;
			PyErr_Clear();
			return 0;
		}
		aa_session_advance(self->session);
		taken++;
	} while (taken < max && aa_session_peek(self->session, &event) == AA_PEEK_EVENT);
	return 0;
}

/* What poll() and read_batch() are given: for how long, and how many. */
struct wanted {
	int64_t deadline_ns;
	bool no_wait;
	size_t max;
};

static int parse_wanted(PyObject *args, PyObject *kwargs, const char *format, size_t default_max, size_t limit,
			struct wanted *ret_wanted)
{
	static const char *const keywords[] = { "timeout", "max_events", NULL };
	PyObject *timeout = Py_None, *max_events = Py_None;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, (char **)keywords, &timeout, &max_events))
		return -1;
	if (aa_options_parse_timeout(timeout, &ret_wanted->deadline_ns, &ret_wanted->no_wait) < 0)
		return -1;
	return aa_options_parse_max_events(max_events, max_events == Py_None ? default_max : limit, &ret_wanted->max);
}

static PyObject *manager_poll(struct py_manager *self, PyObject *args, PyObject *kwargs)
{
	const struct aa_file_event *event;
	struct wanted wanted;
	PyObject *list;
	enum await got;

	if (parse_wanted(args, kwargs, "|OO:poll", POLL_EVENTS_MAX, POLL_EVENTS_MAX, &wanted) < 0)
		return NULL;
	/* Made before the reader's place is taken: making it may run the garbage collector, and so any Python code. */
	list = PyList_New(0);
	if (!list)
		return NULL;
	if (acquire_reader(self) < 0)
		goto error;
	got = await_event(self, wanted.deadline_ns, wanted.no_wait, &event);
	if (got == AWAIT_ERROR)
		goto error;
	if (got == AWAIT_EVENT && take_queued(self, list, wanted.max, event) < 0) {
		release_reader(self);
		goto error;
	}
	release_reader(self);
	if (got != AWAIT_END)
		return list;
	Py_DECREF(list);
	Py_RETURN_NONE;
error:
	Py_DECREF(list);
	return NULL;
}

/* Everything that may fail is made before an event is taken, so that none can be lost. */
static PyObject *manager_read_batch(struct py_manager *self, PyObject *args, PyObject *kwargs)
{
	enum aa_append filled = AA_APPEND_DONE;
	const struct aa_file_event *event;
	struct aa_columns *columns;
	struct wanted wanted;
	PyObject *batch;
	enum await got;

	if (parse_wanted(args, kwargs, "|OO:read_batch", BATCH_EVENTS_MAX, SIZE_MAX, &wanted) < 0)
		return NULL;
	columns = aa_columns_create(wanted.max);
	if (!columns)
		return PyErr_NoMemory();
	batch = aa_batch_create(self->state, columns);
	if (!batch)
		return NULL;
	if (acquire_reader(self) < 0)
		goto error;
	got = await_event(self, wanted.deadline_ns, wanted.no_wait, &event);
	if (got == AWAIT_ERROR)
		goto error;
	if (got == AWAIT_EVENT) {
		Py_BEGIN_ALLOW_THREADS
		filled = aa_columns_fill(columns, self->session);
		Py_END_ALLOW_THREADS
	}
	aa_columns_finish(columns);
	release_reader(self);
	if (filled == AA_APPEND_NO_MEMORY) {
		PyErr_NoMemory();
		goto error;
	}
	if (got != AWAIT_END)
		return batch;
	Py_DECREF(batch);
	Py_RETURN_NONE;
error:
	Py_DECREF(batch);
	return NULL;
}

/* ---- the stream for Arrow: called by anybody's thread, with or without the GIL, and so without Python ---- */

struct stream {
	struct shared_session *shared;
	char last_error[256];
};

static int stream_fail(struct stream *stream, int code, const char *message)
{
	snprintf(stream->last_error, sizeof(stream->last_error), "%s", message);
	return code;
}

static int stream_get_schema(struct ArrowArrayStream *arrow, struct ArrowSchema *out)
{
	struct stream *stream = arrow->private_data;

	return aa_arrow_export_schema(out) ? stream_fail(stream, ENOMEM, "out of memory") : 0;
}

static bool is_main_thread(void)
{
#ifdef __linux__
	return gettid() == getpid();
#else
	return true; /* nothing waits where there is no backend */
#endif
}

/* Waits until peek has an event or the end; else an errno. */
static int stream_await(struct stream *stream, enum aa_peek *ret_peek)
{
	struct aa_session *session = stream->shared->session;
	const struct aa_file_event *event;

	while ((*ret_peek = aa_session_peek(session, &event)) == AA_PEEK_EMPTY) {
		/* Python handles signals in its main thread only, and not before this has returned to it. */
		if (aa_session_wait(session, AA_WAIT_FOREVER) == AA_WAIT_INTERRUPTED && is_main_thread())
			return stream_fail(stream, EINTR, "interrupted by a signal; nothing was lost");
	}
	return *ret_peek == AA_PEEK_NO_MEMORY ? stream_fail(stream, ENOMEM, "out of memory") : 0;
}

static int stream_get_next(struct ArrowArrayStream *arrow, struct ArrowArray *out)
{
	struct stream *stream = arrow->private_data;
	struct aa_session *session = stream->shared->session;
	struct aa_columns *columns = aa_columns_create(BATCH_EVENTS_MAX);
	struct aa_arrow_room *room = columns ? aa_arrow_room_create() : NULL;
	enum aa_append filled = AA_APPEND_DONE;
	enum aa_peek peek = AA_PEEK_END;
	struct aa_error *error;
	int code = 0;

	*out = (struct ArrowArray){ 0 };
	if (!room) {
		code = stream_fail(stream, ENOMEM, "out of memory");
		goto out;
	}
	/* The end of a closed session is what every read of it meets. */
	error = aa_session_is_closed(session) ? NULL : aa_session_reader_acquire(session);
	if (error) {
		code = stream_fail(stream, EBUSY, error->message);
		aa_error_destroy(error);
		goto out;
	}
	if (!aa_session_is_closed(session)) {
		code = stream_await(stream, &peek);
		if (!code && peek == AA_PEEK_EVENT)
			filled = aa_columns_fill(columns, session);
		aa_columns_finish(columns);
		aa_session_reader_release(session);
	}
	if (filled == AA_APPEND_NO_MEMORY)
		code = stream_fail(stream, ENOMEM, "out of memory");
	if (!code && peek == AA_PEEK_EVENT) {
		aa_arrow_export_array(columns, room, out);
		room = NULL;
	}
out:
	aa_arrow_room_destroy(room);
	aa_columns_unref(columns);
	return code;
}

static const char *stream_get_last_error(struct ArrowArrayStream *arrow)
{
	struct stream *stream = arrow->private_data;

	return stream->last_error[0] ? stream->last_error : NULL;
}

static void stream_release(struct ArrowArrayStream *arrow)
{
	struct stream *stream = arrow->private_data;

	if (!arrow->release)
		return;
	arrow->release = NULL;
	shared_session_unref(stream->shared);
	free(stream);
}

static PyObject *manager_arrow_c_schema(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
	return aa_capsule_of_schema();
}

static PyObject *manager_arrow_c_stream(struct py_manager *self, PyObject *args, PyObject *kwargs)
{
	static const char *const keywords[] = { "requested_schema", NULL };
	struct ArrowArrayStream arrow = {
		.get_schema = stream_get_schema,
		.get_next = stream_get_next,
		.get_last_error = stream_get_last_error,
		.release = stream_release,
	};
	PyObject *requested = Py_None;
	struct stream *stream;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:__arrow_c_stream__", (char **)keywords, &requested) ||
	    aa_check_requested_schema(requested) < 0 || check_attached_once(self) < 0)
		return NULL;
	stream = calloc(1, sizeof(*stream));
	if (!stream)
		return PyErr_NoMemory();
	stream->shared = self->shared;
	atomic_fetch_add_explicit(&self->shared->references, 1, memory_order_relaxed);
	arrow.private_data = stream;
	return aa_capsule_of_stream(&arrow);
}

static PyObject *manager_fileno(struct py_manager *self, PyObject *Py_UNUSED(ignored))
{
	int fd;

	if (check_open(self) < 0)
		return NULL;
	fd = aa_session_fileno(self->session);
	if (fd < 0) {
		PyErr_SetString(PyExc_RuntimeError, "there is no descriptor to wait for on this platform");
		return NULL;
	}
	return PyLong_FromLong(fd);
}

/* ---- what it is ---- */

static PyObject *manager_get_is_attached(struct py_manager *self, void *Py_UNUSED(closure))
{
	return PyBool_FromLong(is_attached(self));
}

static PyObject *target_pid(const struct py_manager *self)
{
	pid_t pid;

	if (!aa_session_target(self->session, &pid))
		Py_RETURN_NONE;
	return PyLong_FromLong(pid);
}

static PyObject *manager_get_pid(struct py_manager *self, void *Py_UNUSED(closure))
{
	return check_open(self) < 0 ? NULL : target_pid(self);
}

static PyObject *manager_get_backend(struct py_manager *self, void *Py_UNUSED(closure))
{
	return check_open(self) < 0 ? NULL : Py_BuildValue("z", aa_session_backend(self->session));
}

static PyObject *manager_get_passed_over(struct py_manager *self, void *Py_UNUSED(closure))
{
	struct aa_passed_over_list passed_over;
	PyObject *tuple;
	size_t index;

	if (check_open(self) < 0)
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	aa_session_passed_over(self->session, &passed_over);
	Py_END_ALLOW_THREADS
	tuple = PyTuple_New((Py_ssize_t)passed_over.count);
	for (index = 0; tuple && index < passed_over.count; index++) {
		PyObject *item =
			PyObject_CallFunction(self->state->passed_over_class, "ss", passed_over.items[index].backend,
					      passed_over.items[index].reason);

		if (!item || PyTuple_SetItem(tuple, (Py_ssize_t)index, item) < 0)
			Py_CLEAR(tuple);
	}
	return tuple;
}

static PyObject *manager_get_rule_notes(struct py_manager *self, void *Py_UNUSED(closure))
{
	struct aa_rule_note *notes = NULL;
	struct aa_error *error;
	size_t count = 0, index;
	PyObject *tuple;

	if (check_open(self) < 0)
		return NULL;
	error = aa_session_rule_notes(self->session, &notes, &count);
	if (error)
		return aa_raise(self->state, error);
	tuple = PyTuple_New((Py_ssize_t)count);
	for (index = 0; tuple && index < count; index++) {
		PyObject *rule = PyUnicode_DecodeFSDefault(notes[index].rule),
			 *text = PyUnicode_DecodeFSDefault(notes[index].text), *item = NULL;

		if (rule && text)
			item = PyObject_CallFunction(self->state->rule_note_class, "sOO",
						     aa_rule_list_names[notes[index].list], rule, text);
		Py_XDECREF(rule);
		Py_XDECREF(text);
		if (!item || PyTuple_SetItem(tuple, (Py_ssize_t)index, item) < 0)
			Py_CLEAR(tuple);
	}
	free(notes);
	return tuple;
}

static PyObject *manager_get_targets(struct py_manager *self, void *Py_UNUSED(closure))
{
	struct aa_target *targets = NULL;
	struct aa_error *error;
	size_t count = 0, index;
	PyObject *tuple;

	if (check_open(self) < 0)
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	error = aa_session_targets(self->session, &targets, &count);
	Py_END_ALLOW_THREADS
	if (error)
		return aa_raise(self->state, error);
	tuple = PyTuple_New((Py_ssize_t)count);
	for (index = 0; tuple && index < count; index++) {
		const struct aa_target *target = &targets[index];
		PyObject *item = PyObject_CallFunction(self->state->target_class, "sssIIOO", target->program,
						       target->function, target->backend, target->link_id,
						       target->prog_id, target->present ? Py_True : Py_False,
						       target->verified ? Py_True : Py_False);

		if (!item || PyTuple_SetItem(tuple, (Py_ssize_t)index, item) < 0)
			Py_CLEAR(tuple);
	}
	free(targets);
	return tuple;
}

/* (first event or None, operation, start of the process, calls, errors, bytes, duration, histogram) */
static PyObject *make_total(struct py_manager *self, const struct aa_total_row *row, int64_t offset_ns)
{
	PyObject *histogram = PyTuple_New(AA_TOTAL_HISTOGRAM), *first;
	size_t index;

	for (index = 0; histogram && index < AA_TOTAL_HISTOGRAM; index++) {
		PyObject *number = PyLong_FromUnsignedLongLong(row->histogram[index]);

		if (!number || PyTuple_SetItem(histogram, (Py_ssize_t)index, number) < 0)
			Py_CLEAR(histogram);
	}
	first = row->first ? aa_event_create(self->state, row->first, offset_ns) : Py_NewRef(Py_None);
	if (!first || !histogram) {
		Py_XDECREF(first);
		Py_XDECREF(histogram);
		return NULL;
	}
	return Py_BuildValue("NOKKKKKN", first, self->state->operations[row->operation % AA_OPERATION_LIMIT],
			     (unsigned long long)row->started_ns, (unsigned long long)row->calls,
			     (unsigned long long)row->errors, (unsigned long long)row->bytes,
			     (unsigned long long)row->duration_ns, histogram);
}

static PyObject *manager_total_rows(struct py_manager *self, PyObject *Py_UNUSED(ignored))
{
	struct aa_total_row *rows = NULL;
	struct aa_error *error;
	PyObject *list = NULL;
	size_t count = 0, index;

	if (check_attached_once(self) < 0)
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	error = aa_session_totals(self->session, &rows, &count);
	Py_END_ALLOW_THREADS
	if (error)
		return aa_raise(self->state, error);
	list = PyList_New((Py_ssize_t)count);
	for (index = 0; list && index < count; index++) {
		PyObject *total = make_total(self, &rows[index], aa_session_boottime_to_realtime_ns(self->session));

		if (!total || PyList_SetItem(list, (Py_ssize_t)index, total) < 0)
			Py_CLEAR(list);
	}
	free(rows);
	return list;
}

/* (links, canaries or None, problems) */
static PyObject *manager_health(struct py_manager *self, PyObject *timeout)
{
	struct aa_health *health;
	struct aa_error *error;
	PyObject *problems, *canaries;
	int64_t deadline_ns;
	bool no_wait;
	size_t index;

	if (check_attached_once(self) < 0 || aa_options_parse_timeout(timeout, &deadline_ns, &no_wait) < 0)
		return NULL;
	health = malloc(sizeof(*health));
	if (!health)
		return PyErr_NoMemory();
	Py_BEGIN_ALLOW_THREADS
	error = aa_session_health(self->session, deadline_ns, health);
	Py_END_ALLOW_THREADS
	if (error) {
		free(health);
		return aa_raise(self->state, error);
	}
	problems = PyTuple_New((Py_ssize_t)health->problem_count);
	for (index = 0; problems && index < health->problem_count; index++) {
		PyObject *problem = PyUnicode_DecodeUTF8(
			health->problems[index],
			(Py_ssize_t)strnlen(health->problems[index], sizeof(health->problems[index])),
			"backslashreplace");

		if (!problem || PyTuple_SetItem(problems, (Py_ssize_t)index, problem) < 0)
			Py_CLEAR(problems);
	}
	canaries = health->has_canaries ? PyLong_FromSize_t(health->canaries) : Py_NewRef(Py_None);
	index = health->links;
	free(health);
	if (!problems || !canaries) {
		Py_XDECREF(problems);
		Py_XDECREF(canaries);
		return NULL;
	}
	return Py_BuildValue("nNN", (Py_ssize_t)index, canaries, problems);
}

static const struct {
	const char *name;
	size_t offset;
} counters[] = {
#define COUNTER(name)                                                                                                  \
	{                                                                                                              \
#name, offsetof(struct aa_stats, name)                                                                 \
	}
	/* clang-format off */
	COUNTER(performed),
	COUNTER(delivered),
	COUNTER(queued),
	COUNTER(in_flight),
	COUNTER(filtered),
	COUNTER(counted),
	COUNTER(canaries),
	COUNTER(ring_full),
	COUNTER(state_full),
	COUNTER(no_entry),
	COUNTER(no_exit),
	COUNTER(probe_missed),
	COUNTER(fork_map_full),
	COUNTER(queue_full),
	COUNTER(decode_error),
	COUNTER(pre_attach),
	COUNTER(denied),
	COUNTER(compat_calls),
	COUNTER(blind_spots),
	COUNTER(bypass),
	COUNTER(path_truncated),
	COUNTER(path_unreadable),
	COUNTER(watched),
	COUNTER(boottime_to_realtime_ns),
/* clang-format on */
#undef COUNTER
};

static uint64_t counter_value(const struct aa_stats *stats, size_t index)
{
	return *(const uint64_t *)((const char *)stats + counters[index].offset);
}

static PyObject *text_or_none(const char *text)
{
	return text ? PyUnicode_DecodeFSDefault(text) : Py_NewRef(Py_None);
}

/* What a Sign is made of, in its order. */
static PyObject *make_sign(const struct aa_sign *sign)
{
	const char *call =
		sign->what == AA_SIGN_CALL || sign->what == AA_SIGN_UNDER_WAY ? aa_call_name(sign->call) : NULL;
	PyObject *path = text_or_none(sign->path), *comm = text_or_none(sign->comm[0] ? sign->comm : NULL);

	if (!path || !comm) {
		Py_XDECREF(path);
		Py_XDECREF(comm);
		return NULL;
	}
	return Py_BuildValue("izKNOKKOOIN", (int)sign->what, call, (unsigned long long)sign->count, path,
			     sign->is_named ? Py_True : Py_False, (unsigned long long)sign->start,
			     (unsigned long long)sign->end, sign->has_range ? Py_True : Py_False,
			     sign->is_writable ? Py_True : Py_False, (unsigned int)sign->pid, comm);
}

static PyObject *make_signs(struct py_manager *self)
{
	struct aa_sign *signs = NULL;
	PyObject *tuple, *item;
	struct aa_error *error;
	size_t count, i;

	error = aa_session_signs(self->session, &signs, &count);
	if (error)
		return aa_raise(self->state, error);
	tuple = PyTuple_New((Py_ssize_t)count);
	for (i = 0; tuple && i < count; i++) {
		item = make_sign(&signs[i]);
		if (!item || PyTuple_SetItem(tuple, (Py_ssize_t)i, item) < 0)
			Py_CLEAR(tuple);
	}
	free(signs);
	return tuple;
}

static PyObject *make_stats(struct py_manager *self, const struct aa_stats *stats)
{
	PyObject *kwargs = PyDict_New(), *args = PyTuple_New(0), *value = NULL, *object = NULL;
	size_t index;

	if (!kwargs || !args)
		goto out;
	for (index = 0; index < sizeof(counters) / sizeof(counters[0]); index++) {
		int status;

		value = PyLong_FromUnsignedLongLong(counter_value(stats, index));
		status = value ? PyDict_SetItemString(kwargs, counters[index].name, value) : -1;
		Py_CLEAR(value);
		if (status < 0)
			goto out;
	}
	value = stats->exact ?
			Py_NewRef(Py_None) :
			PyUnicode_DecodeUTF8(stats->inexact_reason,
					     (Py_ssize_t)strnlen(stats->inexact_reason, sizeof(stats->inexact_reason)),
					     "backslashreplace");
	if (!value || PyDict_SetItemString(kwargs, "inexact_reason", value) < 0)
		goto out;
	Py_DECREF(value);
	value = text_or_none(stats->no_trace_reason);
	if (!value || PyDict_SetItemString(kwargs, "no_trace_reason", value) < 0)
		goto out;
	/* After the numbers: it is to have what they count. */
	Py_DECREF(value);
	value = make_signs(self);
	if (value && PyDict_SetItemString(kwargs, "signs", value) == 0)
		object = PyObject_Call(self->state->stats_class, args, kwargs);
out:
	Py_XDECREF(value);
	Py_XDECREF(args);
	Py_XDECREF(kwargs);
	return object;
}

static PyObject *manager_get_stats(struct py_manager *self, void *Py_UNUSED(closure))
{
	struct aa_stats stats;

	if (check_made(self) < 0)
		return NULL;
	aa_session_stats(self->session, &stats);
	return make_stats(self, &stats);
}

static uint64_t stats_lost(const struct aa_stats *stats)
{
	return stats->ring_full + stats->state_full + stats->no_entry + stats->no_exit + stats->fork_map_full +
	       stats->queue_full + stats->decode_error;
}

static PyObject *manager_repr(struct py_manager *self)
{
	PyObject *class_name = PyType_GetName(AA_TYPE(self)), *pid = NULL, *repr = NULL;
	const char *state_name, *backend;
	struct aa_stats stats;

	if (!class_name)
		return NULL;
	if (!self->session) {
		repr = PyUnicode_FromFormat("<%U not initialised>", class_name);
		goto out;
	}
	if (!self->owner) {
		repr = PyUnicode_FromFormat("<%U of the parent process>", class_name);
		goto out;
	}
	pid = target_pid(self);
	if (!pid)
		goto out;
	backend = aa_session_backend(self->session);
	state_name = aa_session_is_closed(self->session) ? "closed" :
		     is_attached(self)			 ? "attached" :
		     backend				 ? "detached" :
							   "not attached";
	if (!backend) {
		repr = PyUnicode_FromFormat("<%U pid=%S %s>", class_name, pid, state_name);
		goto out;
	}
	aa_session_stats(self->session, &stats);
	repr = PyUnicode_FromFormat("<%U pid=%S %s backend=%s delivered=%llu lost=%llu>", class_name, pid, state_name,
				    backend, (unsigned long long)stats.delivered,
				    (unsigned long long)stats_lost(&stats));
out:
	Py_XDECREF(pid);
	Py_DECREF(class_name);
	return repr;
}

static PyObject *manager_reduce(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
	PyErr_SetString(PyExc_TypeError, "a KprobeManager cannot be copied or pickled: it owns probes in the kernel");
	return NULL;
}

/* ---- the type ---- */

static PyMethodDef manager_methods[] = {
	{ "attach", AA_METHOD(manager_attach), METH_VARARGS | METH_KEYWORDS,
	  PyDoc_STR("attach($self, /, pid=..., *, held=False)\n--\n\nAttach the probes; all or nothing.") },
	{ "detach", AA_METHOD(manager_detach), METH_VARARGS | METH_KEYWORDS,
	  PyDoc_STR("detach($self, /, *, wait=True)\n--\n\nDetach; what was captured can still be read.") },
	{ "close", AA_METHOD(manager_close), METH_NOARGS, PyDoc_STR("close($self, /)\n--\n\nDetach and discard.") },
	{ "poll", AA_METHOD(manager_poll), METH_VARARGS | METH_KEYWORDS,
	  PyDoc_STR("poll($self, /, timeout=None, max_events=None)\n--\n\n"
		    "At least one event, [] on time-out, None at the end.") },
	{ "read_batch", AA_METHOD(manager_read_batch), METH_VARARGS | METH_KEYWORDS,
	  PyDoc_STR("read_batch($self, /, timeout=None, max_events=None)\n--\n\n"
		    "An EventBatch: empty on time-out, None at the end.") },
	{ "__arrow_c_schema__", manager_arrow_c_schema, METH_NOARGS,
	  PyDoc_STR("__arrow_c_schema__($self, /)\n--\n\nThe types of the columns, for Arrow.") },
	{ "__arrow_c_stream__", AA_METHOD(manager_arrow_c_stream), METH_VARARGS | METH_KEYWORDS,
	  PyDoc_STR("__arrow_c_stream__($self, /, requested_schema=None)\n--\n\n"
		    "A stream of batches for Arrow, to the end of the trace.") },
	{ "fileno", AA_METHOD(manager_fileno), METH_NOARGS,
	  PyDoc_STR("fileno($self, /)\n--\n\nA descriptor readable exactly when poll(0) would tell something.") },
	{ "__reduce__", manager_reduce, METH_NOARGS, PyDoc_STR("__reduce__($self, /)\n--\n\n") },
	{ "_health", (PyCFunction)manager_health, METH_O, PyDoc_STR("_health($self, timeout, /)\n--\n\n") },
	{ "_total_rows", (PyCFunction)manager_total_rows, METH_NOARGS, PyDoc_STR("_total_rows($self, /)\n--\n\n") },
	{ "__reduce_ex__", manager_reduce, METH_O, PyDoc_STR("__reduce_ex__($self, protocol, /)\n--\n\n") },
	{ 0 },
};

static PyGetSetDef manager_getset[] = {
	{ "is_attached", (getter)manager_get_is_attached, NULL, PyDoc_STR("Probes are attached."), NULL },
	{ "pid", (getter)manager_get_pid, NULL, PyDoc_STR("The process to watch; None: the whole system."), NULL },
	{ "backend", (getter)manager_get_backend, NULL, PyDoc_STR("The way in, once attached."), NULL },
	{ "rule_notes", (getter)manager_get_rule_notes, NULL, PyDoc_STR("Where path rules led at attach."), NULL },
	{ "passed_over", (getter)manager_get_passed_over, NULL, PyDoc_STR("Why other backends were not used."), NULL },
	{ "targets", (getter)manager_get_targets, NULL, PyDoc_STR("What is attached."), NULL },
	{ "stats", (getter)manager_get_stats, NULL, PyDoc_STR("The ledger."), NULL },
	{ 0 },
};

static PyMemberDef manager_members[] = {
	{ "__weaklistoffset__", T_PYSSIZET, offsetof(struct py_manager, weak_references), READONLY, NULL },
	{ 0 },
};

static PyType_Slot manager_slots[] = {
	{ Py_tp_doc,
	  (void *)PyDoc_STR("KprobeManager(pid=None, *, follow=True, until='tree', ops=None, kinds=None, "
			    "errors_only=False, min_duration_ns=0, backend=None, "
			    "latency=True, multi=True, totals=False, totals_rows=16384, events=True, max_delay_ms=5, "
			    "ring_bytes=16777216, queue_bytes=8388608, watch=None, sensitive=None, ignore=None, "
			    "witness_io=False)\n--\n\n"
			    "Watches the files a process tree touches.") },
	{ Py_tp_new, manager_new },
	{ Py_tp_init, manager_init },
	{ Py_tp_finalize, manager_finalize },
	{ Py_tp_dealloc, manager_dealloc },
	{ Py_tp_methods, manager_methods },
	{ Py_tp_getset, manager_getset },
	{ Py_tp_members, manager_members },
	{ Py_tp_iter, PyObject_SelfIter },
	{ Py_tp_iternext, manager_iternext },
	{ Py_tp_repr, manager_repr },
	{ 0, NULL },
};

PyType_Spec aa_manager_spec = {
	.name = "aa_fileio._native.KprobeManager",
	.basicsize = sizeof(struct py_manager),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
	.slots = manager_slots,
};

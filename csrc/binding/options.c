/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PID_LIMIT 4194304 /* the kernel's PID_MAX_LIMIT on 64 bits */
#define NS_PER_SECOND 1000000000

static bool is_int(PyObject *value)
{
	return PyIndex_Check(value) && !PyBool_Check(value);
}

static int wrong_type(const char *name, const char *allowed, PyObject *value)
{
	PyObject *type_name = PyType_GetName(Py_TYPE(value));

	if (type_name)
		PyErr_Format(PyExc_TypeError, "%s must be %s, not %U", name, allowed, type_name);
	Py_XDECREF(type_name);
	return -1;
}

/* Numbers too large for C become LLONG_MAX or LLONG_MIN, which no option allows. */
static int parse_int(PyObject *value, long long *ret_number)
{
	PyObject *number = PyNumber_Index(value);
	int overflow;

	if (!number)
		return -1;
	*ret_number = PyLong_AsLongLongAndOverflow(number, &overflow);
	Py_DECREF(number);
	if (overflow)
		*ret_number = overflow > 0 ? LLONG_MAX : LLONG_MIN;
	return *ret_number == -1 && !overflow && PyErr_Occurred() ? -1 : 0;
}

int aa_options_parse_pid(PyObject *value, bool *ret_has_pid, pid_t *ret_pid)
{
	long long number;

	*ret_has_pid = false;
	*ret_pid = 0;
	if (value == Py_None)
		return 0;
	if (!is_int(value))
		return wrong_type("pid", "an int or None", value);
	if (parse_int(value, &number) < 0)
		return -1;
	if (number == 0) {
		PyErr_SetString(PyExc_ValueError, "pid is 0, which is no process: None means the whole system");
		return -1;
	}
	if (number < 0) {
		PyErr_Format(PyExc_ValueError, "pid is negative: %S", value);
		return -1;
	}
	if (number > PID_LIMIT) {
		PyErr_Format(PyExc_ValueError, "pid is too large: %S, the kernel's limit is %d", value, PID_LIMIT);
		return -1;
	}
	*ret_has_pid = true;
	*ret_pid = (pid_t)number;
	return 0;
}

static int parse_bool(const char *name, PyObject *value, bool *ret_value)
{
	if (!value)
		return 0;
	if (!PyBool_Check(value))
		return wrong_type(name, "a bool", value);
	*ret_value = value == Py_True;
	return 0;
}

static int parse_until(PyObject *value, enum aa_until *ret_until)
{
	if (!value)
		return 0;
	if (!PyUnicode_Check(value))
		return wrong_type("until", "'tree' or 'root'", value);
	if (PyUnicode_CompareWithASCIIString(value, "tree") == 0)
		*ret_until = AA_UNTIL_TREE;
	else if (PyUnicode_CompareWithASCIIString(value, "root") == 0)
		*ret_until = AA_UNTIL_ROOT;
	else {
		PyErr_Format(PyExc_ValueError, "until must be 'tree' or 'root', not %R", value);
		return -1;
	}
	return 0;
}

/* ---- ops and kinds: sets of names ---- */

struct vocabulary {
	const char *option;
	const char *(*name_of)(unsigned number);
	unsigned limit;
	const char *const *groups; /* NULL-terminated, or NULL */
	bool (*in_group)(unsigned number, const char *group);
};

static const char *const operation_groups[] = { "modify", "access", "writes", NULL };
static const struct vocabulary operations = { "ops", aa_operation_name, AA_OPERATION_LIMIT, operation_groups,
					      aa_operation_in_group };
static const struct vocabulary kinds = { "kinds", aa_kind_name, AA_KIND_LIMIT, NULL, NULL };

static int append_name(PyObject **text, const char *name)
{
	PyObject *longer = PyUnicode_FromFormat(PyUnicode_GetLength(*text) ? "%U, %s" : "%U%s", *text, name);

	Py_DECREF(*text);
	*text = longer;
	return longer ? 0 : -1;
}

/* "open, read, …, modify, access" */
static PyObject *known_names(const struct vocabulary *words)
{
	PyObject *text = PyUnicode_FromString("");
	unsigned number;
	size_t index;

	for (number = 0; text && number < words->limit; number++)
		if (words->name_of(number) && append_name(&text, words->name_of(number)) < 0)
			return NULL;
	for (index = 0; text && words->groups && words->groups[index]; index++)
		if (append_name(&text, words->groups[index]) < 0)
			return NULL;
	return text;
}

static int unknown_name(const char *option, PyObject *name, PyObject *known)
{
	if (known)
		PyErr_Format(PyExc_ValueError, "%s: unknown name %R; known are: %U", option, name, known);
	Py_XDECREF(known);
	return -1;
}

/* Of some operations a group may have a part of the calls alone; `partly`: those, where there is such a group. */
static int add_word(const struct vocabulary *words, PyObject *name, uint64_t *mask, uint64_t *partly)
{
	unsigned number;
	size_t index;

	if (!PyUnicode_Check(name)) {
		PyErr_Format(PyExc_TypeError, "%s must hold names, not %R", words->option, name);
		return -1;
	}
	for (number = 0; number < words->limit; number++) {
		const char *known = words->name_of(number);

		if (known && PyUnicode_CompareWithASCIIString(name, known) == 0) {
			*mask |= UINT64_C(1) << number;
			return 0;
		}
	}
	for (index = 0; words->groups && words->groups[index]; index++) {
		if (PyUnicode_CompareWithASCIIString(name, words->groups[index]) != 0)
			continue;
		for (number = 0; number < words->limit; number++) {
			if (!words->name_of(number) || !words->in_group(number, words->groups[index]))
				continue;
			if (strcmp(words->groups[index], "writes") == 0 && words->in_group(number, "in_part"))
				*partly |= UINT64_C(1) << number;
			else
				*mask |= UINT64_C(1) << number;
		}
		return 0;
	}
	return unknown_name(words->option, name, known_names(words));
}

/* 0: not given. `*ret_partly`: what only a group names that has a part of its calls. */
static int parse_words(const struct vocabulary *words, PyObject *value, uint64_t *ret_mask, uint64_t *ret_partly)
{
	PyObject *iterator, *name;
	uint64_t partly = 0;
	int status = 0;

	*ret_mask = 0;
	*ret_partly = 0;
	if (!value || value == Py_None)
		return 0;
	if (PyUnicode_Check(value)) {
		status = add_word(words, value, ret_mask, &partly);
		goto out;
	}
	if (PyBytes_Check(value))
		return wrong_type(words->option, "an iterable of names or None", value);
	iterator = PyObject_GetIter(value);
	if (!iterator) {
		if (!PyErr_ExceptionMatches(PyExc_TypeError))
			return -1;
		PyErr_Clear();
		return wrong_type(words->option, "an iterable of names or None", value);
	}
	while (status == 0 && (name = PyIter_Next(iterator))) {
		status = add_word(words, name, ret_mask, &partly);
		Py_DECREF(name);
	}
	Py_DECREF(iterator);
	if (status < 0 || PyErr_Occurred())
		return -1;
	if (*ret_mask == 0) {
		PyErr_Format(PyExc_ValueError, "%s is empty: None means the default set", words->option);
		return -1;
	}
out:
	*ret_partly = partly & ~*ret_mask;
	*ret_mask |= partly;
	return status;
}

static int parse_backend(PyObject *value, const char **ret_backend)
{
	PyObject *known;
	size_t index;

	if (!value || value == Py_None)
		return 0;
	if (!PyUnicode_Check(value))
		return wrong_type("backend", "a str or None", value);
	for (index = 0; aa_backend_name(index); index++) {
		if (PyUnicode_CompareWithASCIIString(value, aa_backend_name(index)) == 0) {
			*ret_backend = aa_backend_name(index);
			return 0;
		}
	}
	known = PyUnicode_FromString("");
	for (index = 0; known && aa_backend_name(index); index++)
		if (append_name(&known, aa_backend_name(index)) < 0)
			return -1;
	return unknown_name("backend", value, known);
}

struct range {
	int64_t least, most;
	bool power_of_two;
};

/* *number stays where nothing was given. */
static int parse_number(const char *name, PyObject *value, struct range range, int64_t *number)
{
	long long given;

	if (!value)
		return 0;
	if (!is_int(value))
		return wrong_type(name, "an int", value);
	if (parse_int(value, &given) < 0)
		return -1;
	if (given < range.least || given > range.most || (range.power_of_two && given & (given - 1))) {
		PyErr_Format(PyExc_ValueError, "%s must be %sfrom %lld to %lld, not %S", name,
			     range.power_of_two ? "a power of two " : "", (long long)range.least, (long long)range.most,
			     value);
		return -1;
	}
	*number = given;
	return 0;
}

/* ---- path rules ---- */

void aa_options_rules_release(struct aa_options_rules *rules)
{
	size_t list;

	for (list = 0; list < AA_RULE_LISTS; list++)
		free(rules->texts[list]);
	Py_CLEAR(rules->paths);
}

/* A str, bytes or path, as the bytes that the kernel would have; a new reference. */
static PyObject *rule_bytes(const char *name, PyObject *value)
{
	PyObject *path = PyOS_FSPath(value), *bytes;
	char *text;
	Py_ssize_t length;

	if (!path) {
		if (PyErr_ExceptionMatches(PyExc_TypeError)) {
			PyErr_Clear();
			PyErr_Format(PyExc_TypeError, "%s must hold paths, not %R", name, value);
		}
		return NULL;
	}
	bytes = PyUnicode_Check(path) ? PyUnicode_EncodeFSDefault(path) : Py_NewRef(path);
	Py_DECREF(path);
	if (bytes && (PyBytes_AsStringAndSize(bytes, &text, &length) < 0 || strlen(text) != (size_t)length)) {
		Py_CLEAR(bytes);
		if (!PyErr_Occurred())
			PyErr_Format(PyExc_ValueError, "%s: rule %R has a NUL: it can never match", name, value);
	}
	return bytes;
}

static int parse_rule_list(PyObject *value, enum aa_rule_list list, struct aa_rule_texts *ret_texts,
			   struct aa_options_rules *rules)
{
	const char *name = aa_rule_list_names[list];
	PyObject *iterator, *item;
	size_t count = 0, room = 0;

	if (!value || value == Py_None)
		return 0;
	if (PyUnicode_Check(value) || PyBytes_Check(value) || PyObject_HasAttrString(value, "__fspath__"))
		return wrong_type(name, "an iterable of paths or None: one rule is [rule]", value);
	if (!rules->paths && !(rules->paths = PyList_New(0)))
		return -1;
	iterator = PyObject_GetIter(value);
	if (!iterator) {
		if (!PyErr_ExceptionMatches(PyExc_TypeError))
			return -1;
		PyErr_Clear();
		return wrong_type(name, "an iterable of paths or None", value);
	}
	while ((item = PyIter_Next(iterator))) {
		PyObject *bytes = rule_bytes(name, item);

		Py_DECREF(item);
		if (!bytes)
			break;
		if (count == room) {
			const char **texts = realloc(rules->texts[list], (room += 64) * sizeof(*texts));

			if (!texts) {
				Py_DECREF(bytes);
				PyErr_NoMemory();
				break;
			}
			rules->texts[list] = texts;
		}
		rules->texts[list][count++] = PyBytes_AsString(bytes);
		if (PyList_Append(rules->paths, bytes) < 0) {
			Py_DECREF(bytes);
			break;
		}
		Py_DECREF(bytes);
		if (count > AA_RULES_MAX)
			break; /* the core says it */
	}
	Py_DECREF(iterator);
	if (PyErr_Occurred())
		return -1;
	if (!count) {
		PyErr_Format(PyExc_ValueError, "%s is empty: None means no rule", name);
		return -1;
	}
	*ret_texts = (struct aa_rule_texts){ rules->texts[list], count };
	return 0;
}

int aa_options_parse_rules(PyObject *const given[AA_RULE_LISTS], struct aa_rule_texts ret_texts[AA_RULE_LISTS],
			   struct aa_options_rules *ret_rules)
{
	for (size_t list = 0; list < AA_RULE_LISTS; list++) {
		if (parse_rule_list(given[list], (enum aa_rule_list)list, &ret_texts[list], ret_rules) < 0)
			return -1;
	}
	return 0;
}

int aa_options_parse(PyObject *args, PyObject *kwargs, struct aa_session_options *options,
		     struct aa_options_rules *ret_rules)
{
	static const char *const keywords[] = {
		"pid",	      "follow",	     "until", "ops",	   "kinds",	  "errors_only", "min_duration_ns",
		"backend",    "latency",     "multi", "totals",	   "totals_rows", "events",	 "max_delay_ms",
		"ring_bytes", "queue_bytes", "watch", "sensitive", "ignore",	  "witness_io",	 NULL
	};
	PyObject *pid = Py_None, *follow = NULL, *until = NULL, *ops = NULL, *kind_names = NULL, *backend = NULL,
		 *latency = NULL, *multi = NULL, *ring_bytes = NULL, *queue_bytes = NULL, *errors_only = NULL,
		 *min_duration = NULL, *totals = NULL, *totals_rows = NULL, *events = NULL, *max_delay = NULL,
		 *witness_io = NULL, *rules[AA_RULE_LISTS] = { NULL };
	bool has_latency = true, has_multi = true, has_totals = false, has_events = true;
	int64_t duration_ns = 0, rows = AA_TOTAL_ROWS_DEFAULT, delay_ms = 0, ring = AA_RING_BYTES_DEFAULT,
		queue = AA_QUEUE_BYTES_DEFAULT;
	uint64_t kind_mask, ignored;

	*options = (struct aa_session_options){ .follow = true };
	*ret_rules = (struct aa_options_rules){ 0 };
	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$OOOOOOOOOOOOOOOOOOO:KprobeManager", (char **)keywords, &pid,
					 &follow, &until, &ops, &kind_names, &errors_only, &min_duration, &backend,
					 &latency, &multi, &totals, &totals_rows, &events, &max_delay, &ring_bytes,
					 &queue_bytes, &rules[AA_RULES_WATCH], &rules[AA_RULES_SENSITIVE],
					 &rules[AA_RULES_IGNORE], &witness_io))
		return -1;
	if (aa_options_parse_pid(pid, &options->has_pid, &options->pid) < 0 ||
	    parse_bool("follow", follow, &options->follow) < 0 || parse_until(until, &options->until) < 0 ||
	    parse_words(&operations, ops, &options->operations, &options->only_changes) < 0 ||
	    parse_words(&kinds, kind_names, &kind_mask, &ignored) < 0 ||
	    parse_bool("errors_only", errors_only, &options->errors_only) < 0 ||
	    parse_number("min_duration_ns", min_duration, (struct range){ 0, AA_DURATION_NS_MAX, false },
			 &duration_ns) < 0 ||
	    parse_backend(backend, &options->backend) < 0 || parse_bool("latency", latency, &has_latency) < 0 ||
	    parse_bool("multi", multi, &has_multi) < 0 || parse_bool("totals", totals, &has_totals) < 0 ||
	    parse_number("totals_rows", totals_rows, (struct range){ AA_TOTAL_ROWS_MIN, AA_TOTAL_ROWS_MAX, true },
			 &rows) < 0 ||
	    parse_bool("events", events, &has_events) < 0 ||
	    parse_bool("witness_io", witness_io, &options->witness_io) < 0 ||
	    parse_number("max_delay_ms", max_delay, (struct range){ 1, AA_DELAY_MS_MAX, false }, &delay_ms) < 0 ||
	    parse_number("ring_bytes", ring_bytes, (struct range){ AA_SIZE_BYTES_MIN, AA_SIZE_BYTES_MAX, true },
			 &ring) < 0 ||
	    parse_number("queue_bytes", queue_bytes, (struct range){ AA_SIZE_BYTES_MIN, AA_SIZE_BYTES_MAX, false },
			 &queue) < 0 ||
	    aa_options_parse_rules(rules, options->rules, ret_rules) < 0)
		return -1;
	options->min_duration_ns = (uint64_t)duration_ns;
	options->max_delay_ms = (uint32_t)delay_ms;
	options->ring_bytes = (uint64_t)ring;
	options->queue_bytes = (uint64_t)queue;
	options->kinds = (uint32_t)kind_mask;
	options->no_latency = !has_latency;
	options->no_multi = !has_multi;
	options->no_events = !has_events;
	options->total_rows = has_totals ? (uint32_t)rows : 0;
	if (!has_totals && totals_rows) {
		PyErr_SetString(PyExc_ValueError, "totals_rows needs totals=True");
		return -1;
	}
	return 0;
}

/* ---- reading ---- */

static int parse_seconds(PyObject *value, double *ret_seconds)
{
	PyObject *number;

	if (PyBool_Check(value) || PyUnicode_Check(value) || PyBytes_Check(value) || PyByteArray_Check(value))
		return wrong_type("timeout", "a number of seconds or None", value);
	if (PyLong_Check(value)) {
		*ret_seconds = PyLong_AsDouble(value);
		if (*ret_seconds == -1.0 && PyErr_Occurred()) {
			long long clamped;

			if (!PyErr_ExceptionMatches(PyExc_OverflowError))
				return -1;
			PyErr_Clear();
			if (parse_int(value, &clamped) < 0)
				return -1;
			*ret_seconds = (double)clamped;
		}
		return 0;
	}
	number = PyNumber_Float(value);
	if (!number) {
		if (!PyErr_ExceptionMatches(PyExc_TypeError))
			return -1;
		PyErr_Clear();
		return wrong_type("timeout", "a number of seconds or None", value);
	}
	*ret_seconds = PyFloat_AsDouble(number);
	Py_DECREF(number);
	return 0;
}

int aa_options_parse_timeout(PyObject *value, int64_t *ret_deadline_ns, bool *ret_is_zero)
{
	struct timespec now;
	double seconds;
	int64_t now_ns, room_s;

	*ret_deadline_ns = AA_WAIT_FOREVER;
	*ret_is_zero = false;
	if (value == Py_None)
		return 0;
	if (parse_seconds(value, &seconds) < 0)
		return -1;
	if (!isfinite(seconds) || seconds < 0) {
		PyErr_Format(PyExc_ValueError, "timeout must be finite and not negative: %R", value);
		return -1;
	}
	*ret_is_zero = seconds == 0;
	clock_gettime(CLOCK_MONOTONIC, &now);
	now_ns = (int64_t)now.tv_sec * NS_PER_SECOND + now.tv_nsec;
	room_s = (INT64_MAX - now_ns) / NS_PER_SECOND - 1;
	if (seconds < (double)room_s)
		*ret_deadline_ns = now_ns + (int64_t)ceil(seconds * NS_PER_SECOND);
	return 0;
}

int aa_options_parse_max_events(PyObject *value, size_t limit, size_t *ret_max)
{
	long long number;

	*ret_max = limit;
	if (value == Py_None)
		return 0;
	if (!is_int(value))
		return wrong_type("max_events", "an int or None", value);
	if (parse_int(value, &number) < 0)
		return -1;
	if (number < 1) {
		PyErr_Format(PyExc_ValueError, "max_events must be at least 1, not %S", value);
		return -1;
	}
	if ((unsigned long long)number < limit)
		*ret_max = (size_t)number;
	return 0;
}

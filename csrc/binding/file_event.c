/* SPDX-License-Identifier: MIT */
/*
 * FileEvent: one allocation that holds a copy of the core's event; each attribute is made when it is asked for.
 *
 * Everything here goes by the one table of fields (event_fields.h): the attributes and their order, _asdict(), equality
 * and what the constructor takes. It is not tracked by the garbage collector: an event refers to strings only.
 */
#include "event_fields.h"
#include "module.h"

#include <stddef.h>
#include <string.h>

#define STRINGS_OFFSET offsetof(struct aa_file_event, strings)
#define CALL_UNKNOWN UINT16_MAX

enum { STRING_PATH, STRING_NEW_PATH, STRING_RAW_PATH, STRING_COUNT };

struct py_event {
	PyObject_VAR_HEAD PyObject *strings[STRING_COUNT]; /* str, made at first use */
	int64_t offset_ns;				   /* CLOCK_REALTIME - CLOCK_BOOTTIME */
	struct aa_file_event event;			   /* its strings run on behind the end of this struct */
};

/* What the constructor has gathered before it knows how large the event is. */
struct draft {
	struct module_state *state;
	PyObject *strings[STRING_COUNT]; /* bytes */
	uint64_t given;			 /* bit per field of the table */
	int64_t time_us, bytes, error;
	bool has_no_result, has_no_sensitive; /* said by None */
	size_t via;
	struct aa_file_event event; /* without its strings */
};

enum {
#define X(name, ...) FIELD_##name,
	AA_EVENT_FIELDS(X)
#undef X
		FIELD_COUNT,
};

#define GIVEN(draft, name) ((draft)->given >> FIELD_##name & 1)

enum width { WIDTH_NONE, WIDTH_U64, WIDTH_I64, WIDTH_U32, WIDTH_I32, WIDTH_U16, WIDTH_U8 };

struct field {
	const char *name;
	PyObject *(*get)(struct py_event *self, struct module_state *state, const struct field *field);
	int (*set)(struct draft *draft, PyObject *value, const struct field *field);
	size_t offset;	  /* of the member in struct aa_file_event */
	enum width width; /* of the member; WIDTH_NONE: not a number */
	uint32_t present; /* AA_FIELD_*: None without it; 0: always there */
};

/* ---- plain numbers ---- */

static void *field_at(const struct aa_file_event *event, const struct field *field)
{
	return (char *)event + field->offset;
}

static PyObject *get_NUMBER(struct py_event *self, struct module_state *Py_UNUSED(state), const struct field *field)
{
	const void *at = field_at(&self->event, field);

	switch (field->width) {
	case WIDTH_U64:
		return PyLong_FromUnsignedLongLong(*(const uint64_t *)at);
	case WIDTH_I64:
		return PyLong_FromLongLong(*(const int64_t *)at);
	case WIDTH_U32:
		return PyLong_FromUnsignedLong(*(const uint32_t *)at);
	case WIDTH_I32:
		return PyLong_FromLong(*(const int32_t *)at);
	case WIDTH_U16:
		return PyLong_FromLong(*(const uint16_t *)at);
	case WIDTH_U8:
		return PyLong_FromLong(*(const uint8_t *)at);
	case WIDTH_NONE:
		break;
	}
	Py_RETURN_NONE;
}

static int wrong_range(const struct field *field, PyObject *value)
{
	PyErr_Clear();
	PyErr_Format(PyExc_ValueError, "%s is out of range: %R", field->name, value);
	return -1;
}

static int parse_number(PyObject *value, const struct field *field, int64_t *ret_number)
{
	if (!PyLong_Check(value) || PyBool_Check(value)) {
		PyErr_Format(PyExc_TypeError, "%s must be an int, not %R", field->name, value);
		return -1;
	}
	*ret_number = PyLong_AsLongLong(value);
	return *ret_number == -1 && PyErr_Occurred() ? wrong_range(field, value) : 0;
}

static int set_NUMBER(struct draft *draft, PyObject *value, const struct field *field)
{
	void *at = field_at(&draft->event, field);
	int64_t number;

	if (field->width == WIDTH_U64) {
		uint64_t unsigned_number;

		if (!PyLong_Check(value) || PyBool_Check(value))
			return parse_number(value, field, &number); /* for its message */
		unsigned_number = PyLong_AsUnsignedLongLong(value);
		if (unsigned_number == UINT64_MAX && PyErr_Occurred())
			return wrong_range(field, value);
		*(uint64_t *)at = unsigned_number;
		return 0;
	}
	if (parse_number(value, field, &number) < 0)
		return -1;
	switch (field->width) {
	case WIDTH_I64:
		*(int64_t *)at = number;
		return 0;
	case WIDTH_U32:
		*(uint32_t *)at = (uint32_t)number;
		return number == (int64_t) * (uint32_t *)at ? 0 : wrong_range(field, value);
	case WIDTH_I32:
		*(int32_t *)at = (int32_t)number;
		return number == *(int32_t *)at ? 0 : wrong_range(field, value);
	case WIDTH_U16:
		*(uint16_t *)at = (uint16_t)number;
		return number == *(uint16_t *)at ? 0 : wrong_range(field, value);
	case WIDTH_U8:
		*(uint8_t *)at = (uint8_t)number;
		return number == *(uint8_t *)at ? 0 : wrong_range(field, value);
	default:
		return wrong_range(field, value);
	}
}

/* ---- result, errno, bytes: three views of one number ---- */

static PyObject *get_ERRNO(struct py_event *self, struct module_state *Py_UNUSED(state),
			   const struct field *Py_UNUSED(f))
{
	return PyLong_FromLongLong(aa_file_event_errno(&self->event));
}

static PyObject *get_BYTES(struct py_event *self, struct module_state *Py_UNUSED(state),
			   const struct field *Py_UNUSED(f))
{
	return PyLong_FromLongLong(aa_file_event_bytes(&self->event));
}

static int set_ERRNO(struct draft *draft, PyObject *value, const struct field *field)
{
	if (parse_number(value, field, &draft->error) < 0)
		return -1;
	return draft->error < 0 || draft->error > AA_ERRNO_MAX ? wrong_range(field, value) : 0;
}

static int set_BYTES(struct draft *draft, PyObject *value, const struct field *field)
{
	if (parse_number(value, field, &draft->bytes) < 0)
		return -1;
	return draft->bytes < 0 ? wrong_range(field, value) : 0;
}

static int settle_result(struct draft *draft)
{
	if (!GIVEN(draft, return_code))
		draft->event.result = GIVEN(draft, errno) && draft->error ? -draft->error :
				      GIVEN(draft, bytes)		  ? draft->bytes :
									    0;
	if (draft->has_no_result && (GIVEN(draft, return_code) || GIVEN(draft, errno) || GIVEN(draft, bytes))) {
		PyErr_SetString(PyExc_ValueError, "return_code, errno and bytes are None together");
		return -1;
	}
	if ((GIVEN(draft, errno) && draft->error != aa_file_event_errno(&draft->event)) ||
	    (GIVEN(draft, bytes) && draft->bytes != aa_file_event_bytes(&draft->event))) {
		PyErr_Format(PyExc_ValueError, "return_code %lld contradicts errno or bytes",
			     (long long)draft->event.result);
		return -1;
	}
	return 0;
}

/* ---- time ---- */

static int load_datetime(struct module_state *state)
{
	PyObject *module = NULL, *class = NULL, *zone = NULL, *utc = NULL;

	if (state->epoch)
		return 0;
	module = PyImport_ImportModule("datetime");
	if (module && !state->timedelta)
		state->timedelta = PyObject_GetAttrString(module, "timedelta");
	class = module ? PyObject_GetAttrString(module, "datetime") : NULL;
	zone = class ? PyObject_GetAttrString(module, "timezone") : NULL;
	utc = zone ? PyObject_GetAttrString(zone, "utc") : NULL;
	if (utc && state->timedelta)
		state->epoch = PyObject_CallFunction(class, "iiiiiiiO", 1970, 1, 1, 0, 0, 0, 0, utc);
	Py_XDECREF(utc);
	Py_XDECREF(zone);
	Py_XDECREF(class);
	Py_XDECREF(module);
	return state->epoch ? 0 : -1;
}

/* Microseconds since 1970: what a datetime can hold. */
static int64_t event_time_us(const struct py_event *self)
{
	return (int64_t)(self->event.timestamp_ns + (uint64_t)self->offset_ns) / 1000;
}

static PyObject *get_TIME(struct py_event *self, struct module_state *state, const struct field *Py_UNUSED(field))
{
	PyObject *delta, *time;

	if (load_datetime(state) < 0)
		return NULL;
	delta = PyObject_CallFunction(state->timedelta, "iiL", 0, 0, (long long)event_time_us(self));
	if (!delta)
		return NULL;
	time = PyNumber_Add(state->epoch, delta);
	Py_DECREF(delta);
	return time;
}

static int set_TIME(struct draft *draft, PyObject *value, const struct field *field)
{
	PyObject *since = NULL, *one = NULL, *microseconds = NULL;
	int status = -1;

	if (load_datetime(draft->state) < 0)
		return -1;
	if (!PyObject_TypeCheck(value, Py_TYPE(draft->state->epoch))) {
		PyErr_Format(PyExc_TypeError, "time must be an aware datetime, not %R", value);
		return -1;
	}
	since = PyNumber_Subtract(value, draft->state->epoch); /* TypeError when naive */
	one = since ? PyObject_CallFunction(draft->state->timedelta, "iii", 0, 0, 1) : NULL;
	microseconds = one ? PyNumber_FloorDivide(since, one) : NULL;
	if (microseconds)
		status = parse_number(microseconds, field, &draft->time_us);
	Py_XDECREF(microseconds);
	Py_XDECREF(one);
	Py_XDECREF(since);
	return status;
}

/* ---- names from the tables ---- */

static PyObject *get_OPERATION(struct py_event *self, struct module_state *state, const struct field *Py_UNUSED(field))
{
	unsigned number = self->event.operation;
	PyObject *member = number < AA_OPERATION_LIMIT ? state->operations[number] : NULL;

	return member ? Py_NewRef(member) : PyLong_FromUnsignedLong(number);
}

static PyObject *get_KIND(struct py_event *self, struct module_state *state, const struct field *Py_UNUSED(field))
{
	unsigned number = self->event.kind;
	PyObject *member = number < AA_KIND_LIMIT ? state->kinds[number] : NULL;

	return Py_NewRef(member ? member : Py_None);
}

static PyObject *get_SOURCE(struct py_event *self, struct module_state *state, const struct field *Py_UNUSED(field))
{
	unsigned number = self->event.path_source;
	PyObject *member = number < AA_SOURCE_LIMIT ? state->sources[number] : NULL;

	return Py_NewRef(member ? member : state->sources[0]);
}

static PyObject *get_PATH_FLAGS(struct py_event *self, struct module_state *state, const struct field *Py_UNUSED(field))
{
	unsigned value = self->event.path_flags;

	if (!state->flags[value])
		state->flags[value] = PyObject_CallFunction(state->flag_class, "i", (int)value);
	return Py_XNewRef(state->flags[value]);
}

static PyObject *get_CALL(struct py_event *self, struct module_state *state, const struct field *Py_UNUSED(field))
{
	unsigned call = self->event.call;

	return Py_NewRef(call < state->call_count ? state->calls[call] : state->unknown_call);
}

static PyObject *get_VIA(struct py_event *self, struct module_state *state, const struct field *Py_UNUSED(field))
{
	return Py_NewRef(state->vias[aa_call_via(self->event.call)]);
}

static PyObject *get_TRUTH(struct py_event *self, struct module_state *Py_UNUSED(state), const struct field *field)
{
	return PyBool_FromLong(*((const unsigned char *)&self->event + field->offset));
}

/* The number whose member equals the given str. */
static int find_member(PyObject *const *members, size_t count, PyObject *value, const struct field *field,
		       size_t *ret_number)
{
	size_t number;

	if (!PyUnicode_Check(value)) {
		PyErr_Format(PyExc_TypeError, "%s must be a str, not %R", field->name, value);
		return -1;
	}
	for (number = 0; number < count; number++) {
		int is_equal = members[number] ? PyObject_RichCompareBool(members[number], value, Py_EQ) : 0;

		if (is_equal < 0)
			return -1;
		if (is_equal) {
			*ret_number = number;
			return 0;
		}
	}
	PyErr_Format(PyExc_ValueError, "unknown %s: %R", field->name, value);
	return -1;
}

static int set_OPERATION(struct draft *draft, PyObject *value, const struct field *field)
{
	size_t number = 0;

	if (PyLong_Check(value))
		return set_NUMBER(draft, value, field);
	if (find_member(draft->state->operations, AA_OPERATION_LIMIT, value, field, &number) < 0)
		return -1;
	draft->event.operation = (uint8_t)number;
	return 0;
}

static int set_KIND(struct draft *draft, PyObject *value, const struct field *field)
{
	size_t number = 0;

	if (find_member(draft->state->kinds, AA_KIND_LIMIT, value, field, &number) < 0)
		return -1;
	draft->event.kind = (uint8_t)number;
	return 0;
}

static int set_SOURCE(struct draft *draft, PyObject *value, const struct field *field)
{
	size_t number = 0;

	if (find_member(draft->state->sources, AA_SOURCE_LIMIT, value, field, &number) < 0)
		return -1;
	draft->event.path_source = (uint8_t)number;
	return 0;
}

static int set_PATH_FLAGS(struct draft *draft, PyObject *value, const struct field *field)
{
	PyObject *number;
	int status;

	if (!PyObject_TypeCheck(value, (PyTypeObject *)draft->state->flag_class)) {
		PyErr_Format(PyExc_TypeError, "path_flags must be a PathFlag, not %R", value);
		return -1;
	}
	number = PyObject_GetAttrString(value, "value");
	if (!number)
		return -1;
	status = set_NUMBER(draft, number, field);
	Py_DECREF(number);
	return status;
}

static int set_TRUTH(struct draft *draft, PyObject *value, const struct field *field)
{
	if (!PyBool_Check(value)) {
		PyErr_Format(PyExc_TypeError, "%s must be a bool, not %R", field->name, value);
		return -1;
	}
	*((unsigned char *)&draft->event + field->offset) = value == Py_True;
	return 0;
}

static int set_CALL(struct draft *draft, PyObject *value, const struct field *field)
{
	size_t number = CALL_UNKNOWN;
	int is_unknown = PyObject_RichCompareBool(value, draft->state->unknown_call, Py_EQ);

	if (is_unknown < 0 ||
	    (!is_unknown && find_member(draft->state->calls, draft->state->call_count, value, field, &number) < 0))
		return -1;
	draft->event.call = (uint16_t)number;
	return 0;
}

static int set_VIA(struct draft *draft, PyObject *value, const struct field *field)
{
	return find_member(draft->state->vias, AA_VIA_LIMIT, value, field, &draft->via);
}

/* Unless told: the first that does the operation, by that way in. */
static uint16_t default_call(const struct draft *draft)
{
	unsigned call;

	for (call = 0; aa_call_name(call); call++)
		if (aa_call_via(call) == draft->via && aa_call_operation(call) == draft->event.operation)
			return (uint16_t)call;
	return CALL_UNKNOWN;
}

/* The way in is the call's own. */
static int settle_via(struct draft *draft)
{
	if (!GIVEN(draft, syscall))
		draft->event.call = default_call(draft);
	if (GIVEN(draft, via) && draft->via != aa_call_via(draft->event.call)) {
		PyErr_Format(PyExc_ValueError, "via %S contradicts syscall", draft->state->vias[draft->via]);
		return -1;
	}
	return 0;
}

/* ---- strings ---- */

static PyObject *get_COMM(struct py_event *self, struct module_state *Py_UNUSED(state),
			  const struct field *Py_UNUSED(f))
{
	const char *comm = self->event.comm;

	return PyUnicode_DecodeFSDefaultAndSize(comm, (Py_ssize_t)strnlen(comm, sizeof(self->event.comm)));
}

static int set_COMM(struct draft *draft, PyObject *value, const struct field *Py_UNUSED(field))
{
	PyObject *bytes;
	Py_ssize_t size;
	char *text;

	if (!PyUnicode_Check(value)) {
		PyErr_Format(PyExc_TypeError, "comm must be a str, not %R", value);
		return -1;
	}
	if (!PyUnicode_FSConverter(value, &bytes))
		return -1;
	if (PyBytes_AsStringAndSize(bytes, &text, &size) == 0) {
		if (size < (Py_ssize_t)sizeof(draft->event.comm)) {
			memcpy(draft->event.comm, text, (size_t)size);
			Py_DECREF(bytes);
			return 0;
		}
		PyErr_Format(PyExc_ValueError, "comm has at most 15 bytes: %R", value);
	}
	Py_DECREF(bytes);
	return -1;
}

static const char *event_string(const struct aa_file_event *event, unsigned which, size_t *ret_length)
{
	switch (which) {
	case STRING_PATH:
		*ret_length = event->path_length;
		return aa_file_event_path(event);
	case STRING_NEW_PATH:
		*ret_length = event->new_path_length;
		return aa_file_event_new_path(event);
	default:
		*ret_length = event->raw_path_length;
		return aa_file_event_raw_path(event);
	}
}

static unsigned field_string(const struct field *field)
{
	return field->present == AA_FIELD_PATH	   ? STRING_PATH :
	       field->present == AA_FIELD_NEW_PATH ? STRING_NEW_PATH :
						     STRING_RAW_PATH;
}

/* Ends differ where beginnings do not. */
static size_t name_hash(const char *text, size_t length)
{
	uint64_t head = 0, tail = 0, hash;

	memcpy(&head, text, length < 8 ? length : 8);
	if (length > 8)
		memcpy(&tail, text + length - 8, 8);
	hash = (head ^ tail * 0x9e3779b97f4a7c15u ^ length) * 0xbf58476d1ce4e5b9u;
	return (size_t)(hash >> 32);
}

/* One str for each name, as long as it is in use again and again. */
static PyObject *shared_name(struct module_state *state, const char *text, size_t length)
{
	struct name_cache_entry *entry;
	PyObject *object;

	if (!state->names)
		state->names = PyMem_Calloc(AA_NAME_CACHE_ENTRIES, sizeof(*state->names));
	if (!state->names || length > sizeof(state->names->bytes))
		return PyUnicode_DecodeFSDefaultAndSize(text, (Py_ssize_t)length);
	entry = &state->names[name_hash(text, length) & (AA_NAME_CACHE_ENTRIES - 1)];
	if (entry->text && entry->length == length && !memcmp(entry->bytes, text, length))
		return Py_NewRef(entry->text);
	object = PyUnicode_DecodeFSDefaultAndSize(text, (Py_ssize_t)length);
	if (!object)
		return NULL;
	Py_XDECREF(entry->text);
	entry->text = Py_NewRef(object);
	entry->length = length;
	memcpy(entry->bytes, text, length);
	return object;
}

static PyObject *get_STRING(struct py_event *self, struct module_state *state, const struct field *field)
{
	unsigned which = field_string(field);

	if (!self->strings[which]) {
		size_t length;
		const char *text = event_string(&self->event, which, &length);

		self->strings[which] = shared_name(state, text, length);
	}
	return Py_XNewRef(self->strings[which]);
}

static int set_STRING(struct draft *draft, PyObject *value, const struct field *field)
{
	PyObject **at = &draft->strings[field_string(field)];

	if (!PyUnicode_Check(value)) {
		PyErr_Format(PyExc_TypeError, "%s must be a str or None, not %R", field->name, value);
		return -1;
	}
	Py_CLEAR(*at);
	if (!PyUnicode_FSConverter(value, at)) /* refuses an embedded NUL */
		return -1;
	if (PyBytes_Size(*at) > UINT16_MAX)
		return wrong_range(field, value);
	if (PyBytes_Size(*at) == 0 && field->present != AA_FIELD_RAW_PATH) {
		PyErr_Format(PyExc_ValueError, "%s is never empty: use None", field->name);
		return -1;
	}
	return 0;
}

/* ---- the table ---- */

static const struct field fields[FIELD_COUNT] = {
#define X(name, as, member, width, present)                                                                            \
	{ #name, get_##as, set_##as, offsetof(struct aa_file_event, member), WIDTH_##width, present },
	AA_EVENT_FIELDS(X)
#undef X
};

static PyObject *field_value(struct py_event *self, struct module_state *state, const struct field *field)
{
	if (field->present && !(self->event.present & field->present))
		Py_RETURN_NONE;
	return field->get(self, state, field);
}

static PyObject *event_get(PyObject *self, void *closure)
{
	return field_value((struct py_event *)self, PyType_GetModuleState(AA_TYPE(self)), closure);
}

static PyGetSetDef event_getset[] = {
#define X(name, ...) { #name, event_get, NULL, NULL, (void *)&fields[FIELD_##name] },
	AA_EVENT_FIELDS(X)
#undef X
		{ 0 },
};

/* ---- making one ---- */

static size_t strings_bytes(const struct aa_file_event *event)
{
	return (event->present & AA_FIELD_PATH ? event->path_length + 1u : 0) +
	       (event->present & AA_FIELD_NEW_PATH ? event->new_path_length + 1u : 0) +
	       (event->present & AA_FIELD_RAW_PATH ? event->raw_path_length + 1u : 0);
}

/* Copies the fixed part only. */
static struct py_event *event_alloc(struct module_state *state, const struct aa_file_event *event, int64_t offset_ns)
{
	size_t bytes = STRINGS_OFFSET + strings_bytes(event);
	size_t beyond = bytes > sizeof(*event) ? bytes - sizeof(*event) : 0;
	struct py_event *self = PyObject_NewVar(struct py_event, state->event_type, (Py_ssize_t)beyond);

	if (!self)
		return NULL;
	memset(self->strings, 0, sizeof(self->strings));
	self->offset_ns = offset_ns;
	memcpy(&self->event, event, STRINGS_OFFSET);
	return self;
}

PyObject *aa_event_create_of_row(struct module_state *state, const struct aa_file_event *event,
				 const struct aa_row_strings *strings, int64_t offset_ns)
{
	struct py_event *self = event_alloc(state, event, offset_ns);
	char *to;

	if (!self)
		return NULL;
	to = (char *)&self->event + STRINGS_OFFSET;
#define PUT(text, length)                                                                                              \
	if (text) {                                                                                                    \
		memcpy(to, text, length);                                                                              \
		to[length] = '\0';                                                                                     \
		to += (length) + 1;                                                                                    \
	}
	PUT(strings->path, event->path_length)
	PUT(strings->new_path, event->new_path_length)
	PUT(strings->raw_path, event->raw_path_length)
#undef PUT
	return (PyObject *)self;
}

const struct aa_file_event *aa_event_of(struct module_state *state, PyObject *object, int64_t *ret_offset_ns)
{
	struct py_event *self = (struct py_event *)object;

	if (Py_TYPE(object) != state->event_type) {
		PyErr_Format(PyExc_TypeError, "an EventBatch is made of FileEvents, not of %R", object);
		return NULL;
	}
	*ret_offset_ns = self->offset_ns;
	return &self->event;
}

PyObject *aa_event_create(struct module_state *state, const struct aa_file_event *event, int64_t offset_ns)
{
	struct py_event *self = event_alloc(state, event, offset_ns);

	if (self)
		memcpy((char *)&self->event + STRINGS_OFFSET, event->strings, strings_bytes(event));
	return (PyObject *)self;
}

static const struct field *find_field(PyObject *name)
{
	size_t index;

	for (index = 0; index < FIELD_COUNT; index++)
		if (PyUnicode_CompareWithASCIIString(name, fields[index].name) == 0)
			return &fields[index];
	return NULL;
}

static int draft_fill(struct draft *draft, PyObject *kwargs)
{
	PyObject *name, *value;
	Py_ssize_t position = 0;
	unsigned which;

	while (kwargs && PyDict_Next(kwargs, &position, &name, &value)) {
		const struct field *field = find_field(name);

		if (!field) {
			PyErr_Format(PyExc_TypeError, "FileEvent() got an unexpected keyword argument %R", name);
			return -1;
		}
		if (value == Py_None && field->present) {
			draft->has_no_result |= field->present == AA_FIELD_RESULT;
			draft->has_no_sensitive |= field->present == AA_FIELD_SENSITIVE;
			continue;
		}
		if (field->set(draft, value, field) < 0)
			return -1;
		draft->given |= UINT64_C(1) << (field - fields);
		draft->event.present |= field->present;
	}
	if (!GIVEN(draft, op)) {
		PyErr_SetString(PyExc_TypeError, "FileEvent() missing required keyword argument 'op'");
		return -1;
	}
	if (settle_via(draft) < 0)
		return -1;
	if (!draft->has_no_result)
		draft->event.present |= AA_FIELD_RESULT;
	if (!draft->has_no_sensitive)
		draft->event.present |= AA_FIELD_SENSITIVE;
	if (!GIVEN(draft, changes))
		draft->event.changes = aa_event_changes(&draft->event, AA_KIND_COUNT);
	if (!GIVEN(draft, tid))
		draft->event.tid = draft->event.pid;
	if (!GIVEN(draft, path_source) && draft->event.present & AA_FIELD_PATH) {
		PyErr_SetString(PyExc_TypeError, "FileEvent() with a path needs path_source too");
		return -1;
	}
	for (which = 0; which < STRING_COUNT; which++) {
		uint16_t *length = which == STRING_PATH	    ? &draft->event.path_length :
				   which == STRING_NEW_PATH ? &draft->event.new_path_length :
							      &draft->event.raw_path_length;

		*length = draft->strings[which] ? (uint16_t)PyBytes_Size(draft->strings[which]) : 0;
	}
	return settle_result(draft);
}

static PyObject *event_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	struct draft draft = { .state = PyType_GetModuleState(type) };
	struct py_event *self = NULL;
	int64_t offset_ns = 0;
	unsigned which;

	if (PyTuple_Size(args) > 0)
		PyErr_SetString(PyExc_TypeError, "FileEvent() takes keyword arguments only");
	else if (draft_fill(&draft, kwargs) == 0) {
		if (GIVEN(&draft, time))
			offset_ns = (int64_t)((uint64_t)draft.time_us * 1000 - draft.event.timestamp_ns);
		self = event_alloc(draft.state, &draft.event, offset_ns);
	}
	if (self) {
		char *to = (char *)&self->event + STRINGS_OFFSET;

		for (which = 0; which < STRING_COUNT; which++) {
			PyObject *bytes = draft.strings[which];

			if (!bytes)
				continue;
			memcpy(to, PyBytes_AsString(bytes), (size_t)PyBytes_Size(bytes) + 1);
			to += PyBytes_Size(bytes) + 1;
		}
	}
	for (which = 0; which < STRING_COUNT; which++)
		Py_XDECREF(draft.strings[which]);
	return (PyObject *)self;
}

static void event_dealloc(struct py_event *self)
{
	PyTypeObject *type = AA_TYPE(self);
	unsigned which;

	for (which = 0; which < STRING_COUNT; which++)
		Py_XDECREF(self->strings[which]);
	PyObject_Free(self);
	Py_DECREF(type);
}

/* ---- comparing, showing, copying ---- */

static uint64_t raw_number(const struct aa_file_event *event, const struct field *field)
{
	const void *at = field_at(event, field);

	switch (field->width) {
	case WIDTH_U64:
	case WIDTH_I64:
		return *(const uint64_t *)at;
	case WIDTH_U32:
	case WIDTH_I32:
		return *(const uint32_t *)at;
	case WIDTH_U16:
		return *(const uint16_t *)at;
	case WIDTH_U8:
		return *(const uint8_t *)at;
	case WIDTH_NONE:
		break;
	}
	return 0;
}

static bool events_equal(const struct py_event *a, const struct py_event *b)
{
	size_t index;

	if ((a->event.present ^ b->event.present) & ~AA_FIELDS_HIDDEN || event_time_us(a) != event_time_us(b) ||
	    strncmp(a->event.comm, b->event.comm, sizeof(a->event.comm)) != 0)
		return false;
	for (index = 0; index < FIELD_COUNT; index++) {
		const struct field *field = &fields[index];

		if (field->width == WIDTH_NONE || (field->present && !(a->event.present & field->present)))
			continue;
		if (raw_number(&a->event, field) != raw_number(&b->event, field))
			return false;
	}
	for (index = 0; index < STRING_COUNT; index++) {
		size_t a_length, b_length;
		const char *a_text = event_string(&a->event, (unsigned)index, &a_length);
		const char *b_text = event_string(&b->event, (unsigned)index, &b_length);

		if (a_text && (a_length != b_length || memcmp(a_text, b_text, a_length) != 0))
			return false;
	}
	return true;
}

static PyObject *event_richcompare(struct py_event *self, PyObject *other, int operation)
{
	bool is_equal;

	if (Py_TYPE(other) != AA_TYPE(self) || (operation != Py_EQ && operation != Py_NE))
		Py_RETURN_NOTIMPLEMENTED;
	is_equal = events_equal(self, (struct py_event *)other);
	return PyBool_FromLong(is_equal == (operation == Py_EQ));
}

static Py_hash_t event_hash(struct py_event *self)
{
	/* Enough to tell events apart; the multiplier is that of 64-bit FNV-1a. */
	const uint64_t parts[] = { self->event.seq, self->event.timestamp_ns, self->event.tid, self->event.operation,
				   (uint64_t)self->event.result };
	uint64_t hash = 0xcbf29ce484222325u;
	size_t index;

	for (index = 0; index < sizeof(parts) / sizeof(parts[0]); index++) {
		hash = (hash ^ parts[index]) * 0x100000001b3u;
		hash ^= hash >> 32;
	}
	return (Py_hash_t)hash == -1 ? -2 : (Py_hash_t)hash;
}

static PyObject *event_asdict(struct py_event *self, PyObject *Py_UNUSED(ignored))
{
	struct module_state *state = PyType_GetModuleState(AA_TYPE(self));
	PyObject *dict = PyDict_New();
	size_t index;

	for (index = 0; dict && index < FIELD_COUNT; index++) {
		PyObject *value = field_value(self, state, &fields[index]);

		if (!value || PyDict_SetItemString(dict, fields[index].name, value) < 0)
			Py_CLEAR(dict);
		Py_XDECREF(value);
	}
	return dict;
}

/* copyreg.__newobj_ex__(FileEvent, (), {...}) */
static PyObject *event_reduce(struct py_event *self, PyObject *Py_UNUSED(ignored))
{
	PyObject *copyreg = PyImport_ImportModule("copyreg");
	PyObject *constructor = copyreg ? PyObject_GetAttrString(copyreg, "__newobj_ex__") : NULL;
	PyObject *dict = constructor ? event_asdict(self, NULL) : NULL;
	PyObject *reduced = dict ? Py_BuildValue("O(O()O)", constructor, AA_TYPE(self), dict) : NULL;

	Py_XDECREF(dict);
	Py_XDECREF(constructor);
	Py_XDECREF(copyreg);
	return reduced;
}

static PyObject *event_copy(PyObject *self, PyObject *Py_UNUSED(ignored))
{
	return Py_NewRef(self);
}

/* "3", "ENOENT" or "-512", and "?" where it was not told */
static PyObject *result_text(struct py_event *self)
{
	int64_t number = aa_file_event_errno(&self->event);
	PyObject *module, *names, *key, *name;

	if (!(self->event.present & AA_FIELD_RESULT))
		return PyUnicode_FromString("?");
	if (number) {
		module = PyImport_ImportModule("errno");
		names = module ? PyObject_GetAttrString(module, "errorcode") : NULL;
		key = names ? PyLong_FromLongLong(number) : NULL;
		name = key ? PyObject_GetItem(names, key) : NULL;
		Py_XDECREF(key);
		Py_XDECREF(names);
		Py_XDECREF(module);
		if (name)
			return name;
		if (!PyErr_ExceptionMatches(PyExc_KeyError))
			return NULL;
		PyErr_Clear();
	}
	return PyUnicode_FromFormat("%lld", (long long)self->event.result);
}

static PyObject *event_repr(struct py_event *self)
{
	struct module_state *state = PyType_GetModuleState(AA_TYPE(self));
	PyObject *syscall = field_value(self, state, &fields[FIELD_syscall]);
	PyObject *path = field_value(self, state, &fields[FIELD_path]);
	PyObject *new_path = field_value(self, state, &fields[FIELD_new_path]);
	PyObject *comm = field_value(self, state, &fields[FIELD_comm]);
	PyObject *operation = field_value(self, state, &fields[FIELD_op]);
	PyObject *result = result_text(self);
	PyObject *repr = NULL;

	if (syscall && path && new_path && comm && operation && result) {
		if (new_path == Py_None)
			repr = PyUnicode_FromFormat("<FileEvent %S %R by %U = %U, pid=%u comm=%R seq=%llu>", operation,
						    path, syscall, result, self->event.pid, comm,
						    (unsigned long long)self->event.seq);
		else
			repr = PyUnicode_FromFormat("<FileEvent %S %R -> %R by %U = %U, pid=%u comm=%R seq=%llu>",
						    operation, path, new_path, syscall, result, self->event.pid, comm,
						    (unsigned long long)self->event.seq);
	}
	Py_XDECREF(result);
	Py_XDECREF(operation);
	Py_XDECREF(comm);
	Py_XDECREF(new_path);
	Py_XDECREF(path);
	Py_XDECREF(syscall);
	return repr;
}

static PyMethodDef event_methods[] = {
	{ "_asdict", AA_METHOD(event_asdict), METH_NOARGS,
	  PyDoc_STR("_asdict($self, /)\n--\n\nEvery field by its name; FileEvent(**that) is equal.") },
	{ "__reduce__", AA_METHOD(event_reduce), METH_NOARGS, PyDoc_STR("__reduce__($self, /)\n--\n\n") },
	{ "__copy__", event_copy, METH_NOARGS, PyDoc_STR("__copy__($self, /)\n--\n\n") },
	{ "__deepcopy__", event_copy, METH_O, PyDoc_STR("__deepcopy__($self, memo, /)\n--\n\n") },
	{ 0 },
};

static PyType_Slot event_slots[] = {
	{ Py_tp_doc, (void *)PyDoc_STR("FileEvent(*, op, **fields)\n--\n\nOne finished call. Immutable.") },
	{ Py_tp_new, event_new },
	{ Py_tp_dealloc, event_dealloc },
	{ Py_tp_getset, event_getset },
	{ Py_tp_methods, event_methods },
	{ Py_tp_richcompare, event_richcompare },
	{ Py_tp_hash, event_hash },
	{ Py_tp_repr, event_repr },
	{ 0, NULL },
};

PyType_Spec aa_event_spec = {
	.name = "aa_fileio.FileEvent", /* the public place, which pickles refer to */
	.basicsize = sizeof(struct py_event),
	.itemsize = 1,
	.flags = Py_TPFLAGS_DEFAULT,
	.slots = event_slots,
};

/* SPDX-License-Identifier: MIT */
/*
 * EventBatch: a reference to the core's columns, and the capsules by which others take them.
 *
 * What a capsule holds is the core's plain memory. It knows nothing of Python, so that its receiver may release it
 * whenever and wherever it likes, also when the batch, its manager and the interpreter are gone.
 */
#include "arrow_export.h"
#include "module.h"

#include <stdlib.h>

#define NAME_OF_SCHEMA "arrow_schema"
#define NAME_OF_ARRAY "arrow_array"
#define NAME_OF_STREAM "arrow_array_stream"

struct py_batch {
	PyObject_HEAD struct aa_columns *columns; /* finished */
};

/* ---- capsules ---- */

/* A receiver that takes the structure clears `release` in ours. */
#define CAPSULE_DESTRUCTOR(function, type, name)                                                                       \
	static void function(PyObject *capsule)                                                                        \
	{                                                                                                              \
		struct type *content = PyCapsule_GetPointer(capsule, name);                                            \
                                                                                                                       \
		if (content->release)                                                                                  \
			content->release(content);                                                                     \
		free(content);                                                                                         \
	}
CAPSULE_DESTRUCTOR(destroy_schema, ArrowSchema, NAME_OF_SCHEMA)
CAPSULE_DESTRUCTOR(destroy_array, ArrowArray, NAME_OF_ARRAY)
CAPSULE_DESTRUCTOR(destroy_stream, ArrowArrayStream, NAME_OF_STREAM)

PyObject *aa_capsule_of_schema(void)
{
	struct ArrowSchema *schema = malloc(sizeof(*schema));
	PyObject *capsule;

	if (!schema || aa_arrow_export_schema(schema)) {
		free(schema);
		return PyErr_NoMemory();
	}
	capsule = PyCapsule_New(schema, NAME_OF_SCHEMA, destroy_schema);
	if (!capsule) {
		schema->release(schema);
		free(schema);
	}
	return capsule;
}

static PyObject *capsule_of_array(struct aa_columns *columns)
{
	struct ArrowArray *array = malloc(sizeof(*array));
	struct aa_arrow_room *room = array ? aa_arrow_room_create() : NULL;
	PyObject *capsule;

	if (!room) {
		free(array);
		return PyErr_NoMemory();
	}
	aa_arrow_export_array(columns, room, array);
	capsule = PyCapsule_New(array, NAME_OF_ARRAY, destroy_array);
	if (!capsule) {
		array->release(array);
		free(array);
	}
	return capsule;
}

PyObject *aa_capsule_of_stream(struct ArrowArrayStream *stream)
{
	struct ArrowArrayStream *content = malloc(sizeof(*content));
	PyObject *capsule;

	if (!content) {
		stream->release(stream);
		return PyErr_NoMemory();
	}
	*content = *stream;
	capsule = PyCapsule_New(content, NAME_OF_STREAM, destroy_stream);
	if (!capsule) {
		content->release(content);
		free(content);
	}
	return capsule;
}

int aa_check_requested_schema(PyObject *schema)
{
	if (schema == Py_None || PyCapsule_IsValid(schema, NAME_OF_SCHEMA))
		return 0;
	PyErr_Format(PyExc_TypeError, "requested_schema must be None or a capsule named " NAME_OF_SCHEMA ", not %R",
		     schema);
	return -1;
}

/* ---- life ---- */

PyObject *aa_batch_create(struct module_state *state, struct aa_columns *columns)
{
	struct py_batch *self = PyObject_New(struct py_batch, state->batch_type);

	if (!self) {
		aa_columns_unref(columns);
		return NULL;
	}
	self->columns = columns;
	return (PyObject *)self;
}

static int append_all(struct module_state *state, struct aa_columns *columns, PyObject *events)
{
	PyObject *iterator = PyObject_GetIter(events), *object;
	int status = 0;

	if (!iterator)
		return -1;
	while (status == 0 && (object = PyIter_Next(iterator))) {
		int64_t offset_ns;
		const struct aa_file_event *event = aa_event_of(state, object, &offset_ns);

		status = -1;
		if (event) {
			switch (aa_columns_append(columns, event, offset_ns)) {
			case AA_APPEND_DONE:
				status = 0;
				break;
			case AA_APPEND_FULL:
				PyErr_SetString(PyExc_ValueError, "too many events, or names, for one EventBatch");
				break;
			case AA_APPEND_NO_MEMORY:
				PyErr_NoMemory();
				break;
			}
		}
		Py_DECREF(object);
	}
	Py_DECREF(iterator);
	return PyErr_Occurred() ? -1 : status;
}

static PyObject *batch_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	static const char *const keywords[] = { "events", NULL };
	struct module_state *state = PyType_GetModuleState(type);
	struct aa_columns *columns;
	PyObject *events = NULL;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:EventBatch", (char **)keywords, &events))
		return NULL;
	columns = aa_columns_create(SIZE_MAX);
	if (!columns)
		return PyErr_NoMemory();
	if (events && append_all(state, columns, events) < 0) {
		aa_columns_unref(columns);
		return NULL;
	}
	aa_columns_finish(columns);
	return aa_batch_create(state, columns);
}

static void batch_dealloc(struct py_batch *self)
{
	PyTypeObject *type = AA_TYPE(self);

	aa_columns_unref(self->columns);
	PyObject_Free(self);
	Py_DECREF(type);
}

/* ---- rows ---- */

static Py_ssize_t batch_length(struct py_batch *self)
{
	return (Py_ssize_t)aa_columns_length(self->columns);
}

static PyObject *batch_item(struct py_batch *self, Py_ssize_t index)
{
	struct module_state *state = PyType_GetModuleState(AA_TYPE(self));
	struct aa_row_strings strings;
	struct aa_file_event event;
	int64_t offset_ns;

	if (index < 0 || index >= batch_length(self)) {
		PyErr_SetString(PyExc_IndexError, "EventBatch index out of range");
		return NULL;
	}
	aa_columns_get(self->columns, (size_t)index, &event, &strings, &offset_ns);
	return aa_event_create_of_row(state, &event, &strings, offset_ns);
}

/* ---- columns ---- */

static PyObject *batch_get_column_names(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
	PyObject *names = PyList_New(0), *name, *tuple;
	size_t column;

	for (column = 0; names && aa_column_info(column); column++) {
		name = PyUnicode_InternFromString(aa_column_info(column)->name);
		if (!name || PyList_Append(names, name) < 0)
			Py_CLEAR(names);
		Py_XDECREF(name);
	}
	tuple = names ? PyList_AsTuple(names) : NULL;
	Py_XDECREF(names);
	return tuple;
}

static PyObject *batch_arrow_c_schema(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
	return aa_capsule_of_schema();
}

static PyObject *batch_arrow_c_array(struct py_batch *self, PyObject *args, PyObject *kwargs)
{
	static const char *const keywords[] = { "requested_schema", NULL };
	PyObject *requested = Py_None, *schema, *array, *pair;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:__arrow_c_array__", (char **)keywords, &requested) ||
	    aa_check_requested_schema(requested) < 0)
		return NULL;
	schema = aa_capsule_of_schema();
	array = schema ? capsule_of_array(self->columns) : NULL;
	pair = array ? PyTuple_Pack(2, schema, array) : NULL;
	Py_XDECREF(array);
	Py_XDECREF(schema);
	return pair;
}

/* ---- in the terms of others: aa_fileio.batches imports them when it is asked to ---- */

static PyObject *call_helper(PyObject *self, const char *name)
{
	PyObject *module = PyImport_ImportModule("aa_fileio.batches");
	PyObject *result = module ? PyObject_CallMethod(module, name, "O", self) : NULL;

	Py_XDECREF(module);
	return result;
}

static PyObject *batch_to_arrow(PyObject *self, PyObject *Py_UNUSED(ignored))
{
	return call_helper(self, "to_arrow");
}

static PyObject *batch_to_pandas(PyObject *self, PyObject *Py_UNUSED(ignored))
{
	return call_helper(self, "to_pandas");
}

static PyObject *batch_to_polars(PyObject *self, PyObject *Py_UNUSED(ignored))
{
	return call_helper(self, "to_polars");
}

static PyObject *batch_repr(struct py_batch *self)
{
	return PyUnicode_FromFormat("<EventBatch of %zd events>", batch_length(self));
}

static PyObject *batch_reduce(PyObject *self, PyObject *Py_UNUSED(ignored))
{
	PyObject *events = PySequence_List(self);

	return events ? Py_BuildValue("O(N)", Py_TYPE(self), events) : NULL;
}

static PyObject *batch_copy(PyObject *self, PyObject *Py_UNUSED(ignored))
{
	return Py_NewRef(self);
}

static PyMethodDef batch_methods[] = {
	{ "__arrow_c_schema__", batch_arrow_c_schema, METH_NOARGS,
	  PyDoc_STR("__arrow_c_schema__($self, /)\n--\n\nThe types of the columns, for Arrow.") },
	{ "__arrow_c_array__", AA_METHOD(batch_arrow_c_array), METH_VARARGS | METH_KEYWORDS,
	  PyDoc_STR("__arrow_c_array__($self, /, requested_schema=None)\n--\n\nThe columns, for Arrow; not copied.") },
	{ "to_arrow", batch_to_arrow, METH_NOARGS,
	  PyDoc_STR("to_arrow($self, /)\n--\n\nA pyarrow.RecordBatch over the same memory.") },
	{ "to_pandas", batch_to_pandas, METH_NOARGS, PyDoc_STR("to_pandas($self, /)\n--\n\nA pandas.DataFrame.") },
	{ "to_polars", batch_to_polars, METH_NOARGS, PyDoc_STR("to_polars($self, /)\n--\n\nA polars.DataFrame.") },
	{ "__reduce__", batch_reduce, METH_NOARGS, PyDoc_STR("__reduce__($self, /)\n--\n\n") },
	{ "__copy__", batch_copy, METH_NOARGS, PyDoc_STR("__copy__($self, /)\n--\n\n") },
	{ "__deepcopy__", batch_copy, METH_O, PyDoc_STR("__deepcopy__($self, memo, /)\n--\n\n") },
	{ 0 },
};

static PyGetSetDef batch_getset[] = {
	{ "column_names", batch_get_column_names, NULL,
	  PyDoc_STR("FileEvent's fields in their order, then the exact bytes of its strings."), NULL },
	{ 0 },
};

static PyType_Slot batch_slots[] = {
	{ Py_tp_doc, (void *)PyDoc_STR("EventBatch(events=())\n--\n\nEvents as columns. Immutable.") },
	{ Py_tp_new, batch_new },
	{ Py_tp_dealloc, batch_dealloc },
	{ Py_tp_methods, batch_methods },
	{ Py_tp_getset, batch_getset },
	{ Py_tp_repr, batch_repr },
	{ Py_tp_iter, PySeqIter_New },
	{ Py_sq_length, batch_length },
	{ Py_sq_item, batch_item },
	{ 0, NULL },
};

PyType_Spec aa_batch_spec = {
	.name = "aa_fileio.EventBatch", /* the public place, which pickles refer to */
	.basicsize = sizeof(struct py_batch),
	.flags = Py_TPFLAGS_DEFAULT,
	.slots = batch_slots,
};

/* SPDX-License-Identifier: MIT */
/* The only place where an error of the core becomes an exception. */
#include "module.h"

#include <string.h>

/* Borrowed. */
static PyObject *exception_class(const struct module_state *state, enum aa_error_code code)
{
	switch (code) {
	case AA_ERROR_MEMORY:
		return PyExc_MemoryError;
	case AA_ERROR_VALUE:
		return PyExc_ValueError;
	case AA_ERROR_STATE:
		return PyExc_RuntimeError;
	case AA_ERROR_CLOSED:
		return PyExc_ValueError;
	case AA_ERROR_NO_PROCESS:
		return PyExc_ProcessLookupError;
	case AA_ERROR_SYSTEM:
		return PyExc_OSError; /* which picks its own subclass by errno */
	case AA_ERROR_ATTACH:
		return state->probe_attach_error;
	case AA_ERROR_PERMISSION:
		return state->permission_denied;
	case AA_ERROR_UNAVAILABLE:
		return state->backend_unavailable;
	}
	return PyExc_SystemError;
}

static bool takes_errno(enum aa_error_code code)
{
	return code == AA_ERROR_NO_PROCESS || code == AA_ERROR_SYSTEM;
}

static bool takes_probe(enum aa_error_code code)
{
	return code == AA_ERROR_ATTACH || code == AA_ERROR_PERMISSION || code == AA_ERROR_UNAVAILABLE;
}

/* The core's text may quote file names and libbpf: never let a byte of it hide the error itself. */
static PyObject *text_or_none(const char *text)
{
	if (!text)
		Py_RETURN_NONE;
	return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "backslashreplace");
}

static int set_text(PyObject *dict, const char *key, const char *text)
{
	PyObject *value = text_or_none(text);
	int status = value ? PyDict_SetItemString(dict, key, value) : -1;

	Py_XDECREF(value);
	return status;
}

static PyObject *number_or_none(int number)
{
	if (!number)
		Py_RETURN_NONE;
	return PyLong_FromLong(number);
}

static PyObject *make_exception(PyObject *class, const struct aa_error *error)
{
	PyObject *message = NULL, *number = NULL, *args = NULL, *kwargs = NULL, *exception = NULL;

	message = text_or_none(error->message);
	if (!message)
		goto out;
	if (takes_errno(error->code) || takes_probe(error->code)) {
		number = number_or_none(error->errno_value);
		args = number ? PyTuple_Pack(2, number, message) : NULL;
	} else {
		args = PyTuple_Pack(1, message);
	}
	if (!args)
		goto out;
	if (takes_probe(error->code)) {
		kwargs = PyDict_New();
		if (!kwargs || set_text(kwargs, "program", error->program) < 0 ||
		    set_text(kwargs, "function", error->function) < 0 ||
		    set_text(kwargs, "libbpf_log", error->libbpf_log) < 0 ||
		    set_text(kwargs, "remedy", error->remedy) < 0)
			goto out;
	}
	exception = PyObject_Call(class, args, kwargs);
out:
	Py_XDECREF(kwargs);
	Py_XDECREF(args);
	Py_XDECREF(number);
	Py_XDECREF(message);
	return exception;
}

PyObject *aa_raise(struct module_state *state, struct aa_error *error)
{
	PyObject *exception;

	if (error->code == AA_ERROR_MEMORY) {
		PyErr_NoMemory();
	} else {
		exception = make_exception(exception_class(state, error->code), error);
		if (exception) {
			PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
			Py_DECREF(exception);
		}
	}
	aa_error_destroy(error);
	return NULL;
}

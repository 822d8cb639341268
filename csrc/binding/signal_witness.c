/* SPDX-License-Identifier: MIT */
/* SignalWitness: which signals came to the whole process group, for SpawnedProcess.relay_signal(). */
#include "module.h"
#include "signal_witness.h"

struct py_witness {
	PyObject_HEAD struct aa_signal_witness *witness;
};

static PyObject *witness_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	static const char *const keywords[] = { NULL };
	struct aa_signal_witness *witness = NULL;
	struct aa_error *error;
	struct py_witness *self;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, ":SignalWitness", (char **)keywords))
		return NULL;
	self = PyObject_New(struct py_witness, type);
	if (!self)
		return NULL;
	self->witness = NULL;
	Py_BEGIN_ALLOW_THREADS
	error = aa_signal_witness_create(&witness);
	Py_END_ALLOW_THREADS
	if (error) {
		aa_raise(PyType_GetModuleState(type), error);
		Py_DECREF(self);
		return NULL;
	}
	self->witness = witness;
	return (PyObject *)self;
}

static PyObject *witness_close(struct py_witness *self, PyObject *Py_UNUSED(ignored))
{
	struct aa_signal_witness *witness = self->witness;

	self->witness = NULL;
	Py_BEGIN_ALLOW_THREADS
	aa_signal_witness_destroy(witness);
	Py_END_ALLOW_THREADS
	Py_RETURN_NONE;
}

static PyObject *witness_counts(struct py_witness *self, PyObject *Py_UNUSED(ignored))
{
	struct aa_signal_witness *witness = self->witness;
	uint32_t counts[AA_SIGNALS] = { 0 };
	struct aa_error *error;
	PyObject *list;

	if (!witness) {
		PyErr_SetString(PyExc_ValueError, "this SignalWitness is closed");
		return NULL;
	}
	Py_BEGIN_ALLOW_THREADS
	error = aa_signal_witness_counts(witness, counts);
	Py_END_ALLOW_THREADS
	if (error)
		return aa_raise(PyType_GetModuleState(AA_TYPE(self)), error);
	list = PyList_New(AA_SIGNALS);
	for (Py_ssize_t i = 0; list && i < AA_SIGNALS; i++) {
		PyObject *count = PyLong_FromUnsignedLong(counts[i]);

		/* Takes the reference over, also when it fails. */
		if (!count || PyList_SetItem(list, i, count) < 0)
			Py_CLEAR(list);
	}
	return list;
}

static void witness_dealloc(struct py_witness *self)
{
	PyTypeObject *type = AA_TYPE(self);

	aa_signal_witness_destroy(self->witness);
	PyObject_Free(self);
	Py_DECREF(type);
}

static PyMethodDef witness_methods[] = {
	{ "counts", AA_METHOD(witness_counts), METH_NOARGS,
	  PyDoc_STR("counts($self, /)\n--\n\nHow often each signal has come, by its number.") },
	{ "close", AA_METHOD(witness_close), METH_NOARGS, PyDoc_STR("close($self, /)\n--\n\nEnds the process.") },
	{ 0 },
};

static PyType_Slot witness_slots[] = {
	{ Py_tp_doc, (void *)PyDoc_STR("SignalWitness()\n--\n\nA process of ours that counts the group's signals.") },
	{ Py_tp_new, witness_new },
	{ Py_tp_dealloc, witness_dealloc },
	{ Py_tp_methods, witness_methods },
	{ 0, NULL },
};

PyType_Spec aa_witness_spec = {
	.name = "aa_fileio._native.SignalWitness",
	.basicsize = sizeof(struct py_witness),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
	.slots = witness_slots,
};

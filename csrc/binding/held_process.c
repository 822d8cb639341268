/* SPDX-License-Identifier: MIT */
/* HeldProcess: a command held before its exec, for KprobeManager.spawn(). Python does the searching and the pipes. */
#include "module.h"

struct py_held {
	PyObject_HEAD struct aa_held_process *process;
	pid_t pid;
};

struct string_array {
	PyObject *owner; /* tuple of bytes */
	char **items;	 /* NULL-terminated, point into owner */
};

static void string_array_release(struct string_array *array)
{
	PyMem_Free(array->items);
	Py_XDECREF(array->owner);
}

static int string_array_fill(struct string_array *array, PyObject *sequence, const char *name)
{
	Py_ssize_t count, index;

	array->owner = PySequence_Tuple(sequence);
	if (!array->owner)
		return -1;
	count = PyTuple_Size(array->owner);
	array->items = PyMem_Calloc((size_t)count + 1, sizeof(*array->items));
	if (!array->items) {
		PyErr_NoMemory();
		return -1;
	}
	for (index = 0; index < count; index++) {
		PyObject *item = PyTuple_GetItem(array->owner, index);

		if (!PyBytes_Check(item)) {
			PyErr_Format(PyExc_TypeError, "%s must be a sequence of bytes", name);
			return -1;
		}
		/* Without a place for the length it refuses an embedded NUL. */
		if (PyBytes_AsStringAndSize(item, &array->items[index], NULL) < 0)
			return -1;
	}
	return 0;
}

static int parse_id(PyObject *value, const char *name, bool *ret_has, uint32_t *ret_id)
{
	unsigned long long id;

	if (value == Py_None)
		return 0;
	id = PyLong_AsUnsignedLongLong(value);
	if (id == (unsigned long long)-1 && PyErr_Occurred())
		return -1;
	if (id >= UINT32_MAX) { /* (uid_t)-1 means "leave it" to setresuid */
		PyErr_Format(PyExc_ValueError, "%s %llu is too large", name, id);
		return -1;
	}
	*ret_has = true;
	*ret_id = (uint32_t)id;
	return 0;
}

struct number_array {
	void *items;
	size_t count;
};

/* Of descriptors and ids. */
static int number_array_fill(struct number_array *array, PyObject *sequence, const char *name)
{
	PyObject *numbers = PySequence_Tuple(sequence);
	uint32_t *items;

	if (!numbers)
		return -1;
	array->count = (size_t)PyTuple_Size(numbers);
	array->items = items = PyMem_Calloc(array->count + 1, sizeof(*items));
	if (!items)
		PyErr_NoMemory();
	for (size_t i = 0; items && i < array->count; i++) {
		unsigned long long number = PyLong_AsUnsignedLongLong(PyTuple_GetItem(numbers, (Py_ssize_t)i));

		if (!PyErr_Occurred() && number >= UINT32_MAX)
			PyErr_Format(PyExc_ValueError, "%s: %llu is too large", name, number);
		if (PyErr_Occurred())
			break;
		items[i] = (uint32_t)number;
	}
	Py_DECREF(numbers);
	return PyErr_Occurred() ? -1 : 0;
}

static int parse_inherited(PyObject *py_pass_fds, PyObject *py_groups, PyObject *py_ignored,
			   struct number_array *ret_pass_fds, struct number_array *ret_groups,
			   struct aa_held_options *options)
{
	if (number_array_fill(ret_pass_fds, py_pass_fds, "pass_fds") < 0)
		return -1;
	options->pass_fds = ret_pass_fds->items;
	options->pass_fd_count = ret_pass_fds->count;
	if (py_groups != Py_None) {
		if (number_array_fill(ret_groups, py_groups, "extra_groups") < 0)
			return -1;
		options->has_groups = true;
		options->groups = ret_groups->items;
		options->group_count = ret_groups->count;
	}
	if (py_ignored != Py_None) {
		options->has_ignored = true;
		options->ignored = PyLong_AsUnsignedLongLong(py_ignored);
	}
	return PyErr_Occurred() ? -1 : 0;
}

static PyObject *held_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	static const char *const keywords[] = {
		"executables", "argv",	    "env",	"cwd",	  "stdio",   "start_new_session", "uid",
		"gid",	       "close_fds", "pass_fds", "groups", "ignored", "keep_capabilities", "keep_death_signal",
		"uses_shell",  NULL
	};
	struct module_state *state = PyType_GetModuleState(type);
	struct string_array executables = { 0 }, argv = { 0 }, env = { 0 };
	struct number_array pass_fds = { 0 }, groups = { 0 };
	PyObject *py_executables, *py_argv, *py_env, *py_cwd, *py_uid, *py_gid, *py_pass_fds, *py_groups, *py_ignored;
	struct aa_held_options options = { 0 };
	struct aa_held_process *process = NULL;
	struct py_held *self = NULL;
	struct aa_error *error;
	int start_new_session, close_fds, keep_capabilities, keep_death_signal, uses_shell;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "$OOOO(iii)pOOpOOOppp:HeldProcess", (char **)keywords,
					 &py_executables, &py_argv, &py_env, &py_cwd, &options.stdio[0],
					 &options.stdio[1], &options.stdio[2], &start_new_session, &py_uid, &py_gid,
					 &close_fds, &py_pass_fds, &py_groups, &py_ignored, &keep_capabilities,
					 &keep_death_signal, &uses_shell))
		return NULL;
	if (string_array_fill(&executables, py_executables, "executables") < 0 ||
	    string_array_fill(&argv, py_argv, "argv") < 0 ||
	    (py_env != Py_None && string_array_fill(&env, py_env, "env") < 0))
		goto out;
	if (py_cwd != Py_None) {
		char *cwd;

		if (PyBytes_AsStringAndSize(py_cwd, &cwd, NULL) < 0)
			goto out;
		options.cwd = cwd;
	}
	if (parse_id(py_uid, "uid", &options.has_uid, &options.uid) < 0 ||
	    parse_id(py_gid, "gid", &options.has_gid, &options.gid) < 0 ||
	    parse_inherited(py_pass_fds, py_groups, py_ignored, &pass_fds, &groups, &options) < 0)
		goto out;
	options.executables = (const char *const *)executables.items;
	options.argv = argv.items;
	options.envp = env.items;
	options.start_new_session = start_new_session;
	options.close_fds = close_fds;
	options.keep_capabilities = keep_capabilities;
	options.keep_death_signal = keep_death_signal;
	options.uses_shell = uses_shell;

	self = PyObject_New(struct py_held, type);
	if (!self)
		goto out;
	self->process = NULL;
	Py_BEGIN_ALLOW_THREADS
	error = aa_held_process_create(&options, &process);
	Py_END_ALLOW_THREADS
	if (error) {
		aa_raise(state, error);
		Py_DECREF(self);
		self = NULL;
		goto out;
	}
	self->process = process;
	self->pid = aa_held_process_pid(process);
out:
	PyMem_Free(groups.items);
	PyMem_Free(pass_fds.items);
	string_array_release(&env);
	string_array_release(&argv);
	string_array_release(&executables);
	return (PyObject *)self;
}

static void destroy_process(struct py_held *self)
{
	struct aa_held_process *process = self->process;

	self->process = NULL;
	if (!process)
		return;
	Py_BEGIN_ALLOW_THREADS
	aa_held_process_destroy(process);
	Py_END_ALLOW_THREADS
}

static void held_dealloc(struct py_held *self)
{
	PyTypeObject *type = AA_TYPE(self);

	destroy_process(self);
	PyObject_Free(self);
	Py_DECREF(type);
}

static PyObject *held_release(struct py_held *self, PyObject *Py_UNUSED(ignored))
{
	/* Taken out first: a second thread must not find it while this one waits for the exec. */
	struct aa_held_process *process = self->process;
	struct aa_error *error;

	if (!process) {
		PyErr_SetString(PyExc_RuntimeError, "the process was released already");
		return NULL;
	}
	self->process = NULL;
	Py_BEGIN_ALLOW_THREADS
	error = aa_held_process_release(process);
	aa_held_process_destroy(process);
	Py_END_ALLOW_THREADS
	if (error)
		return aa_raise(PyType_GetModuleState(AA_TYPE(self)), error);
	Py_RETURN_NONE;
}

static PyObject *held_close(struct py_held *self, PyObject *Py_UNUSED(ignored))
{
	destroy_process(self);
	Py_RETURN_NONE;
}

static PyObject *held_get_pid(struct py_held *self, void *Py_UNUSED(closure))
{
	return PyLong_FromLong(self->pid);
}

static PyMethodDef held_methods[] = {
	{ "release", AA_METHOD(held_release), METH_NOARGS,
	  PyDoc_STR("release($self, /)\n--\n\nLet it exec; OSError with execve's errno when it cannot.") },
	{ "close", AA_METHOD(held_close), METH_NOARGS,
	  PyDoc_STR("close($self, /)\n--\n\nKill and reap it unless it was released.") },
	{ 0 },
};

static PyGetSetDef held_getset[] = {
	{ "pid", (getter)held_get_pid, NULL, PyDoc_STR("Process id."), NULL },
	{ 0 },
};

static PyType_Slot held_slots[] = {
	{ Py_tp_doc,
	  (void *)PyDoc_STR("HeldProcess(*, executables, argv, env, cwd, stdio, start_new_session, uid, gid, "
			    "close_fds, pass_fds, groups, ignored, keep_capabilities, keep_death_signal, uses_shell)\n"
			    "--\n\nA command held before its exec.") },
	{ Py_tp_new, held_new },
	{ Py_tp_dealloc, held_dealloc },
	{ Py_tp_methods, held_methods },
	{ Py_tp_getset, held_getset },
	{ 0, NULL },
};

PyType_Spec aa_held_spec = {
	.name = "aa_fileio._native.HeldProcess",
	.basicsize = sizeof(struct py_held),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
	.slots = held_slots,
};

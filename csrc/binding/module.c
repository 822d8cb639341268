/* SPDX-License-Identifier: MIT */
/* The module aa_fileio._native: its state, its tables, the fork hook. */
#include "module.h"

#include "options.h"

#include <string.h>

static struct PyModuleDef module_def;

PyObject *aa_module_of_type(PyTypeObject *type)
{
	/* PyType_GetModuleByDef() does this, but is not in the limited API before 3.13. */
	for (; type; type = PyType_GetSlot(type, Py_tp_base)) {
		PyObject *module = PyType_GetModule(type);

		if (!module)
			PyErr_Clear();
		else if (PyModule_GetDef(module) == &module_def)
			return module;
	}
	return NULL;
}

static PyObject *native_calls(PyObject *module, PyObject *Py_UNUSED(ignored))
{
	struct module_state *state = PyModule_GetState(module);
	PyObject *rows;
	size_t index, count = 0;

	while (aa_call_info(count))
		count++;
	rows = PyTuple_New((Py_ssize_t)count);
	for (index = 0; rows && index < count; index++) {
		const struct aa_call_info *call = aa_call_info(index);
		PyObject *row =
			Py_BuildValue("OiOssO", state->calls[index], call->number, state->operations[call->operation],
				      call->program, call->function, call->origin ? Py_True : Py_False);

		if (!row || PyTuple_SetItem(rows, (Py_ssize_t)index, row) < 0)
			Py_CLEAR(rows);
	}
	return rows;
}

static const char *decision_word(const struct aa_path_rules *rules, const struct aa_file_event *event)
{
	switch (aa_path_rules_decide(rules, event)) {
	case AA_RULE_KEEP_SENSITIVE:
		return "sensitive";
	case AA_RULE_LEAVE_OUT:
		return "leave out";
	default:
		return aa_path_rules_know_sensitive(rules, event) ? "keep" : "unknown";
	}
}

/* "keep", "sensitive", "unknown" (whether it is sensitive) or "leave out" */
static PyObject *native_decide(PyObject *module, PyObject *args, PyObject *kwargs)
{
	static const char *const keywords[] = { "event", "watch", "sensitive", "ignore", NULL };
	PyObject *event, *given[AA_RULE_LISTS] = { NULL };
	struct module_state *state = PyModule_GetState(module);
	struct aa_rule_texts texts[AA_RULE_LISTS] = { 0 };
	struct aa_options_rules rules = { 0 };
	struct aa_path_rules *compiled = NULL;
	struct aa_error *error;
	PyObject *word = NULL;
	int64_t ignored;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!|$OOO:decide", (char **)keywords, state->event_type, &event,
					 &given[AA_RULES_WATCH], &given[AA_RULES_SENSITIVE], &given[AA_RULES_IGNORE]))
		return NULL;
	if (aa_options_parse_rules(given, texts, &rules) == 0) {
		error = aa_path_rules_create(texts, &compiled);
		if (error) {
			aa_raise(state, error);
		} else {
			aa_path_rules_look(compiled);
			word = PyUnicode_FromString(decision_word(compiled, aa_event_of(state, event, &ignored)));
		}
	}
	aa_path_rules_destroy(compiled);
	aa_options_rules_release(&rules);
	return word;
}

static PyObject *requests_of(PyObject *module, const struct aa_request_info *(*info_of)(size_t index))
{
	struct module_state *state = PyModule_GetState(module);
	const struct aa_request_info *info;
	PyObject *rows = PyList_New(0), *row, *tuple;
	size_t index;

	for (index = 0; rows && (info = info_of(index)); index++) {
		row = Py_BuildValue("siO", info->name, info->number, state->operations[info->operation]);
		if (!row || PyList_Append(rows, row) < 0)
			Py_CLEAR(rows);
		Py_XDECREF(row);
	}
	tuple = rows ? PyList_AsTuple(rows) : NULL;
	Py_XDECREF(rows);
	return tuple;
}

static PyObject *native_aio_operations(PyObject *module, PyObject *Py_UNUSED(ignored))
{
	return requests_of(module, aa_aio_info);
}

static PyObject *native_ring_operations(PyObject *module, PyObject *Py_UNUSED(ignored))
{
	return requests_of(module, aa_ring_info);
}

static PyObject *probe_backend(struct module_state *state, const char *name)
{
	struct aa_error *error;
	bool is_usable = false;
	char reason[512] = "";

	Py_BEGIN_ALLOW_THREADS
	error = aa_backend_probe(name, reason, sizeof(reason), &is_usable);
	Py_END_ALLOW_THREADS
	if (error)
		return aa_raise(state, error);
	return PyObject_CallFunction(state->backend_report_class, "sOz", name, is_usable ? Py_True : Py_False,
				     reason[0] ? reason : NULL);
}

static PyObject *native_backends(PyObject *module, PyObject *Py_UNUSED(ignored))
{
	PyObject *reports = PyList_New(0), *report, *tuple;
	size_t index;

	for (index = 0; reports && aa_backend_name(index); index++) {
		report = probe_backend(PyModule_GetState(module), aa_backend_name(index));
		if (!report || PyList_Append(reports, report) < 0)
			Py_CLEAR(reports);
		Py_XDECREF(report);
	}
	tuple = reports ? PyList_AsTuple(reports) : NULL;
	Py_XDECREF(reports);
	return tuple;
}

static PyObject *native_after_fork_in_child(PyObject *module, PyObject *Py_UNUSED(ignored))
{
	struct module_state *state = PyModule_GetState(module);
	PyObject *managers = PySequence_List(state->managers);
	Py_ssize_t index;

	aa_keep_loaded_after_fork_in_child();
	if (!managers)
		return NULL;
	for (index = 0; index < PyList_Size(managers); index++)
		aa_manager_after_fork_in_child(PyList_GetItem(managers, index));
	Py_DECREF(managers);
	Py_RETURN_NONE;
}

static PyObject *native_keep_loaded(PyObject *Py_UNUSED(module), PyObject *wanted)
{
	int is_wanted = PyObject_IsTrue(wanted);

	if (is_wanted < 0)
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	if (is_wanted)
		aa_keep_loaded_begin();
	else
		aa_keep_loaded_end();
	Py_END_ALLOW_THREADS
	Py_RETURN_NONE;
}

static PyMethodDef module_methods[] = {
	{ "calls", native_calls, METH_NOARGS,
	  PyDoc_STR(
		  "calls($module, /)\n--\n\nThe table: (name, number, op, program, function, origin) for each call.") },
	{ "decide", AA_METHOD(native_decide), METH_VARARGS | METH_KEYWORDS,
	  PyDoc_STR("decide($module, /, event, *, watch=None, sensitive=None, ignore=None)\n--\n\n"
		    "What these path rules make of an event.") },
	{ "aio_operations", native_aio_operations, METH_NOARGS,
	  PyDoc_STR("aio_operations($module, /)\n--\n\nThe table: (name, number, op) for each command of Linux AIO.") },
	{ "ring_operations", native_ring_operations, METH_NOARGS,
	  PyDoc_STR(
		  "ring_operations($module, /)\n--\n\nThe table: (name, number, op) for each operation of io_uring.") },
	{ "backends", native_backends, METH_NOARGS,
	  PyDoc_STR("backends($module, /)\n--\n\nWhat each backend would need here; attaches nothing.") },
	{ "_keep_loaded", native_keep_loaded, METH_O,
	  PyDoc_STR("_keep_loaded($module, wanted, /)\n--\n\nBegins with True; each has its end with False.") },
	{ "_after_fork_in_child", native_after_fork_in_child, METH_NOARGS,
	  PyDoc_STR("_after_fork_in_child($module, /)\n--\n\nos.register_at_fork calls this.") },
	{ 0 },
};

/* Strong references to the named attributes of a module. */
struct import {
	const char *name;
	PyObject **ret_object;
};

static int import_names(const char *module_name, const struct import *imports)
{
	PyObject *module = PyImport_ImportModule(module_name);

	if (!module)
		return -1;
	for (; imports->name; imports++) {
		*imports->ret_object = PyObject_GetAttrString(module, imports->name);
		if (!*imports->ret_object)
			break;
	}
	Py_DECREF(module);
	return imports->name ? -1 : 0;
}

/* members[number] = class(name of number) */
static int fill_members(PyObject *class, const char *(*name_of)(unsigned), PyObject **members, unsigned limit)
{
	unsigned number;

	for (number = 0; number < limit; number++) {
		const char *name = name_of(number);

		if (!name)
			continue;
		members[number] = PyObject_CallFunction(class, "s", name);
		if (!members[number])
			return -1;
	}
	return 0;
}

static int fill_tables(struct module_state *state)
{
	PyObject *operation = NULL, *kind = NULL, *source = NULL, *via = NULL;
	const struct import events[] = {
		{ "Op", &operation },
		{ "Kind", &kind },
		{ "PathSource", &source },
		{ "Via", &via },
		{ "PathFlag", &state->flag_class },
		{ NULL, NULL },
	};
	int status = -1;
	size_t index;

	if (import_names("aa_fileio.events", events) < 0 ||
	    fill_members(operation, aa_operation_name, state->operations, AA_OPERATION_LIMIT) < 0 ||
	    fill_members(kind, aa_kind_name, state->kinds, AA_KIND_LIMIT) < 0 ||
	    fill_members(source, aa_path_source_name, state->sources, AA_SOURCE_LIMIT) < 0 ||
	    fill_members(via, aa_via_name, state->vias, AA_VIA_LIMIT) < 0)
		goto out;

	while (aa_call_name((unsigned)state->call_count))
		state->call_count++;
	state->calls = PyMem_Calloc(state->call_count + 1, sizeof(PyObject *));
	if (!state->calls) {
		PyErr_NoMemory();
		goto out;
	}
	for (index = 0; index < state->call_count; index++) {
		state->calls[index] = PyUnicode_InternFromString(aa_call_name((unsigned)index));
		if (!state->calls[index])
			goto out;
	}
	state->unknown_call = PyUnicode_InternFromString("unknown");
	if (state->unknown_call)
		status = 0;
out:
	Py_XDECREF(operation);
	Py_XDECREF(kind);
	Py_XDECREF(source);
	Py_XDECREF(via);
	return status;
}

static int add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **ret_type)
{
	*ret_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
	return *ret_type ? PyModule_AddType(module, *ret_type) : -1;
}

static int register_at_fork(PyObject *module)
{
	PyObject *os = NULL, *hook = NULL, *method = NULL, *args = NULL, *kwargs = NULL, *result = NULL;

	os = PyImport_ImportModule("os");
	method = os ? PyObject_GetAttrString(os, "register_at_fork") : NULL;
	hook = PyObject_GetAttrString(module, "_after_fork_in_child");
	if (method && hook) {
		args = PyTuple_New(0);
		kwargs = Py_BuildValue("{sO}", "after_in_child", hook);
		if (args && kwargs)
			result = PyObject_Call(method, args, kwargs);
	}
	Py_XDECREF(kwargs);
	Py_XDECREF(args);
	Py_XDECREF(hook);
	Py_XDECREF(method);
	Py_XDECREF(os);
	Py_XDECREF(result);
	return result ? 0 : -1;
}

static int module_exec(PyObject *module)
{
	struct module_state *state = PyModule_GetState(module);
	PyObject *weak_set = NULL, *match_args;
	const struct import ledger[] = {
		{ "Stats", &state->stats_class },
		{ "Target", &state->target_class },
		{ "PassedOver", &state->passed_over_class },
		{ "RuleNote", &state->rule_note_class },
		{ "BackendReport", &state->backend_report_class },
		{ NULL, NULL },
	};
	const struct import errors[] = {
		{ "ProbeAttachError", &state->probe_attach_error },
		{ "PermissionDenied", &state->permission_denied },
		{ "BackendUnavailable", &state->backend_unavailable },
		{ NULL, NULL },
	};
	const struct import weakref[] = { { "WeakSet", &weak_set }, { NULL, NULL } };
	int status;

	if (import_names("aa_fileio.ledger", ledger) < 0 || import_names("aa_fileio.errors", errors) < 0 ||
	    import_names("weakref", weakref) < 0)
		return -1;
	state->managers = PyObject_CallFunction(weak_set, NULL);
	Py_DECREF(weak_set);
	if (!state->managers || fill_tables(state) < 0 ||
	    add_type(module, &aa_manager_spec, &state->manager_type) < 0 ||
	    add_type(module, &aa_event_spec, &state->event_type) < 0 ||
	    add_type(module, &aa_held_spec, &state->held_type) < 0 ||
	    add_type(module, &aa_witness_spec, &state->witness_type) < 0 ||
	    add_type(module, &aa_batch_spec, &state->batch_type) < 0)
		return -1;

	match_args = Py_BuildValue("(ss)", "op", "path");
	if (!match_args)
		return -1;
	status = PyObject_SetAttrString((PyObject *)state->event_type, "__match_args__", match_args);
	Py_DECREF(match_args);
	if (status < 0)
		return -1;
	return register_at_fork(module);
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
	struct module_state *state = PyModule_GetState(module);

	Py_VISIT(state->manager_type);
	Py_VISIT(state->event_type);
	Py_VISIT(state->held_type);
	Py_VISIT(state->witness_type);
	Py_VISIT(state->batch_type);
	Py_VISIT(state->managers);
	Py_VISIT(state->flag_class);
	Py_VISIT(state->stats_class);
	Py_VISIT(state->target_class);
	Py_VISIT(state->passed_over_class);
	Py_VISIT(state->rule_note_class);
	Py_VISIT(state->backend_report_class);
	Py_VISIT(state->probe_attach_error);
	Py_VISIT(state->permission_denied);
	Py_VISIT(state->backend_unavailable);
	Py_VISIT(state->timedelta);
	return 0;
}

static void clear_members(PyObject **members, size_t count)
{
	size_t index;

	for (index = 0; index < count; index++)
		Py_CLEAR(members[index]);
}

static int module_clear(PyObject *module)
{
	struct module_state *state = PyModule_GetState(module);
	size_t index;

	Py_CLEAR(state->manager_type);
	Py_CLEAR(state->event_type);
	Py_CLEAR(state->held_type);
	Py_CLEAR(state->witness_type);
	Py_CLEAR(state->batch_type);
	Py_CLEAR(state->managers);
	clear_members(state->operations, AA_OPERATION_LIMIT);
	clear_members(state->kinds, AA_KIND_LIMIT);
	clear_members(state->sources, AA_SOURCE_LIMIT);
	clear_members(state->vias, AA_VIA_LIMIT);
	clear_members(state->flags, AA_FLAG_LIMIT);
	if (state->calls)
		clear_members(state->calls, state->call_count);
	Py_CLEAR(state->unknown_call);
	for (index = 0; state->names && index < AA_NAME_CACHE_ENTRIES; index++)
		Py_CLEAR(state->names[index].text);
	Py_CLEAR(state->flag_class);
	Py_CLEAR(state->stats_class);
	Py_CLEAR(state->target_class);
	Py_CLEAR(state->passed_over_class);
	Py_CLEAR(state->rule_note_class);
	Py_CLEAR(state->backend_report_class);
	Py_CLEAR(state->probe_attach_error);
	Py_CLEAR(state->permission_denied);
	Py_CLEAR(state->backend_unavailable);
	Py_CLEAR(state->epoch);
	Py_CLEAR(state->timedelta);
	return 0;
}

static void module_free(void *module)
{
	struct module_state *state = PyModule_GetState(module);

	if (!state)
		return;
	module_clear(module);
	PyMem_Free(state->names);
	state->names = NULL;
	PyMem_Free(state->calls);
	state->calls = NULL;
}

/*
 * One .abi3.so serves 3.11 and everything newer, but a slot that an interpreter does not know is an error to it. So the
 * array is chosen by the version that runs. The numbers are those of CPython's moduleobject.h, which older headers
 * lack. The GIL is kept: reading is guarded by the core, the caches of FileEvent and of the module state are not.
 */
#define SLOT_MULTIPLE_INTERPRETERS 3 /* Py_mod_multiple_interpreters, 3.12 */
#define SLOT_GIL 4		     /* Py_mod_gil, 3.13 */
#define PER_INTERPRETER_GIL_SUPPORTED ((void *)2)
#define GIL_USED ((void *)0)

static struct PyModuleDef_Slot slots_3_11[] = {
	{ Py_mod_exec, module_exec },
	{ 0, NULL },
};

static struct PyModuleDef_Slot slots_3_12[] = {
	{ Py_mod_exec, module_exec },
	{ SLOT_MULTIPLE_INTERPRETERS, PER_INTERPRETER_GIL_SUPPORTED },
	{ 0, NULL },
};

static struct PyModuleDef_Slot slots_3_13[] = {
	{ Py_mod_exec, module_exec },
	{ SLOT_MULTIPLE_INTERPRETERS, PER_INTERPRETER_GIL_SUPPORTED },
	{ SLOT_GIL, GIL_USED },
	{ 0, NULL },
};

/* CPython keeps a reference count in it; beside that every interpreter writes the same value into m_slots. */
static struct PyModuleDef module_def = {
	PyModuleDef_HEAD_INIT,
	.m_name = "aa_fileio._native",
	.m_doc = PyDoc_STR("The C core behind aa_fileio; use aa_fileio itself."),
	.m_size = sizeof(struct module_state),
	.m_methods = module_methods,
	.m_slots = slots_3_11,
	.m_traverse = module_traverse,
	.m_clear = module_clear,
	.m_free = module_free,
};

PyMODINIT_FUNC PyInit__native(void)
{
	if (Py_Version >= 0x030D0000)
		module_def.m_slots = slots_3_13;
	else if (Py_Version >= 0x030C0000)
		module_def.m_slots = slots_3_12;
	return PyModuleDef_Init(&module_def);
}

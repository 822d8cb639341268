/* SPDX-License-Identifier: MIT */
/*
 * What the files of the binding share. All that lives longer than a call is in struct module_state, one for each
 * interpreter; nothing is static and mutable.
 */
#ifndef AA_FILEIO_BINDING_MODULE_H
#define AA_FILEIO_BINDING_MODULE_H

#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#include "columns.h"
#include "file_event.h"
#include "fileio_error.h"
#include "session.h"

#define AA_OPERATION_LIMIT 64 /* bits of aa_session_options.operations */
#define AA_KIND_LIMIT 32      /* bits of aa_session_options.kinds */
#define AA_SOURCE_LIMIT 32
#define AA_VIA_LIMIT 5
#define AA_FLAG_LIMIT 256 /* values of aa_file_event.path_flags */

/* The str of a name that was asked for lately: programs touch the same files over and over. */
#define AA_NAME_CACHE_ENTRIES 512 /* a power of two */
struct name_cache_entry {
	PyObject *text; /* NULL: free */
	size_t length;
	char bytes[152]; /* longer names are not kept */
};

struct module_state {
	PyTypeObject *manager_type;
	PyTypeObject *event_type;
	PyTypeObject *held_type;
	PyTypeObject *witness_type;
	PyTypeObject *batch_type;
	PyObject *managers; /* WeakSet of every manager, for os.fork */

	/* Strong references by number; NULL where the core knows no such number. */
	PyObject *operations[AA_OPERATION_LIMIT]; /* Op */
	PyObject *kinds[AA_KIND_LIMIT];		  /* Kind */
	PyObject *sources[AA_SOURCE_LIMIT];	  /* PathSource */
	PyObject *vias[AA_VIA_LIMIT];		  /* Via */
	PyObject *flags[AA_FLAG_LIMIT];		  /* PathFlag, made at first use */
	PyObject **calls;			  /* str, by row: calls, then operations of io_uring */
	size_t call_count;
	PyObject *unknown_call; /* 'unknown' */

	struct name_cache_entry *names; /* AA_NAME_CACHE_ENTRIES, made at first use */

	PyObject *flag_class;
	PyObject *stats_class;
	PyObject *target_class;
	PyObject *passed_over_class;
	PyObject *rule_note_class;
	PyObject *backend_report_class;
	PyObject *probe_attach_error;
	PyObject *permission_denied;
	PyObject *backend_unavailable;

	/* datetime, imported at first use. */
	PyObject *epoch;     /* 1970-01-01 00:00 UTC, aware */
	PyObject *timedelta; /* the class */
};

extern PyType_Spec aa_manager_spec;
extern PyType_Spec aa_event_spec;
extern PyType_Spec aa_held_spec;
extern PyType_Spec aa_witness_spec;
extern PyType_Spec aa_batch_spec;

/* NULL, without an exception, when no base of this type is ours. Borrowed. */
PyObject *aa_module_of_type(PyTypeObject *type);

/* Raises what the error stands for and destroys it; returns NULL. */
PyObject *aa_raise(struct module_state *state, struct aa_error *error);

/* A new FileEvent holding a copy. offset_ns: CLOCK_REALTIME - CLOCK_BOOTTIME. */
PyObject *aa_event_create(struct module_state *state, const struct aa_file_event *event, int64_t offset_ns);

/* The same of a row of columns. */
PyObject *aa_event_create_of_row(struct module_state *state, const struct aa_file_event *event,
				 const struct aa_row_strings *strings, int64_t offset_ns);
/* What the FileEvent holds, valid as long as it is; NULL with TypeError when the object is none. */
const struct aa_file_event *aa_event_of(struct module_state *state, PyObject *object, int64_t *ret_offset_ns);

/* A new EventBatch, which takes over the reference to the columns. */
PyObject *aa_batch_create(struct module_state *state, struct aa_columns *columns);
/* Capsules of the Arrow C data interface, which release what nobody has taken. Take over the structure, also when they
 * fail. */
struct ArrowArrayStream;
PyObject *aa_capsule_of_schema(void);
PyObject *aa_capsule_of_stream(struct ArrowArrayStream *stream);
/* None or a capsule with a schema; else TypeError. What is asked for beyond that is ignored, as the protocol allows. */
int aa_check_requested_schema(PyObject *schema);

/* For the module's fork hook: the manager is inert from here on. Takes any object of the manager type. */
void aa_manager_after_fork_in_child(PyObject *manager);

/* The limited API takes PyObject * only. */
#define AA_TYPE(self) Py_TYPE((PyObject *)(self))
#define AA_METHOD(function) ((PyCFunction)(void (*)(void))(function))

#endif

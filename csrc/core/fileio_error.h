/* SPDX-License-Identifier: MIT */
/*
 * Errors are values. A core call that can fail returns struct aa_error *: NULL is success, anything else is owned by
 * the caller and given back with aa_error_destroy(). The core never prints and never logs.
 */
#ifndef AA_FILEIO_ERROR_H
#define AA_FILEIO_ERROR_H

/* What the caller did or met; the binding has the one table that turns each into an exception. */
enum aa_error_code {
	AA_ERROR_MEMORY,      /* allocation failed */
	AA_ERROR_VALUE,	      /* a value that can never be right: bad pid, size, operation name */
	AA_ERROR_STATE,	      /* right call, wrong moment: attach twice, two readers, used in a forked child */
	AA_ERROR_CLOSED,      /* used after close */
	AA_ERROR_NO_PROCESS,  /* the process is dead or a zombie */
	AA_ERROR_SYSTEM,      /* a system call failed; errno_value says how */
	AA_ERROR_ATTACH,      /* a probe could not be loaded or attached */
	AA_ERROR_PERMISSION,  /* same, for want of a privilege */
	AA_ERROR_UNAVAILABLE, /* same, this kernel or platform has no such backend */
};

struct aa_error {
	enum aa_error_code code;
	int errno_value;  /* positive errno, 0 if none applies */
	char *message;	  /* what failed, naming what was given; never NULL */
	char *program;	  /* BPF program, or NULL */
	char *function;	  /* kernel function or tracepoint, or NULL */
	char *libbpf_log; /* libbpf's own words during the call, or NULL */
	char *remedy;	  /* what to do about it, or NULL */
};

/* Never returns NULL: when memory is short it returns a constant AA_ERROR_MEMORY value. */
struct aa_error *aa_error_create(enum aa_error_code code, int errno_value, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Each sets one part by copying it and returns its argument; NULL text leaves the part unset. */
struct aa_error *aa_error_with_probe(struct aa_error *error, const char *program, const char *function);
struct aa_error *aa_error_with_log(struct aa_error *error, const char *libbpf_log);
struct aa_error *aa_error_with_remedy(struct aa_error *error, const char *remedy);
/* Accepts NULL. */
void aa_error_destroy(struct aa_error *error);

#endif

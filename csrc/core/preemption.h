/* SPDX-License-Identifier: MIT */
/*
 * Whether the kernel can preempt a task in kernel code, as it runs now. A trampoline's program (fentry, fexit) is then
 * preempted as well, and the kernel skips it for whoever calls the same function on that CPU meanwhile. Measured with 4
 * busy processes: preempt=full loses 25 to 32 % (6.1, 6.12), lazy preemption 11 to 17 % (6.16 to 6.19), PREEMPT_RT 28
 * to 53 %; voluntary preemption none.
 */
#ifndef AA_PREEMPTION_H
#define AA_PREEMPTION_H

#include <stdbool.h>
#include <stddef.h>

enum aa_preemption_model {
	AA_PREEMPTION_NONE, /* none or voluntary: kernel code gives the CPU away only where it asks to */
	AA_PREEMPTION_KERNEL,
	AA_PREEMPTION_UNKNOWN,
};

struct aa_preemption {
	enum aa_preemption_model model;
	bool is_real_time; /* PREEMPT_RT */
	char said[96];	   /* which of the sources says so */
};

/* What there is to read; NULL: it cannot be read. */
struct aa_preemption_sources {
	const char *version;	/* uname -v */
	const char *debugfs;	/* sched/preempt: "none voluntary (full) lazy" */
	const char *parameters; /* /proc/cmdline; the last preempt= counts */
	const char *config;	/* /boot/config-RELEASE */
};

void aa_preemption_judge(const struct aa_preemption_sources *sources, struct aa_preemption *ret_preemption);
/* The same of this kernel, now. A model that can be changed while the kernel runs is read each time. */
void aa_preemption_read(struct aa_preemption *ret_preemption);

#endif

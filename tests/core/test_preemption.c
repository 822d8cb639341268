// SPDX-License-Identifier: MIT
/* Which kernels can preempt a task in kernel code, by what Debian's kernels and others say of themselves. */
#include "preemption.h"

#include <string.h>

#include "check.h"

#define DYNAMIC "#1 SMP PREEMPT_DYNAMIC Debian 6.12.117-1 (2026-10-01)"

static void judged(const char *version, const char *debugfs, const char *parameters, const char *config,
		   enum aa_preemption_model model, const char *said)
{
	struct aa_preemption_sources sources = { version, debugfs, parameters, config };
	struct aa_preemption found;

	aa_preemption_judge(&sources, &found);
	CHECK(found.model == model);
	CHECK(strstr(found.said, said));
	CHECK(found.is_real_time == (version && strstr(version, "PREEMPT_RT")));
}

static void test_built_so(void)
{
	judged("#1 SMP Debian 5.10.223-1 (2024-08-10)", NULL, NULL, NULL, AA_PREEMPTION_NONE, "does not say PREEMPT");
	judged("#1 SMP PREEMPT Debian 6.0", NULL, NULL, NULL, AA_PREEMPTION_KERNEL, "uname -v: PREEMPT");
	judged("#1 SMP PREEMPT_RT Debian 6.12.117-1 (2026-10-01)", NULL, NULL, NULL, AA_PREEMPTION_KERNEL,
	       "PREEMPT_RT");
	/* What a kernel is built as cannot be changed when it is started. */
	judged("#1 SMP Debian 5.10", NULL, "preempt=full", NULL, AA_PREEMPTION_NONE, "does not say PREEMPT");
	judged("#1 SMP PREEMPT_RT", "none (voluntary) full", "preempt=none", NULL, AA_PREEMPTION_KERNEL, "PREEMPT_RT");
	/* A builder's own words. */
	judged("#2-NOT_PREEMPT_DYNAMIC SMP", NULL, NULL, NULL, AA_PREEMPTION_NONE, "does not say PREEMPT");
	judged(NULL, NULL, NULL, NULL, AA_PREEMPTION_UNKNOWN, "cannot be read");
}

static void test_as_it_runs(void)
{
	judged(DYNAMIC, "none (voluntary) full \n", "preempt=full", NULL, AA_PREEMPTION_NONE,
	       "sched/preempt: voluntary");
	judged(DYNAMIC, "none voluntary (full) \n", "preempt=none", NULL, AA_PREEMPTION_KERNEL, "sched/preempt: full");
	judged(DYNAMIC, "none voluntary full (lazy)\n", NULL, NULL, AA_PREEMPTION_KERNEL, "sched/preempt: lazy");
	judged(DYNAMIC, "(none) voluntary full lazy\n", NULL, NULL, AA_PREEMPTION_NONE, "sched/preempt: none");
	/* A mode of a kernel to come. */
	judged(DYNAMIC, "none (sometimes) full", "preempt=none", NULL, AA_PREEMPTION_UNKNOWN, "PREEMPT_DYNAMIC");
}

static void test_as_it_was_started(void)
{
	judged(DYNAMIC, NULL, "quiet preempt=full root=/dev/sda1\n", "CONFIG_PREEMPT_VOLUNTARY=y", AA_PREEMPTION_KERNEL,
	       "preempt=full");
	judged(DYNAMIC, NULL, "preempt=full preempt=voluntary\n", NULL, AA_PREEMPTION_NONE, "preempt=voluntary");
	judged(DYNAMIC, NULL, "nopreempt=full x.preempt=none\n", NULL, AA_PREEMPTION_UNKNOWN, "PREEMPT_DYNAMIC");
	judged(DYNAMIC, NULL, "preempt=anything\n", "CONFIG_PREEMPT_LAZY=y\nCONFIG_PREEMPT_DYNAMIC=y\n",
	       AA_PREEMPTION_KERNEL, "configuration: lazy");
	judged(DYNAMIC, NULL, "quiet", "# CONFIG_PREEMPT_NONE is not set\nCONFIG_PREEMPT_VOLUNTARY=y\n",
	       AA_PREEMPTION_NONE, "configuration: voluntary");
	judged(DYNAMIC, NULL, NULL, "CONFIG_PREEMPT_BUILD=y\nCONFIG_PREEMPT=y\n", AA_PREEMPTION_KERNEL,
	       "configuration: full");
	judged(DYNAMIC, NULL, "quiet", NULL, AA_PREEMPTION_UNKNOWN, "sched/preempt cannot be read");
}

static void test_this_kernel(void)
{
	struct aa_preemption found;

	aa_preemption_read(&found);
	CHECK(found.said[0]);
}

int main(void)
{
	test_built_so();
	test_as_it_runs();
	test_as_it_was_started();
	test_this_kernel();
	return CHECK_DONE();
}

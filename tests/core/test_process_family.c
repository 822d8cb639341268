// SPDX-License-Identifier: MIT
/* A family is whole whatever the order of the list, also where it is large: what grows with the square has no end here.
 */
#include "process_family.h"

#include <stdlib.h>

#include "check.h"
#include "random.h"

#define MANY 1000000u

static struct aa_task *tasks_make(void)
{
	struct aa_task *tasks = calloc(MANY, sizeof(*tasks));

	CHECK(tasks);
	return tasks;
}

/* Each the child of the one before, the youngest first in the list. */
static void test_a_long_line(void)
{
	struct aa_process_set family = { 0 }, live = { 0 };
	struct aa_task *tasks = tasks_make();

	for (uint32_t i = 0; i < MANY; i++)
		tasks[i] = (struct aa_task){ .tgid = MANY - i + 1, .parent_tgid = MANY - i, .is_live = i % 2 };
	CHECK(aa_process_set_add(&family, 1));
	CHECK(aa_family_grow(&family, tasks, MANY, 0, UINT32_MAX));
	CHECK(family.count == MANY + 1 && family.items[MANY] == MANY + 1);
	CHECK(aa_family_grow(&family, tasks, MANY, 0, UINT32_MAX) && family.count == MANY + 1);
	CHECK(aa_family_live(&live, tasks, MANY) && live.count == MANY / 2);
	for (uint32_t i = 0; i < MANY; i++)
		CHECK(aa_process_set_has(&family, i + 1) && aa_process_set_has(&live, MANY - i + 1) == (i % 2 == 1));
	aa_process_set_clear(&family);
	aa_process_set_clear(&live);
	free(tasks);
}

/* All are children of one, beside as many of another; and threads of each. */
static void test_a_wide_one(void)
{
	struct aa_process_set family = { 0 };
	struct aa_task *tasks = tasks_make();

	for (uint32_t i = 0; i < MANY; i++)
		tasks[i] = (struct aa_task){ .tgid = 10 + i / 2, .parent_tgid = 1 + i / 2 % 2 };
	CHECK(aa_process_set_add(&family, 2) && aa_family_grow(&family, tasks, MANY, 0, UINT32_MAX));
	CHECK(family.count == 1 + MANY / 4);
	for (uint32_t i = 0; i < MANY / 2; i++)
		CHECK(aa_process_set_has(&family, 10 + i) == (i % 2 == 1));
	aa_process_set_clear(&family);
	free(tasks);
}

/* Against the plain way, in small worlds of any shape: circles, several roots, one that never belongs to it. */
static void test_against_the_plain_way(void)
{
	enum { SMALL = 24 };

	for (int round = 0; round < 3000; round++) {
		struct aa_process_set family = { 0 };
		struct aa_task tasks[SMALL] = { 0 };
		bool is_in[SMALL + 2] = { 0 }, again = true;
		uint32_t other = (uint32_t)(random_number() % SMALL), never = 1 + (uint32_t)(random_number() % SMALL),
			 root = 1 + (uint32_t)(random_number() % SMALL);
		size_t count = 0;

		for (int i = 0; i < SMALL; i++)
			tasks[i] = (struct aa_task){ .tgid = 1 + (uint32_t)(random_number() % SMALL),
						     .parent_tgid = (uint32_t)(random_number() % SMALL) };
		for (is_in[root] = true; again;) {
			again = false;
			for (int i = 0; i < SMALL; i++)
				if (tasks[i].parent_tgid && is_in[tasks[i].parent_tgid] && !is_in[tasks[i].tgid] &&
				    tasks[i].tgid != never && tasks[i].tgid != other)
					is_in[tasks[i].tgid] = again = true;
		}
		CHECK(aa_process_set_add(&family, root) && aa_family_grow(&family, tasks, SMALL, never, other));
		for (uint32_t process = 0; process <= SMALL; process++) {
			CHECK(aa_process_set_has(&family, process) == is_in[process]);
			count += is_in[process];
		}
		CHECK(family.count == count);
		aa_process_set_clear(&family);
	}
}

int main(void)
{
	test_a_long_line();
	test_a_wide_one();
	test_against_the_plain_way();
	return CHECK_DONE();
}

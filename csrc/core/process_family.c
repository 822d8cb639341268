// SPDX-License-Identifier: MIT
#include "process_family.h"

#include <stdlib.h>

#define AA_SET_ROOM 64

static uint32_t *aa_set_slot(uint32_t *slots, uint32_t mask, uint32_t process)
{
	uint32_t at = process * 2654435761u;

	for (at ^= at >> 16; slots[at & mask] && slots[at & mask] != process; at++)
		;
	return &slots[at & mask];
}

bool aa_process_set_has(const struct aa_process_set *set, uint32_t process)
{
	return process && set->slots && *aa_set_slot(set->slots, set->mask, process);
}

static bool aa_set_grow(struct aa_process_set *set)
{
	size_t room = set->room ? set->room * 2 : AA_SET_ROOM;
	uint32_t mask = (uint32_t)(room * 2 - 1), *slots = calloc(room * 2, sizeof(*slots));
	uint32_t *items = slots ? reallocarray(set->items, room, sizeof(*items)) : NULL;

	if (!items) {
		free(slots);
		return false;
	}
	for (size_t i = 0; i < set->count; i++)
		*aa_set_slot(slots, mask, items[i]) = items[i];
	free(set->slots);
	set->slots = slots;
	set->mask = mask;
	set->items = items;
	set->room = room;
	return true;
}

bool aa_process_set_add(struct aa_process_set *set, uint32_t process)
{
	if (!process || aa_process_set_has(set, process))
		return true;
	if (set->count == set->room && !aa_set_grow(set))
		return false;
	*aa_set_slot(set->slots, set->mask, process) = process;
	set->items[set->count++] = process;
	return true;
}

void aa_process_set_clear(struct aa_process_set *set)
{
	free(set->items);
	free(set->slots);
	set->items = NULL;
	set->slots = NULL;
	set->mask = 0;
	set->count = 0;
	set->room = 0;
}

struct aa_kinship {
	uint32_t parent, child;
};

static int aa_by_parent(const void *a, const void *b)
{
	const struct aa_kinship *one = a, *other = b;

	return (one->parent > other->parent) - (one->parent < other->parent);
}

/* The first of a parent's. */
static size_t aa_kinship_find(const struct aa_kinship *kin, size_t count, uint32_t parent)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (kin[middle].parent < parent)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool aa_family_grow(struct aa_process_set *family, const struct aa_task *tasks, size_t count, uint32_t own,
		    uint32_t reaper)
{
	struct aa_kinship *kin = calloc(count ? count : 1, sizeof(*kin));
	size_t length = 0;
	bool has_memory = kin != NULL;

	for (size_t i = 0; has_memory && i < count; i++)
		if (tasks[i].tgid != own && tasks[i].tgid != reaper && tasks[i].parent_tgid)
			kin[length++] = (struct aa_kinship){ tasks[i].parent_tgid, tasks[i].tgid };
	if (has_memory)
		qsort(kin, length, sizeof(*kin), aa_by_parent);
	/* Those that are added have their turn, too. */
	for (size_t member = 0; has_memory && member < family->count; member++) {
		uint32_t parent = family->items[member];

		for (size_t i = aa_kinship_find(kin, length, parent);
		     has_memory && i < length && kin[i].parent == parent; i++)
			has_memory = aa_process_set_add(family, kin[i].child);
	}
	free(kin);
	return has_memory;
}

bool aa_family_live(struct aa_process_set *ret_live, const struct aa_task *tasks, size_t count)
{
	aa_process_set_clear(ret_live);
	for (size_t i = 0; i < count; i++)
		if (tasks[i].is_live && !aa_process_set_add(ret_live, tasks[i].tgid))
			return false;
	return true;
}

/* SPDX-License-Identifier: MIT */
/* Where a rule's path leads when the rules are looked at, and what its user should know of that. */
#ifndef AA_RULE_PLACES_H
#define AA_RULE_PLACES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "path_rules.h"

/* Words about the rules, for their user. */
struct aa_rule_notes {
	struct aa_rule_note *notes;
	size_t count, room;
	bool no_memory;
};

void aa_rule_notes_clear(struct aa_rule_notes *notes);
/* A note whose text is printed. What there is no memory for is left out. */
void aa_rule_notes_add(struct aa_rule_notes *notes, enum aa_rule_list list, const char *rule, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* A rule's text as it was given, without a slash at its end. */
struct aa_rule_place {
	enum aa_rule_list list;
	const char *text;
	bool is_glob, is_prefix;
};

/*
 * The same rule with its symbolic links followed, to be given back with free(); NULL: they lead nowhere else. Names in
 * /proc are each process's own, and are not followed.
 */
char *aa_rule_place_follow(const struct aa_rule_place *place, struct aa_rule_notes *notes);
/* What stat(2) says of a rule that is no glob: `status`, or the errno it failed with. */
void aa_rule_place_note(const struct aa_rule_place *place, const struct stat *status, int code,
			struct aa_rule_notes *notes);

#endif

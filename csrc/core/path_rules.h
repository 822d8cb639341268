/* SPDX-License-Identifier: MIT */
/*
 * Path rules: which events are wanted, sensitive or not wanted, by the names they have and the files they are about.
 *
 * A rule is an absolute path. "/etc/hosts": this name. "/etc/", with the slash: this directory and all below it. With
 * `*`, `?` or `[…]` it is a glob, in which these stand for what is no "/", and a component `**` for any number of
 * components, also none; a glob that ends in a slash means all below, too.
 */
#ifndef AA_PATH_RULES_H
#define AA_PATH_RULES_H

#include <stdbool.h>
#include <stddef.h>

#include "../../bpf/fileio_abi.h"
#include "file_event.h"
#include "fileio_error.h"

extern const char *const aa_rule_list_names[AA_RULE_LISTS]; /* as the options are called */

#define AA_RULES_MAX 4096u /* of one list */

/* Rules as they were given; NULL or empty: none. */
struct aa_rule_texts {
	const char *const *texts;
	size_t count;
};

struct aa_path_rules;

/* AA_ERROR_VALUE names the rule that can never match, or what is wrong with it. Texts are copied. */
struct aa_error *aa_path_rules_create(const struct aa_rule_texts texts[AA_RULE_LISTS],
				      struct aa_path_rules **ret_rules);
void aa_path_rules_destroy(struct aa_path_rules *rules); /* accepts NULL */

/*
 * Looks where the rules' paths lead now: symbolic links are followed, and the files of rules that are no globs match
 * under any name from here on.
 */
void aa_path_rules_look(struct aa_path_rules *rules);
/* Marks these files, so that the kernel side knows them by their inodes: see bpf/rule_files.bpf.h. What cannot be
 * marked is known by its number. */
void aa_path_rules_mark(struct aa_path_rules *rules);
/* Takes the marks off; accepts NULL. In a forked child, too. */
void aa_path_rules_unmark(struct aa_path_rules *rules);

/* What the rules' user should know of where they lead; owned by the rules, until they are looked at again. */
struct aa_rule_note {
	enum aa_rule_list list;
	const char *rule; /* without a slash at its end */
	char *text;
};
const struct aa_rule_note *aa_path_rules_notes(const struct aa_path_rules *rules, size_t *ret_count);
/* The kernel did not show this file: its rule is known by its name alone. */
void aa_path_rules_note_unseen(struct aa_path_rules *rules, size_t file, const char *reason);

/* Whether a name, absolute and without "//", "/./" and "/../", matches a rule of the list. */
bool aa_path_rules_match(const struct aa_path_rules *rules, enum aa_rule_list list, const char *path);

/* What the kernel side is given: see bpf/rules.bpf.h. Owned by the rules. */
struct aa_kernel_rules {
	struct {
		struct aa_rule_name name;
		struct aa_rule_bits bits;
	} * names; /* no two alike */
	size_t name_count;
	struct aa_kernel_rule_file {
		const char *path;
		uint32_t list;	    /* enum aa_rule_list */
		const char *unseen; /* why it could not be identified; NULL: it was */
	} * files;
	size_t file_count;
	uint32_t lists, of_all;
	bool has_named; /* the very names of what is watched or sensitive */
	uint8_t lengths[AA_RULE_LENGTHS];
};
/* After aa_path_rules_look(). NULL: the kernel could leave out nothing by them, or there is no memory for it. */
struct aa_kernel_rules *aa_path_rules_for_kernel(struct aa_path_rules *rules);

enum aa_rule_decision {
	AA_RULE_KEEP,
	AA_RULE_KEEP_SENSITIVE,
	AA_RULE_LEAVE_OUT,
};
/*
 * What is sensitive is kept whatever else; then what is only about ignored names is left out; then what is known to be
 * about nothing that is watched. A call that succeeded under a name that is not certain is kept: it may have been
 * anywhere. Blind spots are kept.
 */
enum aa_rule_decision aa_path_rules_decide(const struct aa_path_rules *rules, const struct aa_file_event *event);
/* Whether it is known that the event is sensitive, or that it is not. */
bool aa_path_rules_know_sensitive(const struct aa_path_rules *rules, const struct aa_file_event *event);
/* The same, noted in the event: whether it is sensitive, or that this is not known. False: it is left out. Without
 * rules (NULL) nothing is sensitive. */
bool aa_path_rules_apply(const struct aa_path_rules *rules, struct aa_file_event *event);

#endif

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

/* Finds the files that literal rules name now, symbolic links followed: from here on they match under any name. */
void aa_path_rules_look(struct aa_path_rules *rules);

/* Whether a name, absolute and without "//", "/./" and "/../", matches a rule of the list. */
bool aa_path_rules_match(const struct aa_path_rules *rules, enum aa_rule_list list, const char *path);

/* What the kernel side is given: see bpf/rules.bpf.h. Owned by the rules. */
struct aa_kernel_rules {
	struct {
		struct aa_rule_name name;
		struct aa_rule_bits bits;
	} * names; /* no two alike */
	size_t name_count;
	struct {
		struct aa_rule_file file;
		uint32_t lists;
	} * files;
	size_t file_count;
	uint32_t lists, of_all;
	uint8_t lengths[AA_RULE_LENGTHS];
};
/* After aa_path_rules_look(). NULL: the kernel could leave out nothing by them, or there is no memory for it. */
const struct aa_kernel_rules *aa_path_rules_for_kernel(struct aa_path_rules *rules);

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

#endif

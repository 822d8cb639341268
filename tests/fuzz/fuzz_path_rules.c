// SPDX-License-Identifier: MIT
/*
 * Fuzzes the path rules. An input is a sequence of texts, each with its NUL; the first byte of a text says which list
 * it is a rule of, or that it is a path to match.
 */
#include <stdlib.h>

#include "input.h"
#include "path_rules.h"

#define TEXTS_MAX 64

static void match_all(const struct aa_path_rules *rules, const char *const *paths, size_t count)
{
	for (size_t i = 0; i < count; i++)
		for (int list = 0; list < AA_RULE_LISTS; list++)
			(void)aa_path_rules_match(rules, (enum aa_rule_list)list, paths[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *texts[AA_RULE_LISTS + 1][TEXTS_MAX];
	size_t counts[AA_RULE_LISTS + 1] = { 0 };
	struct aa_rule_texts lists[AA_RULE_LISTS];
	struct aa_path_rules *rules = NULL;
	struct aa_error *error;
	char *copy = malloc(size + 1);

	memcpy(copy, data, size);
	copy[size] = '\0';
	for (size_t at = 0; at < size; at += strlen(copy + at) + 1) {
		unsigned list = (unsigned char)copy[at] % (AA_RULE_LISTS + 1);

		if (!copy[at] || counts[list] == TEXTS_MAX)
			continue;
		/* aa_path_rules_match() takes absolute names alone: its caller has no others. */
		if (list == AA_RULE_LISTS && copy[at + 1] != '/')
			continue;
		texts[list][counts[list]++] = copy + at + 1;
	}
	for (int list = 0; list < AA_RULE_LISTS; list++)
		lists[list] = (struct aa_rule_texts){ texts[list], counts[list] };
	error = aa_path_rules_create(lists, &rules);
	if (error) {
		aa_error_destroy(error);
	} else {
		match_all(rules, texts[AA_RULE_LISTS], counts[AA_RULE_LISTS]);
		(void)aa_path_rules_for_kernel(rules);
		aa_path_rules_destroy(rules);
	}
	free(copy);
	return 0;
}

// SPDX-License-Identifier: MIT
/*
 * What a rule matches is told by tests/python/test_path_rules.py; here, that any rule and any name are taken without a
 * byte read beside them (the second time under the sanitizers), and that what is refused leaves nothing behind.
 */
#include "path_rules.h"

#include <stdlib.h>
#include <string.h>

#include "../../bpf/fileio_abi.h"
#include "check.h"
#include "random.h"

/* On the heap and exactly as long as it is, so that a read beyond it is found. */
static char *make_text(const char *letters, size_t most)
{
	size_t length = random_number() % most, count = strlen(letters);
	char *text = malloc(length + 2);

	text[0] = '/';
	for (size_t i = 1; i <= length; i++)
		text[i] = letters[random_number() % count];
	text[length + 1] = '\0';
	return text;
}

static void test_any_rule_and_any_name(void)
{
	int taken = 0, refused = 0;

	for (int i = 0; i < 40000; i++) {
		char *rule = make_text("ab*?[]!-^/./\xc3\xa9\xff", 24);
		const char *const texts[] = { rule };
		struct aa_rule_texts lists[AA_RULE_LISTS] = { { texts, 1 }, { texts, 1 }, { texts, 1 } };
		struct aa_path_rules *rules = NULL;
		struct aa_error *error = aa_path_rules_create(lists, &rules);

		CHECK(!error == !!rules);
		refused += error != NULL;
		taken += rules != NULL;
		for (int j = 0; rules && j < 4; j++) {
			char *name = make_text("ab//.\xc3\xa9\xff", 30);

			aa_path_rules_match(rules, AA_RULES_WATCH, name);
			free(name);
		}
		if (error)
			CHECK(error->code == AA_ERROR_VALUE && strstr(error->message, "watch: rule"));
		aa_error_destroy(error);
		aa_path_rules_destroy(rules);
		free(rule);
	}
	CHECK(taken > 1000);
	CHECK(refused > 1000);
}

static void test_any_event(void)
{
	static const char *const texts[] = { "/a/", "/b", "/**/c*" };
	const struct aa_rule_texts lists[AA_RULE_LISTS] = { { texts, 3 }, { texts + 2, 1 }, { texts, 2 } };
	struct aa_path_rules *rules = NULL;
	int decisions[3] = { 0 };

	CHECK(!aa_path_rules_create(lists, &rules));
	aa_path_rules_look(rules);
	for (int i = 0; i < 40000; i++) {
		char *path = make_text("abc//..", 40), *raw = make_text("abc/.", 10);
		size_t path_bytes = strlen(path), raw_bytes = strlen(raw);
		struct aa_file_event *event = calloc(1, sizeof(*event) + path_bytes + 1 + raw_bytes + 1);

		event->present = AA_FIELD_PATH | AA_FIELD_RAW_PATH | AA_FIELD_RESULT;
		event->path_length = (uint16_t)path_bytes;
		event->raw_path_length = (uint16_t)raw_bytes;
		memcpy(event->strings, path, path_bytes + 1);
		memcpy(event->strings + path_bytes + 1, raw, raw_bytes + 1);
		event->operation = (uint8_t)(random_number() % AA_OPERATION_COUNT);
		event->path_source = (uint8_t)(random_number() % AA_PATH_SOURCE_COUNT);
		event->result = random_number() % 2 ? 0 : -2;
		decisions[aa_path_rules_decide(rules, event)]++;
		free(event);
		free(path);
		free(raw);
	}
	CHECK(decisions[0] && decisions[1] && decisions[2]);
	aa_path_rules_destroy(rules);
	aa_path_rules_destroy(NULL);
}

static enum aa_rule_decision decide(const struct aa_path_rules *rules, const char *path, uint32_t present,
				    uint8_t flags, int64_t result)
{
	struct aa_file_event *event = calloc(1, sizeof(*event) + strlen(path) + 1);
	enum aa_rule_decision decision;

	event->present = AA_FIELD_PATH | AA_FIELD_RESULT | present;
	event->path_source = AA_PATH_SOURCE_FILE;
	event->path_flags = flags;
	event->result = result;
	event->path_length = (uint16_t)strlen(path);
	memcpy(event->strings, path, (size_t)event->path_length + 1);
	decision = aa_path_rules_decide(rules, event);
	free(event);
	return decision;
}

/* Of no place is certain, and no path; from elsewhere than the root is nothing, whatever the call did. */
static void test_names_that_are_no_paths(void)
{
	static const char *const secret[] = { "/etc/" }, *const all[] = { "/**" };
	const struct aa_rule_texts watched[AA_RULE_LISTS] = { { secret, 1 }, { secret, 1 }, { NULL, 0 } };
	const struct aa_rule_texts ignored[AA_RULE_LISTS] = { { NULL, 0 }, { NULL, 0 }, { all, 1 } };
	struct aa_path_rules *rules = NULL;

	CHECK(!aa_path_rules_create(watched, &rules));
	CHECK(decide(rules, "/memfd:x/../../etc/passwd", 0, 0, 0) == AA_RULE_KEEP_SENSITIVE);
	CHECK(decide(rules, "/memfd:x/../../etc/passwd", AA_FIELD_NO_PLACE, 0, 0) == AA_RULE_LEAVE_OUT);
	CHECK(decide(rules, "/home/a", 0, 0, 0) == AA_RULE_LEAVE_OUT);
	CHECK(decide(rules, "(unreachable)/etc/a", 0, AA_PATH_UNREACHABLE, 0) == AA_RULE_KEEP);
	CHECK(decide(rules, "(unreachable)/home/a", 0, AA_PATH_UNREACHABLE, -2) == AA_RULE_KEEP);
	aa_path_rules_destroy(rules);
	CHECK(!aa_path_rules_create(ignored, &rules));
	CHECK(decide(rules, "/home/a", 0, 0, 0) == AA_RULE_LEAVE_OUT);
	CHECK(decide(rules, "(unreachable)/home/a", 0, AA_PATH_UNREACHABLE, -2) == AA_RULE_KEEP);
	CHECK(decide(rules, "/memfd:x", AA_FIELD_NO_PLACE, 0, 0) == AA_RULE_KEEP);
	aa_path_rules_destroy(rules);
}

/* As long as a name can be, and longer. */
static void test_a_long_name(void)
{
	enum { BYTES = 20000 };
	static const char *const texts[] = { "/a/" };
	const struct aa_rule_texts lists[AA_RULE_LISTS] = { { texts, 1 } };
	struct aa_file_event *event = calloc(1, sizeof(*event) + BYTES + 1);
	struct aa_path_rules *rules = NULL;

	CHECK(!aa_path_rules_create(lists, &rules));
	event->present = AA_FIELD_PATH | AA_FIELD_RESULT;
	event->path_source = AA_PATH_SOURCE_FILE;
	for (size_t length = 8000; length <= BYTES; length += 12000) {
		memset(event->strings, '/', length);
		memcpy(event->strings + length - 2, "a/", 2);
		event->strings[length] = '\0';
		event->path_length = (uint16_t)length;
		/* Too long to be told: it is not known to be elsewhere. */
		CHECK(aa_path_rules_decide(rules, event) == AA_RULE_KEEP);
	}
	free(event);
	aa_path_rules_destroy(rules);
}

int main(void)
{
	test_any_rule_and_any_name();
	test_any_event();
	test_names_that_are_no_paths();
	test_a_long_name();
	return CHECK_DONE();
}

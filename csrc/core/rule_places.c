// SPDX-License-Identifier: MIT
#include "rule_places.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AA_LINKS_MAX 8 /* that lead to something not there yet, one after the other */
#define AA_NOTE_BYTES (2 * PATH_MAX + 256)

void aa_rule_notes_clear(struct aa_rule_notes *notes)
{
	for (size_t i = 0; i < notes->count; i++)
		free(notes->notes[i].text);
	free(notes->notes);
	*notes = (struct aa_rule_notes){ 0 };
}

void aa_rule_notes_add(struct aa_rule_notes *notes, enum aa_rule_list list, const char *rule, const char *format, ...)
{
	char text[AA_NOTE_BYTES];
	struct aa_rule_note *note;
	va_list values;

	if (notes->count == notes->room) {
		size_t room = notes->room ? notes->room * 2 : 16;
		struct aa_rule_note *grown = reallocarray(notes->notes, room, sizeof(*grown));

		if (!grown)
			return;
		notes->notes = grown;
		notes->room = room;
	}
	va_start(values, format);
	vsnprintf(text, sizeof(text), format, values);
	va_end(values);
	note = &notes->notes[notes->count];
	*note = (struct aa_rule_note){ .list = list, .rule = rule, .text = strdup(text) };
	if (note->text)
		notes->count++;
}

static const char *aa_done_to(enum aa_rule_list list)
{
	return list == AA_RULES_WATCH ? "watched" : list == AA_RULES_SENSITIVE ? "sensitive" : "ignored";
}

static bool aa_is_in_proc(const char *path)
{
	return !strncmp(path, "/proc/", 6);
}

/* `head`, whose last component is a symbolic link to nothing, and `tail` behind it: where the link leads, and `tail`.
 */
static char *aa_follow_dangling(const char *head, const char *tail)
{
	char target[PATH_MAX], *followed;
	ssize_t bytes = readlink(head, target, sizeof(target) - 1);
	const char *slash = strrchr(head, '/');

	if (bytes <= 0)
		return NULL;
	target[bytes] = '\0';
	if (target[0] == '/' ? asprintf(&followed, "%s%s", target, tail) < 0 :
			       asprintf(&followed, "%.*s/%s%s", (int)(slash - head), head, target, tail) < 0)
		return NULL;
	return followed;
}

/*
 * The longest beginning of `text`, of at most `length` bytes, that is there, without symbolic links; and the rest. It
 * calls itself for a link that leads nowhere, `links` times at most.
 */
/* NOLINTNEXTLINE(misc-no-recursion) */
static char *aa_resolve(const char *text, size_t length, unsigned links)
{
	char *head = strndup(text, length), *real = NULL, *whole = NULL;

	while (head) {
		const char *tail = text + strlen(head);
		char *slash, *followed;

		real = realpath(*head ? head : "/", NULL);
		if (real) {
			if (!strcmp(real, "/"))
				*real = '\0';
			if (asprintf(&whole, "%s%s", real, tail) < 0)
				whole = NULL;
			break;
		}
		if (errno != ENOENT && errno != ENOTDIR)
			break;
		followed = links ? aa_follow_dangling(head, tail) : NULL;
		if (followed) {
			/* What lies behind a glob is no name of a file. */
			whole = aa_resolve(followed, strlen(followed) - strlen(text + length), links - 1);
			free(followed);
			break;
		}
		slash = strrchr(head, '/');
		if (!slash || slash == head)
			break;
		*slash = '\0';
	}
	free(real);
	free(head);
	return whole;
}

/* The shortest beginning of the path that is a symbolic link, and where it leads. */
static void aa_note_link(const struct aa_rule_place *place, const char *followed, struct aa_rule_notes *notes)
{
	char *head = strdup(place->text), *real = NULL;
	struct stat status;
	char *end = head;

	while (end && *end) {
		char kept;

		end = end + 1 + strcspn(end + 1, "/");
		kept = *end;
		*end = '\0';
		if (!lstat(head, &status) && S_ISLNK(status.st_mode)) {
			real = realpath(head, NULL);
			break;
		}
		*end = kept;
	}
	if (head && real)
		aa_rule_notes_add(notes, place->list, place->text, "%s is a symbolic link to %s: that is %s, too", head,
				  real, aa_done_to(place->list));
	else
		aa_rule_notes_add(notes, place->list, place->text, "leads to %s by a symbolic link: that is %s, too",
				  followed, aa_done_to(place->list));
	free(real);
	free(head);
}

char *aa_rule_place_follow(const struct aa_rule_place *place, struct aa_rule_notes *notes)
{
	size_t length = strlen(place->text);
	char *followed;

	if (place->is_glob) {
		length = strcspn(place->text, "*?[");
		while (length && place->text[length - 1] != '/')
			length--;
		length -= length != 0;
	}
	if (!length || aa_is_in_proc(place->text))
		return NULL;
	followed = aa_resolve(place->text, length, AA_LINKS_MAX);
	if (followed && aa_is_in_proc(followed)) {
		aa_rule_notes_add(notes, place->list, place->text,
				  "leads into /proc, where each process has its own: it is held against its own name "
				  "alone");
		free(followed);
		return NULL;
	}
	if (followed && !strcmp(followed, place->text)) {
		free(followed);
		return NULL;
	}
	if (followed)
		aa_note_link(place, followed, notes);
	return followed;
}

static const char *aa_kind_word(mode_t mode)
{
	return S_ISFIFO(mode) ? "a FIFO" : S_ISSOCK(mode) ? "a socket" : S_ISCHR(mode) ? "a character device" : NULL;
}

void aa_rule_place_note(const struct aa_rule_place *place, const struct stat *status, int code,
			struct aa_rule_notes *notes)
{
	const char *rule = place->text, *kind;

	if (code == ENOENT) {
		aa_rule_notes_add(notes, place->list, rule,
				  "%s does not exist yet: it is found by its name once it does", rule);
		return;
	}
	if (code) {
		aa_rule_notes_add(notes, place->list, rule,
				  "%s cannot be looked at (%s): it is found by its name alone", rule, strerror(code));
		return;
	}
	kind = aa_kind_word(status->st_mode);
	if (S_ISDIR(status->st_mode) && !place->is_prefix)
		aa_rule_notes_add(notes, place->list, rule,
				  "%s is a directory: this rule means itself alone, and %s/ all below it, too", rule,
				  rule);
	else if (!S_ISDIR(status->st_mode) && place->is_prefix)
		aa_rule_notes_add(notes, place->list, rule, "%s is no directory: there is nothing below it", rule);
	else if (kind && place->list != AA_RULES_IGNORE)
		aa_rule_notes_add(notes, place->list, rule, "%s is %s: it is %s, whatever kinds are selected", rule,
				  kind, aa_done_to(place->list));
}

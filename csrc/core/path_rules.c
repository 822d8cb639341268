// SPDX-License-Identifier: MIT
#include "path_rules.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../bpf/openers.h"
#include "rule_places.h"

#define AA_COMPONENT_BYTES 255 /* NAME_MAX */
#define AA_NAME_ROOM 16384     /* a directory's name and a name as passed, and both with room to spare */

struct aa_path_rule {
	char *text; /* a glob's and a prefix's without the slash at its end */
	size_t length;
	bool is_glob, is_prefix;
	bool has_file;		/* of a rule that is no glob, when it was looked for */
	uint64_t device, inode; /* as stat(2) has them */
};

struct aa_path_rules {
	struct aa_rule_set {
		struct aa_path_rule *rules; /* room for twice as many as were given */
		size_t given;
		size_t count;	/* and behind those given, what their symbolic links led to */
		bool has_files; /* some are of a file, and no directory: it may have other names */
		bool has_links; /* and some had other names */
	} lists[AA_RULE_LISTS];
	struct aa_kernel_rules kernel;
	struct aa_rule_notes notes;
	int marks; /* inotify's descriptor, or -1 */
	/* A link was made since: what has another name may be a rule's file. */
	atomic_bool *links_were_made;
};

const char *const aa_rule_list_names[AA_RULE_LISTS] = { "watch", "sensitive", "ignore" };

/* ---- globs ---- */

/* Behind the class that begins with '[' at `at`, or NULL when it has no end before `end`. */
static const char *aa_class_end(const char *at, const char *end)
{
	at++;
	if (at < end && (*at == '!' || *at == '^'))
		at++;
	if (at < end && *at == ']')
		at++;
	while (at < end && *at != ']')
		at++;
	return at < end ? at + 1 : NULL;
}

static bool aa_class_has(const char *class, const char *end, unsigned char byte)
{
	bool is_negated, has = false;
	const char *at = class + 1, *last = end - 1; /* its ']' */

	is_negated = *at == '!' || *at == '^';
	at += is_negated;
	while (at < last) {
		unsigned char from = (unsigned char)*at, to = from;

		if (at + 2 < last && at[1] == '-') {
			to = (unsigned char)at[2];
			at += 2;
		}
		at++;
		has = has || (byte >= from && byte <= to);
	}
	return has != is_negated;
}

/* A character of UTF-8, or a byte that begins none. */
static size_t aa_character_bytes(const char *at, const char *end)
{
	const unsigned char *bytes = (const unsigned char *)at;
	size_t length = *bytes >= 0xf0 && *bytes < 0xf8 ? 4 :
			*bytes >= 0xe0 && *bytes < 0xf0 ? 3 :
			*bytes >= 0xc2 && *bytes < 0xe0 ? 2 :
							  1;

	if (length > (size_t)(end - at))
		return 1;
	for (size_t i = 1; i < length; i++)
		if ((bytes[i] & 0xc0) != 0x80)
			return 1;
	return length;
}

/* One component against one component. */
static bool aa_component_matches(const char *glob, const char *glob_end, const char *name, const char *name_end)
{
	const char *star = NULL, *resume = NULL;

	while (name < name_end || glob < glob_end) {
		if (glob < glob_end && *glob == '*') {
			star = ++glob;
			resume = name;
			continue;
		}
		if (glob < glob_end && name < name_end) {
			if (*glob == '?') {
				glob++;
				name += aa_character_bytes(name, name_end);
				continue;
			}
			if (*glob == '[') {
				const char *end = aa_class_end(glob, glob_end);

				if (aa_class_has(glob, end, (unsigned char)*name)) {
					glob = end;
					name++;
					continue;
				}
			} else if (*glob == *name) {
				glob++;
				name++;
				continue;
			}
		}
		if (!star || resume >= name_end)
			return false;
		/* The star takes one character more. */
		resume += aa_character_bytes(resume, name_end);
		glob = star;
		name = resume;
	}
	return true;
}

static const char *aa_component_end(const char *at)
{
	return at + strcspn(at, "/");
}

static const char *aa_component_next(const char *end)
{
	return *end ? end + 1 : end;
}

static bool aa_is_any_depth(const char *component, const char *end)
{
	return end - component == 2 && component[0] == '*' && component[1] == '*';
}

/* Both without their first slash. `below`: what is below a match matches, too. */
static bool aa_glob_matches(const char *glob, const char *name, bool below)
{
	const char *deep = NULL, *resume = NULL; /* behind the last `**`, and from where it is tried again */

	for (;;) {
		const char *glob_end = aa_component_end(glob), *name_end = aa_component_end(name);

		if (aa_is_any_depth(glob, glob_end)) {
			glob = aa_component_next(glob_end);
			deep = glob;
			resume = name;
			if (!*glob)
				return true;
			continue;
		}
		if (!*glob && (!*name || below))
			return true;
		if (*glob && *name && aa_component_matches(glob, glob_end, name, name_end)) {
			glob = aa_component_next(glob_end);
			name = aa_component_next(name_end);
			continue;
		}
		if (!deep || !*resume)
			return false;
		resume = aa_component_next(aa_component_end(resume));
		glob = deep;
		name = resume;
	}
}

/* ---- rules ---- */

static bool aa_rule_matches(const struct aa_path_rule *rule, const char *path, size_t length)
{
	if (rule->is_glob)
		return aa_glob_matches(rule->text + 1, path + 1, rule->is_prefix);
	if (length < rule->length || memcmp(path, rule->text, rule->length) != 0)
		return false;
	return length == rule->length || (rule->is_prefix && path[rule->length] == '/');
}

static bool aa_set_matches(const struct aa_rule_set *set, const char *path)
{
	size_t length = strlen(path);

	if (path[0] != '/')
		return false; /* "(unreachable)/etc": nothing is known of what lies above */
	for (size_t i = 0; i < set->count; i++)
		if (aa_rule_matches(&set->rules[i], path, length))
			return true;
	return false;
}

static bool aa_set_has_file(const struct aa_rule_set *set, uint64_t device, uint64_t inode)
{
	for (size_t i = 0; i < set->count; i++)
		if (set->rules[i].has_file && set->rules[i].inode == inode && set->rules[i].device == device)
			return true;
	return false;
}

static struct aa_error *aa_rule_error(const char *list, const char *text, const char *what)
{
	return aa_error_create(AA_ERROR_VALUE, 0, "%s: rule \"%.200s\" %s", list, text, what);
}

static struct aa_error *aa_rule_parse(const char *list, const char *text, struct aa_path_rule *ret_rule)
{
	const char *component, *end;
	size_t length = strlen(text);

	if (!length)
		return aa_rule_error(list, text, "is empty: it must be an absolute path");
	if (text[0] == '~')
		return aa_rule_error(list, text, "begins with ~, which nobody expands here: os.path.expanduser() does");
	if (text[0] != '/')
		return aa_rule_error(list, text, "can never match: it must be an absolute path");
	if (length >= AA_PATH_BYTES)
		return aa_rule_error(list, text, "can never match: a path has at most 4095 bytes");
	for (component = text + 1; *component; component = aa_component_next(end)) {
		end = aa_component_end(component);
		if (component == end)
			return aa_rule_error(list, text, "can never match: it has an empty component (//)");
		if ((end - component == 1 && component[0] == '.') ||
		    (end - component == 2 && component[0] == '.' && component[1] == '.'))
			return aa_rule_error(list, text, "can never match: no resolved path has . or ..");
		if (aa_is_any_depth(component, end)) {
			ret_rule->is_glob = true;
			continue;
		}
		if (end - component > AA_COMPONENT_BYTES && !memchr(component, '[', (size_t)(end - component)) &&
		    !memchr(component, '*', (size_t)(end - component)))
			return aa_rule_error(list, text, "can never match: a component has at most 255 bytes");
		for (const char *at = component; at < end; at++) {
			if (*at == '*' && at + 1 < end && at[1] == '*')
				return aa_rule_error(list, text, "has ** that is not a component of its own");
			ret_rule->is_glob = ret_rule->is_glob || *at == '*' || *at == '?' || *at == '[';
			if (*at != '[')
				continue;
			at = aa_class_end(at, end);
			if (!at)
				return aa_rule_error(list, text, "has a [ without its ] (a [ itself is [[])");
			at--;
		}
	}
	ret_rule->is_prefix = text[length - 1] == '/';
	length -= ret_rule->is_prefix;
	ret_rule->text = strndup(text, length);
	ret_rule->length = length;
	return ret_rule->text ? NULL : aa_error_create(AA_ERROR_MEMORY, ENOMEM, "out of memory");
}

struct aa_error *aa_path_rules_create(const struct aa_rule_texts texts[AA_RULE_LISTS], struct aa_path_rules **ret_rules)
{
	struct aa_path_rules *rules = calloc(1, sizeof(*rules));
	struct aa_error *error = NULL;

	if (rules) {
		rules->marks = -1;
		rules->links_were_made = calloc(1, sizeof(*rules->links_were_made));
	}
	if (!rules || !rules->links_were_made) {
		free(rules);
		return aa_error_create(AA_ERROR_MEMORY, ENOMEM, "out of memory");
	}
	for (size_t list = 0; !error && list < AA_RULE_LISTS; list++) {
		struct aa_rule_set *set = &rules->lists[list];

		if (texts[list].count > AA_RULES_MAX) {
			error = aa_error_create(AA_ERROR_VALUE, 0, "%s: %zu rules, at most %u are taken",
						aa_rule_list_names[list], texts[list].count, AA_RULES_MAX);
			break;
		}
		if (!texts[list].count)
			continue;
		set->rules = calloc(texts[list].count * 2, sizeof(*set->rules));
		if (!set->rules) {
			error = aa_error_create(AA_ERROR_MEMORY, ENOMEM, "out of memory");
			break;
		}
		for (size_t i = 0; !error && i < texts[list].count; i++) {
			error = aa_rule_parse(aa_rule_list_names[list], texts[list].texts[i], &set->rules[i]);
			set->count = set->given = i + 1;
		}
	}
	if (error) {
		aa_path_rules_destroy(rules);
		return error;
	}
	*ret_rules = rules;
	return NULL;
}

void aa_path_rules_destroy(struct aa_path_rules *rules)
{
	if (!rules)
		return;
	aa_path_rules_unmark(rules);
	for (size_t list = 0; list < AA_RULE_LISTS; list++) {
		for (size_t i = 0; i < rules->lists[list].count; i++)
			free(rules->lists[list].rules[i].text);
		free(rules->lists[list].rules);
	}
	aa_rule_notes_clear(&rules->notes);
	free(rules->kernel.names);
	free(rules->kernel.files);
	free(rules->links_were_made);
	free(rules);
}

/* ---- where they lead ---- */

static const char *aa_rule_path(const struct aa_path_rule *rule)
{
	return rule->length ? rule->text : "/";
}

/* What the rule's symbolic links lead to is a rule as well. */
static void aa_rule_follow(struct aa_rule_set *set, const struct aa_rule_place *place, struct aa_rule_notes *notes)
{
	char *followed = aa_rule_place_follow(place, notes);

	if (followed)
		set->rules[set->count++] = (struct aa_path_rule){ .text = followed,
								  .length = strlen(followed),
								  .is_glob = place->is_glob,
								  .is_prefix = place->is_prefix };
}

static void aa_rule_look(struct aa_rule_set *set, struct aa_path_rule *rule, const struct aa_rule_place *place,
			 struct aa_rule_notes *notes)
{
	struct stat status = { 0 };
	int code;

	rule->has_file = false;
	if (rule->is_glob)
		return;
	code = stat(aa_rule_path(rule), &status) ? errno : 0;
	aa_rule_place_note(place, &status, code, notes);
	if (code)
		return;
	rule->has_file = true;
	rule->device = status.st_dev;
	rule->inode = status.st_ino;
	set->has_files = set->has_files || !S_ISDIR(status.st_mode);
	set->has_links = set->has_links || (!S_ISDIR(status.st_mode) && status.st_nlink > 1);
}

void aa_path_rules_look(struct aa_path_rules *rules)
{
	aa_rule_notes_clear(&rules->notes);
	atomic_store(rules->links_were_made, false);
	for (size_t list = 0; list < AA_RULE_LISTS; list++) {
		struct aa_rule_set *set = &rules->lists[list];

		while (set->count > set->given)
			free(set->rules[--set->count].text);
		set->has_files = set->has_links = false;
		for (size_t i = 0; i < set->given; i++) {
			struct aa_path_rule *rule = &set->rules[i];
			struct aa_rule_place place = { (enum aa_rule_list)list, rule->text, rule->is_glob,
						       rule->is_prefix };

			aa_rule_follow(set, &place, &rules->notes);
			aa_rule_look(set, rule, &place, &rules->notes);
		}
	}
}

void aa_path_rules_mark(struct aa_path_rules *rules)
{
	aa_path_rules_unmark(rules);
	for (size_t list = 0; list < AA_RULE_LISTS; list++) {
		const struct aa_rule_set *set = &rules->lists[list];

		for (size_t i = 0; list != AA_RULES_IGNORE && i < set->given; i++) {
			if (!set->rules[i].has_file)
				continue;
			if (rules->marks < 0)
				rules->marks = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
			if (rules->marks < 0)
				return;
			/* Nothing is read from it: that the mark is there is all. */
			inotify_add_watch(rules->marks, aa_rule_path(&set->rules[i]), IN_DELETE_SELF);
		}
	}
}

void aa_path_rules_unmark(struct aa_path_rules *rules)
{
	if (rules && rules->marks >= 0) {
		close(rules->marks);
		rules->marks = -1;
	}
}

const struct aa_rule_note *aa_path_rules_notes(const struct aa_path_rules *rules, size_t *ret_count)
{
	*ret_count = rules->notes.count;
	return rules->notes.notes;
}

void aa_path_rules_note_unseen(struct aa_path_rules *rules, size_t file, const char *reason)
{
	const struct aa_kernel_rule_file *unseen = &rules->kernel.files[file];

	aa_rule_notes_add(&rules->notes, (enum aa_rule_list)unseen->list, unseen->path,
			  "%s cannot be identified (%s): it is found by its name alone", unseen->path, reason);
}

bool aa_path_rules_match(const struct aa_path_rules *rules, enum aa_rule_list list, const char *path)
{
	return aa_set_matches(&rules->lists[list], path);
}

/* ---- for the kernel ---- */

/* What a rule comes down to there: a beginning of its text, with all below it or alone. */
struct aa_kernel_rule {
	const char *text;
	size_t length; /* 0: the root directory */
	enum aa_rule_list list;
	bool is_below, is_named;
};

/* The directory that it is in, which can only match more. */
static void aa_kernel_rule_widen(struct aa_kernel_rule *rule)
{
	while (rule->length && rule->text[--rule->length] != '/')
		;
	rule->is_below = true;
	rule->is_named = false;
}

/* False: only the core can tell what it ignores. What is to be kept may be more than the rule says. */
static bool aa_kernel_rule_take(const struct aa_path_rule *from, enum aa_rule_list list,
				struct aa_kernel_rule *ret_rule)
{
	*ret_rule = (struct aa_kernel_rule){ from->text, from->length, list, from->is_prefix,
					     !from->is_glob && !from->is_prefix && list != AA_RULES_IGNORE };
	if (list == AA_RULES_IGNORE)
		return !from->is_glob && from->length <= AA_RULE_WALK_BYTES;
	if (from->is_glob) {
		ret_rule->length = strcspn(from->text, "*?[");
		aa_kernel_rule_widen(ret_rule);
	}
	while (ret_rule->length > AA_RULE_WALK_BYTES)
		aa_kernel_rule_widen(ret_rule);
	return true;
}

/* As bpf/path.bpf.h walks: "/a/b" is "b\0a\0". */
static struct aa_rule_name aa_rule_name_of(const char *text, size_t length)
{
	struct aa_rule_name name = { .length = (uint32_t)length };
	size_t end = length, used = 0;

	while (end) {
		size_t start = end;

		while (text[--start] != '/')
			;
		memcpy(name.walk + used, text + start + 1, end - start - 1);
		used += end - start;
		end = start;
	}
	return name;
}

static int aa_by_rule_name(const void *one, const void *other)
{
	return memcmp(one, other, sizeof(struct aa_rule_name));
}

/* The shortest lengths there are, as many as there is room for: what is longer can be widened to one of them. */
static void aa_lengths_choose(const struct aa_kernel_rule *rules, size_t count, uint8_t ret_lengths[AA_RULE_LENGTHS])
{
	bool has[AA_RULE_WALK_BYTES + 1] = { false };
	size_t chosen = 0;

	for (size_t i = 0; i < count; i++)
		has[rules[i].length] = true;
	for (uint8_t length = 1; length <= AA_RULE_WALK_BYTES && chosen < AA_RULE_LENGTHS; length++)
		if (has[length])
			ret_lengths[chosen++] = length;
}

static void aa_kernel_name_add(struct aa_kernel_rules *kernel, struct aa_kernel_rule *rule)
{
	while (rule->length && !memchr(kernel->lengths, (int)rule->length, sizeof(kernel->lengths))) {
		if (rule->list == AA_RULES_IGNORE)
			return;
		aa_kernel_rule_widen(rule);
	}
	if (!rule->length) {
		kernel->of_all |= 1u << rule->list;
		return;
	}
	kernel->names[kernel->name_count].name = aa_rule_name_of(rule->text, rule->length);
	kernel->names[kernel->name_count].bits = (struct aa_rule_bits){
		.below = rule->is_below ? (uint16_t)(1u << rule->list) : 0,
		.whole = (uint16_t)(1u << rule->list),
		.named = rule->is_named ? (uint16_t)(1u << rule->list) : 0,
	};
	kernel->has_named = kernel->has_named || rule->is_named;
	kernel->name_count++;
}

/* Of several with one key one is made. */
static void aa_kernel_rules_merge(struct aa_kernel_rules *kernel)
{
	size_t kept = 0;

	qsort(kernel->names, kernel->name_count, sizeof(*kernel->names), aa_by_rule_name);
	for (size_t i = 0; i < kernel->name_count; i++) {
		if (kept && !aa_by_rule_name(&kernel->names[kept - 1], &kernel->names[i])) {
			kernel->names[kept - 1].bits.below |= kernel->names[i].bits.below;
			kernel->names[kept - 1].bits.whole |= kernel->names[i].bits.whole;
			kernel->names[kept - 1].bits.named |= kernel->names[i].bits.named;
		} else {
			kernel->names[kept++] = kernel->names[i];
		}
	}
	kernel->name_count = kept;
}

struct aa_kernel_rules *aa_path_rules_for_kernel(struct aa_path_rules *rules)
{
	struct aa_kernel_rules *kernel = &rules->kernel;
	struct aa_kernel_rule *taken;
	size_t count = 0, used = 0;

	free(kernel->names);
	free(kernel->files);
	*kernel = (struct aa_kernel_rules){ 0 };
	for (size_t list = 0; list < AA_RULE_LISTS; list++) {
		count += rules->lists[list].count;
		kernel->lists |= rules->lists[list].count ? 1u << list : 0;
	}
	taken = calloc(count + 1, sizeof(*taken));
	kernel->names = calloc(count + 1, sizeof(*kernel->names));
	kernel->files = calloc(count + 1, sizeof(*kernel->files));
	if (!taken || !kernel->names || !kernel->files) {
		free(taken);
		return NULL;
	}
	for (unsigned list = 0; list < AA_RULE_LISTS; list++) {
		for (size_t i = 0; i < rules->lists[list].count; i++) {
			const struct aa_path_rule *rule = &rules->lists[list].rules[i];

			used += aa_kernel_rule_take(rule, (enum aa_rule_list)list, &taken[used]);
			/* What is ignored goes by its name alone. */
			if (!rule->has_file || list == AA_RULES_IGNORE)
				continue;
			kernel->files[kernel->file_count++] =
				(struct aa_kernel_rule_file){ .path = aa_rule_path(rule), .list = list };
		}
	}
	aa_lengths_choose(taken, used, kernel->lengths);
	for (size_t i = 0; i < used; i++)
		aa_kernel_name_add(kernel, &taken[i]);
	free(taken);
	aa_kernel_rules_merge(kernel);
	/* Nothing is left out by them. */
	if (kernel->of_all & AA_RULE_BIT(SENSITIVE) || kernel->lists == AA_RULE_BIT(SENSITIVE))
		kernel->lists = 0;
	return kernel;
}

/* ---- events ---- */

/* A name as passed may have "//", "/./" and "/../": the same without, in `room` if need be. NULL: too long for it. */
static const char *aa_name_plain(const char *path, char *room)
{
	const char *at = path;
	size_t used = 0;

	while (*at && !(at[0] == '/' && (at[1] == '/' || at[1] == '.' || !at[1])))
		at++;
	if (!*at || path[0] != '/')
		return path;
	if (strlen(path) >= AA_NAME_ROOM)
		return NULL;
	for (at = path; *at;) {
		const char *component = at + strspn(at, "/"), *end = aa_component_end(component);
		size_t length = (size_t)(end - component);

		at = end;
		if (!length || (length == 1 && component[0] == '.'))
			continue;
		if (length == 2 && component[0] == '.' && component[1] == '.') {
			while (used && room[--used] != '/')
				;
			continue;
		}
		room[used++] = '/';
		memcpy(room + used, component, length);
		used += length;
	}
	if (!used)
		room[used++] = '/';
	room[used] = '\0';
	return room;
}

struct aa_event_names {
	const char *names[2]; /* plain; NULL: there is none, or it is not known */
	char rooms[2][AA_NAME_ROOM];
};

/* The kernel side says so of its events; of one that was made by hand stat(2)'s numbers must do. */
static bool aa_event_is_of_file(const struct aa_rule_set *set, enum aa_rule_list list,
				const struct aa_file_event *event)
{
	if (event->rule_files & AA_EVENT_FILES_LOOKED_AT)
		return event->rule_files & AA_FILE_OF_RULES(1u << list);
	/* Where the kind is not known they are those of the directory that a name starts from. */
	return event->present & AA_FIELD_FILE && event->present & AA_FIELD_KIND &&
	       aa_set_has_file(set, event->device, event->inode);
}

static bool aa_event_matches(const struct aa_path_rules *rules, enum aa_rule_list list,
			     const struct aa_file_event *event, const struct aa_event_names *names)
{
	const struct aa_rule_set *set = &rules->lists[list];

	if (aa_event_is_of_file(set, list, event))
		return true;
	return (names->names[0] && aa_set_matches(set, names->names[0])) ||
	       (names->names[1] && aa_set_matches(set, names->names[1]));
}

/* What acts on the entry of a directory, and not on what a symbolic link there leads to. */
static bool aa_acts_on_entry(uint8_t operation)
{
	return operation == AA_OPERATION_UNLINK || operation == AA_OPERATION_RMDIR ||
	       operation == AA_OPERATION_RENAME || operation == AA_OPERATION_MKDIR || operation == AA_OPERATION_MKNOD ||
	       operation == AA_OPERATION_SYMLINK;
}

/* Whether its names are all that it can have touched, as far as names go. */
static bool aa_names_are_certain(const struct aa_file_event *event, const struct aa_event_names *names)
{
	const char *raw;

	if (event->path_flags & (AA_PATH_TRUNCATED | AA_PATH_UNREADABLE | AA_PATH_UNREACHABLE) ||
	    (!names->names[0] && !(event->present & AA_FIELD_NO_PLACE)) ||
	    (event->present & AA_FIELD_NEW_PATH && !names->names[1] && !(event->present & AA_FIELD_NEW_NO_PLACE)))
		return false;
	switch (event->path_source) {
	case AA_PATH_SOURCE_FILE:
	case AA_PATH_SOURCE_DENTRY:
	case AA_PATH_SOURCE_FD_AT_RETURN:
		return true;
	case AA_PATH_SOURCE_DIR_AND_NAME:
		/* The kernel's own name of the directory, and one entry of it; of two names only the first is passed
		 * on. */
		raw = aa_file_event_raw_path(event);
		return raw && !strchr(raw, '/') && strcmp(raw, ".") != 0 && strcmp(raw, "..") != 0 &&
		       aa_acts_on_entry(event->operation) && !(event->present & AA_FIELD_NEW_PATH);
	default:
		return false;
	}
}

static bool aa_has_failed(const struct aa_file_event *event)
{
	return event->present & AA_FIELD_RESULT && event->result < 0;
}

/* It failed because of what there was under the name that it was asked for: where that led is not known. */
static bool aa_was_refused(const struct aa_file_event *event)
{
	switch (aa_has_failed(event) ? -event->result : 0) {
	case EACCES:
	case EPERM:
	case EROFS:
	case EEXIST:
	case EISDIR:
	case ENOTEMPTY:
	case EBUSY:
	case ETXTBSY:
	case ENXIO:
	case ENODEV:
	case EFBIG:
		return true;
	default:
		return false;
	}
}

/* Of an entry that is removed only the name is known: the file may have a rule under another one. */
static bool aa_has_unknown_file(const struct aa_file_event *event)
{
	return event->path_source == AA_PATH_SOURCE_DIR_AND_NAME && event->operation == AA_OPERATION_UNLINK &&
	       !aa_has_failed(event);
}

/* So that a rule of the list may be of the event's file, which its certain name does not tell. */
static bool aa_may_be_linked(const struct aa_path_rules *rules, enum aa_rule_list list,
			     const struct aa_file_event *event)
{
	const struct aa_rule_set *set = &rules->lists[list];

	if (event->rule_files & AA_EVENT_FILES_LOOKED_AT && event->rule_files & AA_FILE_MAY_BE_OF_RULES(1u << list))
		return true;
	return aa_has_unknown_file(event) && set->has_files &&
	       (set->has_links || atomic_load_explicit(rules->links_were_made, memory_order_relaxed));
}

/* Nothing sensitive was found: whether that means that there is nothing. */
static bool aa_is_sensitive_known(const struct aa_path_rules *rules, const struct aa_file_event *event,
				  const struct aa_event_names *names)
{
	const struct aa_rule_set *set = &rules->lists[AA_RULES_SENSITIVE];

	if (!set->count)
		return true;
	if (event->rule_files & AA_EVENT_FILES_LOOKED_AT &&
	    event->rule_files & AA_FILE_MAY_BE_OF_RULES(AA_RULE_BIT(SENSITIVE)))
		return false;
	if (aa_has_unknown_file(event) && set->has_files)
		return false;
	return aa_names_are_certain(event, names) ||
	       (aa_has_failed(event) && !aa_was_refused(event) && !(event->path_flags & AA_PATH_UNREACHABLE));
}

/* Each of its names, and at least one. */
static bool aa_is_ignored(const struct aa_rule_set *set, const struct aa_event_names *names)
{
	return names->names[0] && aa_set_matches(set, names->names[0]) &&
	       (!names->names[1] || aa_set_matches(set, names->names[1]));
}

static enum aa_rule_decision aa_decide(const struct aa_path_rules *rules, const struct aa_file_event *event,
				       bool *ret_is_known)
{
	const struct aa_rule_set *lists = rules->lists;
	const char *path = aa_file_event_path(event), *new_path = aa_file_event_new_path(event);
	struct aa_event_names names;
	bool is_certain;

	/* The name of what has no place is no path, however it begins: a memfd may be called "x/../../etc/passwd". */
	if (event->present & AA_FIELD_NO_PLACE)
		path = NULL;
	if (event->present & AA_FIELD_NEW_NO_PLACE)
		new_path = NULL;
	names.names[0] = path ? aa_name_plain(path, names.rooms[0]) : NULL;
	names.names[1] = new_path ? aa_name_plain(new_path, names.rooms[1]) : NULL;
	*ret_is_known = true;
	if (event->operation == AA_OPERATION_LINK && !aa_has_failed(event))
		atomic_store_explicit(rules->links_were_made, true, memory_order_relaxed);
	if (aa_event_matches(rules, AA_RULES_SENSITIVE, event, &names))
		return AA_RULE_KEEP_SENSITIVE;
	*ret_is_known = aa_is_sensitive_known(rules, event, &names);
	if (event->operation == AA_OPERATION_BLIND_SPOT || event->call >= AA_OPENERS_FIRST + AA_OPENER_KERNEL)
		return AA_RULE_KEEP;
	/* What failed touched nothing, and goes by what it asked for, if anybody knows that. */
	is_certain = (aa_has_failed(event) && !(event->path_flags & AA_PATH_UNREACHABLE)) ||
		     aa_names_are_certain(event, &names);
	if (lists[AA_RULES_IGNORE].count && is_certain && aa_is_ignored(&lists[AA_RULES_IGNORE], &names) &&
	    !aa_may_be_linked(rules, AA_RULES_SENSITIVE, event))
		return AA_RULE_LEAVE_OUT;
	if (lists[AA_RULES_WATCH].count && is_certain && !aa_event_matches(rules, AA_RULES_WATCH, event, &names) &&
	    !aa_may_be_linked(rules, AA_RULES_WATCH, event) && !aa_may_be_linked(rules, AA_RULES_SENSITIVE, event))
		return AA_RULE_LEAVE_OUT;
	return AA_RULE_KEEP;
}

enum aa_rule_decision aa_path_rules_decide(const struct aa_path_rules *rules, const struct aa_file_event *event)
{
	bool is_known;

	return aa_decide(rules, event, &is_known);
}

bool aa_path_rules_know_sensitive(const struct aa_path_rules *rules, const struct aa_file_event *event)
{
	bool is_known;

	aa_decide(rules, event, &is_known);
	return is_known;
}

bool aa_path_rules_apply(const struct aa_path_rules *rules, struct aa_file_event *event)
{
	enum aa_rule_decision decision = AA_RULE_KEEP;
	bool is_known = true;

	if (rules)
		decision = aa_decide(rules, event, &is_known);
	event->sensitive = decision == AA_RULE_KEEP_SENSITIVE;
	if (is_known)
		event->present |= AA_FIELD_SENSITIVE;
	else
		event->present &= ~(uint32_t)AA_FIELD_SENSITIVE;
	return decision != AA_RULE_LEAVE_OUT;
}

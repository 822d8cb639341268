// SPDX-License-Identifier: MIT
#include "preemption.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "tracefs.h"

#define AA_CONFIG_BYTES (1u << 20)
#define AA_MODE_BYTES 16

static bool aa_ends_word(char letter)
{
	return !letter || strchr(" \t\n", letter);
}

/* Whether `word` is one of the text's words. */
static bool aa_has_word(const char *text, const char *word)
{
	size_t length = strlen(word);

	for (const char *at = text; (at = strstr(at, word)); at += length)
		if ((at == text || aa_ends_word(at[-1])) && aa_ends_word(at[length]))
			return true;
	return false;
}

static enum aa_preemption_model aa_model_of_mode(const char *mode)
{
	if (!strcmp(mode, "none") || !strcmp(mode, "voluntary"))
		return AA_PREEMPTION_NONE;
	if (!strcmp(mode, "full") || !strcmp(mode, "lazy"))
		return AA_PREEMPTION_KERNEL;
	return AA_PREEMPTION_UNKNOWN;
}

static void aa_mode_copy(const char *from, char ret_mode[AA_MODE_BYTES])
{
	size_t length = strcspn(from, " )\t\n");

	if (length >= AA_MODE_BYTES)
		length = 0;
	memcpy(ret_mode, from, length);
	ret_mode[length] = '\0';
}

/* The one in brackets. */
static bool aa_mode_of_debugfs(const char *text, char ret_mode[AA_MODE_BYTES])
{
	const char *begin = text ? strchr(text, '(') : NULL;

	if (!begin)
		return false;
	aa_mode_copy(begin + 1, ret_mode);
	return true;
}

/* The last one counts; a word that the kernel does not know changes nothing. */
static bool aa_mode_of_parameters(const char *text, char ret_mode[AA_MODE_BYTES])
{
	static const char name[] = "preempt=";
	bool found = false;

	for (const char *at = text; at && (at = strstr(at, name)); at += sizeof(name) - 1) {
		char mode[AA_MODE_BYTES];

		if (at != text && !aa_ends_word(at[-1]))
			continue;
		aa_mode_copy(at + sizeof(name) - 1, mode);
		if (aa_model_of_mode(mode) == AA_PREEMPTION_UNKNOWN)
			continue;
		memcpy(ret_mode, mode, sizeof(mode));
		found = true;
	}
	return found;
}

/* What a kernel with PREEMPT_DYNAMIC begins with. */
static bool aa_mode_of_config(const char *text, char ret_mode[AA_MODE_BYTES])
{
	static const char *const modes[][2] = { { "CONFIG_PREEMPT_NONE=y", "none" },
						{ "CONFIG_PREEMPT_VOLUNTARY=y", "voluntary" },
						{ "CONFIG_PREEMPT_LAZY=y", "lazy" },
						{ "CONFIG_PREEMPT=y", "full" } };

	for (size_t i = 0; text && i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (aa_has_word(text, modes[i][0])) {
			snprintf(ret_mode, AA_MODE_BYTES, "%s", modes[i][1]);
			return true;
		}
	}
	return false;
}

void aa_preemption_judge(const struct aa_preemption_sources *sources, struct aa_preemption *ret_preemption)
{
	struct aa_preemption *found = ret_preemption;
	char mode[AA_MODE_BYTES];

	*found = (struct aa_preemption){ .model = AA_PREEMPTION_UNKNOWN };
	if (!sources->version) {
		snprintf(found->said, sizeof(found->said), "uname -v cannot be read");
	} else if (aa_has_word(sources->version, "PREEMPT_RT")) {
		found->model = AA_PREEMPTION_KERNEL;
		found->is_real_time = true;
		snprintf(found->said, sizeof(found->said), "uname -v: PREEMPT_RT");
	} else if (aa_has_word(sources->version, "PREEMPT_DYNAMIC")) {
		if (aa_mode_of_debugfs(sources->debugfs, mode))
			snprintf(found->said, sizeof(found->said), "debugfs sched/preempt: %s", mode);
		else if (aa_mode_of_parameters(sources->parameters, mode))
			snprintf(found->said, sizeof(found->said), "the kernel's parameters: preempt=%s", mode);
		else if (aa_mode_of_config(sources->config, mode))
			snprintf(found->said, sizeof(found->said), "the kernel's configuration: %s", mode);
		else
			mode[0] = '\0';
		found->model = aa_model_of_mode(mode);
		if (found->model == AA_PREEMPTION_UNKNOWN)
			snprintf(found->said, sizeof(found->said),
				 "PREEMPT_DYNAMIC, and debugfs sched/preempt cannot be read");
	} else if (aa_has_word(sources->version, "PREEMPT")) {
		found->model = AA_PREEMPTION_KERNEL;
		snprintf(found->said, sizeof(found->said), "uname -v: PREEMPT");
	} else {
		found->model = AA_PREEMPTION_NONE;
		snprintf(found->said, sizeof(found->said), "uname -v does not say PREEMPT");
	}
}

/* NULL: it cannot be read. */
static char *aa_text_read(int directory, const char *path, size_t room)
{
	int fd = openat(directory, path, O_RDONLY | O_CLOEXEC);
	char *text = fd >= 0 ? malloc(room) : NULL;
	size_t length = 0;
	ssize_t bytes = 0;

	while (text && length < room - 1 && (bytes = read(fd, text + length, room - 1 - length)) > 0)
		length += (size_t)bytes;
	if (fd >= 0)
		close(fd);
	if (!text || bytes < 0) {
		free(text);
		return NULL;
	}
	text[length] = '\0';
	return text;
}

void aa_preemption_read(struct aa_preemption *ret_preemption)
{
	char *debugfs = NULL, *parameters = NULL, *config = NULL, path[128];
	struct utsname name;
	bool is_known = !uname(&name), is_dynamic = is_known && aa_has_word(name.version, "PREEMPT_DYNAMIC");
	int directory = is_dynamic ? aa_debugfs_open() : -1;

	if (directory >= 0) {
		debugfs = aa_text_read(directory, "sched/preempt", 256);
		close(directory);
	}
	if (is_dynamic && !debugfs) {
		parameters = aa_text_read(AT_FDCWD, "/proc/cmdline", 65536);
		snprintf(path, sizeof(path), "/boot/config-%s", name.release);
		config = aa_text_read(AT_FDCWD, path, AA_CONFIG_BYTES);
	}
	aa_preemption_judge(
		&(struct aa_preemption_sources){ is_known ? name.version : NULL, debugfs, parameters, config },
		ret_preemption);
	free(debugfs);
	free(parameters);
	free(config);
}

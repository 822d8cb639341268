// SPDX-License-Identifier: MIT
#include "rule_files.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define AA_FILES_AT_ONCE 256u /* each list shows every open file of the machine */

#define AA_OVERLAYFS_MAGIC 0x794c7630 /* include/uapi/linux/magic.h */
#define AA_V9FS_MAGIC 0x01021997
#define AA_FUSE_MAGIC 0x65735546

/* Some of the rules' files, while they are open. */
struct aa_open_files {
	size_t first, count;
	int fds[AA_FILES_AT_ONCE]; /* -1: it could not be opened */
};

/* Opens the next ones; false: none could be for want of descriptors, and none is open. */
static bool aa_files_open(struct aa_kernel_rules *rules, struct aa_open_files *files)
{
	bool has_some = false;

	files->count = 0;
	while (files->count < AA_FILES_AT_ONCE && files->first + files->count < rules->file_count) {
		struct aa_kernel_rule_file *file = &rules->files[files->first + files->count];
		int fd = open(file->path, O_PATH | O_CLOEXEC);

		if (fd < 0 && (errno == EMFILE || errno == ENFILE) && has_some)
			return true;
		file->unseen = fd < 0 ? strerror(errno) : "the kernel does not show it";
		files->fds[files->count++] = fd;
		has_some = has_some || fd >= 0;
	}
	return has_some;
}

static void aa_files_close(struct aa_open_files *files)
{
	for (size_t i = 0; i < files->count; i++)
		if (files->fds[i] >= 0)
			close(files->fds[i]);
	files->first += files->count;
}

/* Of one that has the key already: both rules' lists. */
static int aa_file_add(int map, const struct aa_rule_key *key, const struct aa_rule_file *file)
{
	struct aa_rule_file known, sum = *file;

	if (!bpf_map_lookup_elem(map, key, &known))
		sum.known |= known.known;
	return bpf_map_update_elem(map, key, &sum, BPF_ANY) ? errno : 0;
}

/* How the number of a marked inode counts. */
enum aa_number_use {
	AA_NUMBER_OF_NOTHING, /* the address is all */
	AA_NUMBER_OF_FILE,
	AA_NUMBER_OF_SEVERAL, /* it may be another file's, too */
};

/*
 * 9p without a cache and FUSE make an inode for each name. Of files with several names that lie below an overlay each
 * name is an inode, with one number, until it is copied up; where the layers are of one file system, which is where
 * stat(2) shows the superblock's device, no other file has that number.
 */
static enum aa_number_use aa_number_use_of(int fd, const struct aa_rule_seen *seen)
{
	struct stat status;

	switch (seen->magic) {
	case AA_V9FS_MAGIC:
	case AA_FUSE_MAGIC:
		return AA_NUMBER_OF_FILE;
	case AA_OVERLAYFS_MAGIC:
		if (fstat(fd, &status) || S_ISDIR(status.st_mode) || status.st_nlink < 2)
			return AA_NUMBER_OF_NOTHING;
		return (major(status.st_dev) << 20 | minor(status.st_dev)) == seen->device ? AA_NUMBER_OF_FILE :
											     AA_NUMBER_OF_SEVERAL;
	default:
		return AA_NUMBER_OF_NOTHING;
	}
}

static int aa_file_identify(int map, struct aa_kernel_rule_file *rule, int fd, const struct aa_rule_seen *seen,
			    bool *ret_by_number)
{
	const uint32_t lists = 1u << rule->list;
	struct aa_rule_file file = { .address = seen->address,
				     .inode = seen->inode,
				     .mark = seen->mark,
				     .generation = seen->generation,
				     .known = AA_FILE_OF_RULES(lists) };
	enum aa_number_use use = seen->mark ? aa_number_use_of(fd, seen) : AA_NUMBER_OF_FILE;
	int result = 0;

	rule->unseen = NULL;
	if (seen->mark)
		result = aa_file_add(map, &(struct aa_rule_key){ .number = seen->address }, &file);
	if (result || use == AA_NUMBER_OF_NOTHING)
		return result;
	*ret_by_number = true;
	if (use == AA_NUMBER_OF_SEVERAL)
		file.known = AA_FILE_MAY_BE_OF_RULES(lists);
	return aa_file_add(map, &(struct aa_rule_key){ .number = seen->inode, .device = seen->device, .is_number = 1 },
			   &file);
}

static int aa_files_take(int map, struct aa_kernel_rules *rules, const struct aa_open_files *files,
			 const struct aa_rule_seen *seen, bool *ret_by_number)
{
	for (size_t i = 0; i < files->count; i++)
		if (files->fds[i] >= 0 && (uint32_t)files->fds[i] == seen->fd)
			return aa_file_identify(map, &rules->files[files->first + i], files->fds[i], seen,
						ret_by_number);
	return 0;
}

static struct aa_error *aa_files_look(struct aa_probes *probes, int map, struct aa_kernel_rules *rules,
				      const struct aa_open_files *files, bool *ret_by_number)
{
	struct aa_rule_seen seen[64];
	struct aa_error *error;
	size_t filled = 0;
	ssize_t bytes;
	int list, code = 0;

	error = aa_probes_list_own_files(probes, &list);
	if (error)
		return error;
	for (;;) {
		bytes = read(list, (char *)seen + filled, sizeof(seen) - filled);
		if (bytes < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		code = bytes < 0 ? errno : 0;
		if (bytes <= 0)
			break;
		filled += (size_t)bytes;
		for (size_t i = 0; !code && i < filled / sizeof(seen[0]); i++)
			code = aa_files_take(map, rules, files, &seen[i], ret_by_number);
		if (code)
			break;
		memmove(seen, seen + filled / sizeof(seen[0]), filled % sizeof(seen[0]));
		filled %= sizeof(seen[0]);
	}
	close(list);
	return code ? aa_error_create(AA_ERROR_SYSTEM, code, "looking for the files of the path rules: %s",
				      strerror(code)) :
		      NULL;
}

struct aa_error *aa_rule_files_identify(struct aa_probes *probes, int map, struct aa_kernel_rules *rules,
					bool *ret_by_number)
{
	struct aa_open_files files = { 0 };
	struct aa_error *error = NULL;

	*ret_by_number = false;
	while (!error && files.first < rules->file_count) {
		if (aa_files_open(rules, &files))
			error = aa_files_look(probes, map, rules, &files, ret_by_number);
		aa_files_close(&files);
	}
	return error;
}

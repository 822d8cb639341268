// SPDX-License-Identifier: MIT
/* Runs a fuzz target over files and folders of inputs, without the fuzzer: any compiler will do. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "input.h"

static size_t inputs;

static int replay_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	struct stat status;
	uint8_t *data;
	size_t size;

	if (!file || fstat(fileno(file), &status)) {
		perror(path);
		return 1;
	}
	/* A block of its exact size: a read beside it is found by the address sanitizer. */
	data = malloc(status.st_size ? (size_t)status.st_size : 1);
	size = data ? fread(data, 1, (size_t)status.st_size, file) : 0;
	fclose(file);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	inputs++;
	return 0;
}

static int replay_folder(const char *path)
{
	DIR *folder = opendir(path);
	struct dirent *entry;
	char name[4096];
	int failed = 0;

	if (!folder)
		return replay_file(path);
	while ((entry = readdir(folder))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		failed |= replay_file(name);
	}
	closedir(folder);
	return failed;
}

int main(int argc, char **argv)
{
	int failed = 0;

	for (int i = 1; i < argc; i++)
		failed |= replay_folder(argv[i]);
	if (!inputs) {
		fprintf(stderr, "%s: no input was found\n", argv[0]);
		return 1;
	}
	printf("%s: %zu inputs\n", argv[0], inputs);
	return failed;
}

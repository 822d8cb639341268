// SPDX-License-Identifier: MIT
/*
 * aa-fileio, the program: notes what Python changes as it starts, and becomes Python.
 *
 * CPython ignores SIGPIPE and SIGXFSZ from its start on, and sets LC_CTYPE in a C locale (PEP 538); afterwards nothing
 * tells what they were, and the traced command has to begin with what the shell gave. PYTHON* variables are the
 * command's, too: with -E the tracer does not heed them.
 *
 * Python and the rest of the program are found by a script of the name aa-fileio-main beside this file, which the
 * installer wrote: its first line names the interpreter.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#define FAILED 125 /* as every failure of aa-fileio itself */
#define MAIN "aa-fileio-main"

static int fail(const char *what)
{
	fprintf(stderr, "aa-fileio: %s: %s\n", what, strerror(errno));
	return FAILED;
}

static unsigned long long ignored_signals(void)
{
	unsigned long long ignored = 0;

	for (int number = 1; number <= 64; number++) {
		struct sigaction action;

		if (!sigaction(number, NULL, &action) && action.sa_handler == SIG_IGN)
			ignored |= 1ull << (number - 1);
	}
	return ignored;
}

/* The script beside this program; false with errno. */
static int find_main(char path[PATH_MAX])
{
	const char *own = (const char *)getauxval(AT_EXECFN);
	char *slash;

	if (!own || !realpath(own, path))
		return 0;
	slash = strrchr(path, '/');
	if (!slash || (size_t)(slash - path) + sizeof("/" MAIN) > PATH_MAX) {
		errno = ENAMETOOLONG;
		return 0;
	}
	memcpy(slash + 1, MAIN, sizeof(MAIN));
	return 1;
}

/* The interpreter in the script's first line, if that is all that it says; else "". */
static void find_python(const char *script, char python[PATH_MAX])
{
	FILE *file = fopen(script, "re");
	char line[PATH_MAX + 8];
	const char *base;

	python[0] = '\0';
	if (!file)
		return;
	if (fgets(line, sizeof(line), file) && !strncmp(line, "#!/", 3)) {
		line[strcspn(line, "\n")] = '\0';
		base = strrchr(line, '/') + 1;
		if (!strncmp(base, "python", 6) && !strpbrk(line, " \t") && strlen(line + 2) < PATH_MAX)
			memcpy(python, line + 2, strlen(line + 2) + 1);
	}
	fclose(file);
}

int main(int argc, char **argv)
{
	char script[PATH_MAX], python[PATH_MAX], start[64];
	const char *no_bytecode = getenv("PYTHONDONTWRITEBYTECODE");
	char **words;
	int count = 0;

	if (!find_main(script))
		return fail("its own folder");
	snprintf(start, sizeof(start), "%llx,%d", ignored_signals(), getenv("LC_CTYPE") != NULL);
	if (setenv("AA_FILEIO_START", start, 1))
		return fail("out of memory");
	words = calloc((size_t)argc + 5, sizeof(*words));
	if (!words)
		return fail("out of memory");
	find_python(script, python);
	if (python[0]) {
		words[count++] = python;
		words[count++] = "-E";
		if (no_bytecode && *no_bytecode)
			words[count++] = "-B";
	}
	words[count++] = script;
	for (int i = 1; i < argc; i++)
		words[count++] = argv[i];
	execv(words[0], words);
	fail(words[0]);
	free(words);
	return FAILED;
}

// SPDX-License-Identifier: MIT
/*
 * What a program is told before it is loaded, and the loading of the long ones beside libbpf. libbpf opens the real
 * object; from there on this file stands in for it and for the kernel.
 */
#include "probe_object.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "fileio_abi.h"
#include "../../bpf/syscalls.h" /* of what the skeleton has in .rodata */
#include "fileio.skel.h"
#include "kernel_types.h"

#define PROGRAMS_MAX 64

static char path[] = "/tmp/aa-probe-object-XXXXXX";

/* --- the stand-in --- */

/* The linker's names: see --wrap in the Makefile; and others' signatures. */
/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp,misc-unused-parameters) */

static libbpf_prog_prepare_load_fn_t prepare;
static const char *sections[16];
static int section_count;

static struct {
	const char *name;
	struct bpf_program *program;
	int fd;
	__u32 attach_id;
	bool is_short;
} loaded[PROGRAMS_MAX]; /* by libbpf */
static int loaded_count;
static int libbpf_result; /* of a load */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	char name[64];
	int fd;
	size_t count, casts, marks;
} longs[PROGRAMS_MAX]; /* past libbpf */
static int long_count, long_count_elsewhere, refused_logs;
static pthread_t self;
static const char *refused; /* the kernel does not take it */

int __wrap_libbpf_register_prog_handler(const char *section, enum bpf_prog_type type, enum bpf_attach_type attach_type,
					const struct libbpf_prog_handler_opts *options)
{
	CHECK(options->cookie == section_count);
	prepare = options->prog_prepare_load_fn;
	sections[section_count++] = section;
	return section_count;
}

static long cookie_of(const struct bpf_program *program)
{
	const char *name = bpf_program__section_name(program);
	size_t length = strcspn(name, "/");

	for (int i = 0; i < section_count; i++)
		if (strlen(sections[i]) == length + 1 && !strncmp(sections[i], name, length))
			return i;
	CHECK(!"a section that nobody is told of");
	return -1;
}

/* What libbpf loads is /dev/null, and what is loaded past it /dev/zero. */
static int device_open(const char *name)
{
	return open(name, O_RDONLY | O_CLOEXEC);
}

static bool is_device(int fd, const char *name)
{
	struct stat one, other;

	return !fstat(fd, &one) && !stat(name, &other) && one.st_rdev == other.st_rdev;
}

int __wrap_bpf_object__load_skeleton(struct bpf_object_skeleton *skeleton)
{
	struct bpf_program *program;

	bpf_object__for_each_program (program, *skeleton->obj) {
		LIBBPF_OPTS(bpf_prog_load_opts, options);
		int result;

		if (!bpf_program__autoload(program))
			continue;
		result = prepare(program, &options, cookie_of(program));
		if (result)
			return result;
		loaded[loaded_count].name = bpf_program__name(program);
		loaded[loaded_count].program = program;
		loaded[loaded_count].attach_id = options.attach_btf_id;
		loaded[loaded_count].is_short = bpf_program__insn_cnt(program) == 2;
		loaded[loaded_count++].fd = device_open("/dev/null");
	}
	return libbpf_result;
}

int __wrap_bpf_program__fd(const struct bpf_program *program)
{
	for (int i = 0; i < loaded_count; i++)
		if (loaded[i].program == program)
			return loaded[i].fd;
	return -1;
}

int __wrap_bpf_prog_load(enum bpf_prog_type type, const char *name, const char *license, const struct bpf_insn *code,
			 size_t count, const struct bpf_prog_load_opts *options)
{
	int fd;

	/* The kernel would take long enough for others to come, and for this thread to be back. */
	if (libbpf_result)
		usleep(100000);
	for (int waited = 0; pthread_equal(pthread_self(), self) && waited < 10000; waited++) {
		pthread_mutex_lock(&lock);
		fd = long_count_elsewhere + (refused != NULL);
		pthread_mutex_unlock(&lock);
		if (fd)
			break;
		usleep(1000);
	}
	pthread_mutex_lock(&lock);
	CHECK(!strcmp(license, AA_LICENSE) && count >= 1000 && options->sz == sizeof(*options));
	if (refused && !strcmp(name, refused)) {
		refused_logs += options->log_level == 1;
		if (options->log_level)
			snprintf(options->log_buf, options->log_size, "R1 is not what it should be\n");
		pthread_mutex_unlock(&lock);
		errno = EACCES;
		return -EACCES;
	}
	snprintf(longs[long_count].name, sizeof(longs[0].name), "%s", name);
	longs[long_count].fd = fd = device_open("/dev/zero");
	longs[long_count].count = count;
	long_count_elsewhere += !pthread_equal(pthread_self(), self);
	for (size_t i = 0; i < count; i++) {
		if (code[i].code == (BPF_JMP | BPF_CALL) && code[i].src_reg == BPF_PSEUDO_KFUNC_CALL)
			longs[long_count].casts++;
		if (code[i].imm >= AA_MARK_CAST && code[i].imm < AA_MARK_END)
			longs[long_count].marks++;
	}
	long_count++;
	pthread_mutex_unlock(&lock);
	return fd;
}

static char said[512];

static int say(enum libbpf_print_level level, const char *format, va_list arguments)
{
	size_t used = strlen(said);

	vsnprintf(said + used, sizeof(said) - used, format, arguments);
	return 0;
}

/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp,misc-unused-parameters) */

static void reset(void)
{
	for (int i = 0; i < loaded_count; i++)
		close(loaded[i].fd);
	loaded_count = long_count = long_count_elsewhere = refused_logs = libbpf_result = 0;
	refused = NULL;
	said[0] = '\0';
}

/* --- a kernel --- */

static struct aa_kernel_types *types_make(bool has_mount)
{
	struct btf *btf = btf__new_empty();
	int number = btf__add_int(btf, "int", 4, BTF_INT_SIGNED), proto;
	struct aa_kernel_types *types;
	const void *data;
	__u32 bytes;
	int fd;

	btf__add_typedef(btf, "btf_trace_sched_process_fork", number);
	btf__add_typedef(btf, "btf_trace_sys_exit", number);
	proto = btf__add_func_proto(btf, number);
	btf__add_func(btf, "bpf_iter_task", BTF_FUNC_STATIC, proto);
	btf__add_func(btf, "bpf_rdonly_cast", BTF_FUNC_STATIC, proto);
	btf__add_struct(btf, "unix_sock", 8);
#define AA_X(name)                                                                                                     \
	if (has_mount || strcmp(#name, "mount") != 0)                                                                  \
		btf__add_struct(btf, #name, 8);
	AA_MARKED_TYPES(AA_X)
#undef AA_X
	data = btf__raw_data(btf, &bytes);
	fd = open(path, O_WRONLY | O_TRUNC);
	CHECK(write(fd, data, bytes) == (ssize_t)bytes);
	close(fd);
	types = aa_kernel_types_create(path);
	btf__free(btf);
	return types;
}

static struct fileio_bpf *object_open(const struct aa_kernel_types *types, const char *const *names)
{
	struct bpf_program *program;
	struct fileio_bpf *object;
	int fd = -1;

	object = aa_probe_object_open(true, types, &fd);
	CHECK(object && fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
	close(fd);
	bpf_object__for_each_program (program, object->obj) {
		bpf_program__set_autoload(program, false);
		for (int i = 0; names[i]; i++)
			if (!strcmp(bpf_program__name(program), names[i]))
				bpf_program__set_autoload(program, true);
	}
	return object;
}

static int loaded_find(const char *name)
{
	for (int i = 0; i < loaded_count; i++)
		if (!strcmp(loaded[i].name, name))
			return i;
	return -1;
}

static int descriptors(void)
{
	int count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/* --- the tests --- */

static const char *const names[] = {
	"aa_process_fork", "aa_sys_exit", "aa_sys_exit_loop", "aa_kprobe_finish", "aa_list_tasks", "aa_watch_me", NULL
};

static void test_loaded(const struct aa_kernel_types *types)
{
	struct fileio_bpf *object = object_open(types, names);
	int before = descriptors();

	CHECK(!aa_probe_object_load(object, types, NULL, 0, say));
	CHECK(loaded_count == 6 && !said[0]);
	CHECK(loaded[loaded_find("aa_process_fork")].attach_id ==
	      aa_kernel_types_find(types, "btf_trace_sched_process_fork", BTF_KIND_TYPEDEF));
	CHECK(loaded[loaded_find("aa_list_tasks")].attach_id ==
	      aa_kernel_types_find(types, "bpf_iter_task", BTF_KIND_FUNC));
	CHECK(!loaded[loaded_find("aa_watch_me")].attach_id);
	/* One processor loads as libbpf does. */
	CHECK(long_count == 0 || long_count == 3);
	for (int i = 0; i < long_count; i++) {
		CHECK(longs[i].casts && !longs[i].marks);
		CHECK(loaded[loaded_find(longs[i].name)].is_short);
		CHECK(is_device(loaded[loaded_find(longs[i].name)].fd, "/dev/zero"));
	}
	CHECK(!long_count || long_count_elsewhere);
	CHECK(is_device(loaded[loaded_find("aa_watch_me")].fd, "/dev/null"));
	CHECK(descriptors() == before + loaded_count);
	fileio_bpf__destroy(object);
	reset();
}

static void test_refused(const struct aa_kernel_types *types)
{
	struct fileio_bpf *object = object_open(types, names);
	int before = descriptors();

	refused = "aa_sys_exit_loop";
	if (sysconf(_SC_NPROCESSORS_ONLN) > 1) {
		CHECK(aa_probe_object_load(object, types, NULL, 0, say) == -EACCES);
		CHECK(refused_logs == 1 && strstr(said, "prog 'aa_sys_exit_loop'") && strstr(said, "R1 is not"));
	}
	CHECK(descriptors() == before + loaded_count);
	fileio_bpf__destroy(object);
	reset();
	/* Refused by libbpf itself: that is what is told, and the rest is let be. */
	object = object_open(types, names);
	before = descriptors();
	libbpf_result = -ENOMEM;
	CHECK(aa_probe_object_load(object, types, NULL, 0, say) == -ENOMEM && !said[0]);
	CHECK(long_count < 3);
	CHECK(descriptors() == before + loaded_count);
	fileio_bpf__destroy(object);
	reset();
}

/* One of libbpf's trials was refused for a moment: it leaves the object's data out, and succeeds. */
static void test_without_data(const struct aa_kernel_types *types)
{
	struct fileio_bpf *object = object_open(types, names);

	CHECK(!bpf_map__set_autocreate(object->maps.bss, false));
	CHECK(aa_probe_object_load(object, types, NULL, 0, say) == -EAGAIN && strstr(said, "attach again"));
	fileio_bpf__destroy(object);
	reset();
	object = object_open(types, names);
	object->rodata = NULL;
	CHECK(aa_probe_object_load(object, types, NULL, 0, say) == -EAGAIN && strstr(said, "attach again"));
	fileio_bpf__destroy(object);
	reset();
}

static void test_places(const struct aa_kernel_types *types)
{
	static const char *const function[] = { "aa_sys_read_fentry", NULL };
	static const char *const unknown[] = { "aa_process_exit", NULL };
	struct fileio_bpf *object = object_open(types, function);
	struct aa_program_place place = { object->progs.aa_sys_read_fentry, 77 };

	/* The section of such a program names no function. */
	CHECK(aa_probe_object_load(object, types, NULL, 0, say) == -ESRCH);
	fileio_bpf__destroy(object);
	reset();
	object = object_open(types, function);
	place.program = object->progs.aa_sys_read_fentry;
	CHECK(!aa_probe_object_load(object, types, &place, 1, say) && loaded[0].attach_id == 77);
	fileio_bpf__destroy(object);
	reset();
	/* A tracepoint that this kernel does not have. */
	object = object_open(types, unknown);
	CHECK(aa_probe_object_load(object, types, NULL, 0, say) == -ESRCH);
	fileio_bpf__destroy(object);
	reset();
}

int main(void)
{
	struct aa_kernel_types *types;

	self = pthread_self();
	close(mkstemp(path));
	types = types_make(false);
	CHECK(!aa_probe_object_is_direct(types));
	aa_kernel_types_destroy(types);
	types = types_make(true);
	CHECK(aa_probe_object_is_direct(types));
	test_loaded(types);
	test_refused(types);
	test_without_data(types);
	test_places(types);
	aa_kernel_types_destroy(types);
	unlink(path);
	return CHECK_DONE();
}

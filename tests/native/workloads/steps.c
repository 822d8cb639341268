/* SPDX-License-Identifier: MIT */
/*
 * Performs lists of system calls that a test wrote beforehand, and nothing else: no call is made by libc once the lists
 * run, so what a tracer reports can be compared with the lists one to one.
 *
 * The lists come in a file, as standard input, that is mapped shared: arguments in, results and counts out. A result is
 * stored without a system call, the test reads it from the same mapping, and children and threads share it. The mapping
 * lies below 2 GiB so that 32-bit calls can use it too. tests/native/script.py writes the file and has the same layout.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define STACK_BYTES (64 << 10)

enum argument {
	ARGUMENT_VALUE,
	ARGUMENT_ADDRESS, /* offset in the file */
	ARGUMENT_RESULT,  /* of the step with this number */
	ARGUMENT_STORED,  /* the int at this offset in the file */
	ARGUMENT_STORED_LONG, /* the eight bytes there */
};

/* What is no system call. */
enum pseudo {
	STEP_WAIT = -1,	         /* flag, value: until the flag is at least that */
	STEP_ADD = -2,	         /* flag, value */
	STEP_THREAD = -3,        /* list: a thread that performs it */
	STEP_FORK = -4,	         /* list, pid or 0: a child that performs it, its very first call being the list's first */
	STEP_VFORK_EXEC = -5,    /* list: a vfork child that executes this program anew */
	STEP_SPAWN = -6,         /* list: the same by fork, and waits for the child's end */
	STEP_EXEC = -7,          /* list: this process executes this program anew */
	STEP_WAIT_THREAD = -8,   /* list: until that thread has ended */
	STEP_WAIT_CHILDREN = -9, /* until there is no child */
	STEP_WAIT_ORPHANED = -10, /* until the parent has exited */
	STEP_EXIT = -11,          /* status: of the whole process */
	STEP_POKE = -13,          /* address, value, how many bytes of it */
	STEP_SLEEP = -14,         /* milliseconds */
	STEP_REPEAT = -15,        /* list, times, flag: performs it that often, or until the flag is not 0 */
	STEP_EXIT_THREAD = -16,
	STEP_COMPAT = -1000, /* less the number of a call of the 32-bit table */
};

struct step {
	int32_t number;
	uint32_t repeat;
	uint8_t kinds[8]; /* enum argument */
	uint64_t args[6];
	int64_t result; /* of the last time */
	uint64_t done;	/* how often it returned */
	uint64_t failed;
	int64_t sum; /* of the results that were no error */
};

struct list {
	uint32_t first, count;
	uint32_t tid, pid;
	uint32_t alive; /* cleared by the kernel at a thread's end */
	uint32_t reserved;
};

struct file {
	uint64_t bytes;
	uint32_t lists_at, steps_at, program_at, reserved;
	uint32_t flags[32];
};

static struct file *file;

static inline long call(long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
	register uint64_t r10 __asm__("r10") = d;
	register uint64_t r8 __asm__("r8") = e;
	register uint64_t r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

/* By the 32-bit table. The sixth argument is in ebp, which is not ours to name; the red zone is left alone. */
static inline long compat_call(uint32_t number, const uint64_t *args)
{
	register uint64_t sixth __asm__("r12") = args[5];
	uint32_t result;

	__asm__ volatile("lea -128(%%rsp), %%rsp\n\t"
			 "push %%rbp\n\t"
			 "mov %%r12d, %%ebp\n\t"
			 "int $0x80\n\t"
			 "pop %%rbp\n\t"
			 "lea 128(%%rsp), %%rsp"
			 : "=a"(result)
			 : "a"(number), "b"((uint32_t)args[0]), "c"((uint32_t)args[1]), "d"((uint32_t)args[2]),
			   "S"((uint32_t)args[3]), "D"((uint32_t)args[4]), "r"(sixth)
			 : "r8", "r9", "r10", "r11", "memory");
	/* An address may lie above 2 GiB. */
	return result > -4096U ? (long)(int32_t)result : (long)result;
}

__attribute__((noreturn)) static void end(int status)
{
	for (;;)
		call(SYS_exit_group, (uint64_t)status, 0, 0, 0, 0, 0);
}

/* The test's own mistake, or a machine that lacks something: told by the exit status. */
static void must(bool holds, int status)
{
	if (!holds)
		end(status);
}

static void *at(uint64_t offset)
{
	return (char *)file + offset;
}

static struct list *list_at(uint64_t index)
{
	return (struct list *)at(file->lists_at) + index;
}

static struct step *step_at(uint64_t index)
{
	return (struct step *)at(file->steps_at) + index;
}

static void flag_wait(uint32_t *flag, uint32_t value)
{
	for (;;) {
		uint32_t now = __atomic_load_n(flag, __ATOMIC_ACQUIRE);

		if (now >= value)
			return;
		call(SYS_futex, (uint64_t)flag, FUTEX_WAIT, now, 0, 0, 0);
	}
}

static void flag_add(uint32_t *flag, uint32_t value)
{
	__atomic_add_fetch(flag, value, __ATOMIC_ACQ_REL);
	call(SYS_futex, (uint64_t)flag, FUTEX_WAKE, INT32_MAX, 0, 0, 0);
}

static void sleep_ms(uint64_t ms)
{
	struct timespec pause = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

	call(SYS_nanosleep, (uint64_t)&pause, 0, 0, 0, 0, 0);
}

static void perform(struct list *list);

__attribute__((noreturn)) static void run_thread(struct list *list)
{
	perform(list);
	for (;;)
		call(SYS_exit, 0, 0, 0, 0, 0, 0);
}

/*
 * What a call that fails early does not read, and nobody has touched, cannot be read by a probe either. A new process
 * has none of the pages of a mapped file.
 */
static void touch_pages(void)
{
	volatile const char *byte = (const char *)file;

	for (uint64_t offset = 0; offset < file->bytes; offset += 4096)
		(void)byte[offset];
}

__attribute__((noreturn)) static void run_process(struct list *list)
{
	touch_pages();
	/* The kernel has stored the thread's id before the child's first instruction. */
	list->pid = list->tid;
	perform(list);
	end(0);
}

/* Executes this program anew for a list; standard input is the file still. */
__attribute__((noreturn)) static void run_exec(struct list *list)
{
	char number[12], *digit = number + sizeof(number) - 1;
	uint64_t value = (uint64_t)(list - list_at(0));
	char *argv[] = {at(file->program_at), NULL, NULL};
	char *envp[] = {NULL};

	*digit = '\0';
	do
		*--digit = (char)('0' + value % 10);
	while (value /= 10);
	argv[1] = digit;
	call(SYS_execve, (uint64_t)argv[0], (uint64_t)argv, (uint64_t)envp, 0, 0, 0);
	end(90);
}

/* clone3 whose child starts in entry(list), before any other call; without a stack it goes on with a copy of ours. */
static long start(uint64_t flags, uint64_t exit_signal, void *stack, pid_t pid, void (*entry)(struct list *),
		  struct list *list)
{
	struct clone_args arguments = {
		.flags = flags | CLONE_PARENT_SETTID,
		.child_tid = (uint64_t)&list->alive,
		.parent_tid = (uint64_t)&list->tid,
		.exit_signal = exit_signal,
		.stack = (uint64_t)stack,
		.stack_size = stack ? STACK_BYTES : 0,
		.set_tid = pid ? (uint64_t)&pid : 0,
		.set_tid_size = pid ? 1 : 0,
	};
	register void *child_entry __asm__("r12") = (void *)entry;
	register void *child_list __asm__("r13") = list;
	long result;

	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "and $-16, %%rsp\n\t"
			 "mov %%r13, %%rdi\n\t"
			 "call *%%r12\n\t"
			 "hlt\n"
			 "1:"
			 : "=a"(result)
			 : "a"(SYS_clone3), "D"(&arguments), "S"(sizeof(arguments)), "r"(child_entry), "r"(child_list)
			 : "rcx", "r11", "memory");
	must(result > 0, 91);
	return result;
}

static void *stack_create(void)
{
	long stack = call(SYS_mmap, 0, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, (uint64_t)-1, 0);

	must(stack > 0, 92);
	return (void *)stack;
}

static void start_thread(struct list *list, uint32_t pid)
{
	list->pid = pid;
	__atomic_store_n(&list->alive, 1, __ATOMIC_RELEASE);
	start(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID, 0,
	      stack_create(), 0, run_thread, list);
}

static void wait_child(long pid)
{
	long result;

	do
		result = call(SYS_wait4, (uint64_t)pid, 0, 0, 0, 0, 0);
	while (result == -EINTR || (pid == -1 && result > 0));
	must(pid == -1 ? result == -ECHILD : result == pid, 93);
}

static int64_t perform_pseudo(struct step *step, const uint64_t *args, struct list *list)
{
	struct list *other = list_at(args[0]);
	uint64_t times;
	long child;

	switch (step->number) {
	case STEP_WAIT:
		flag_wait(&file->flags[args[0]], (uint32_t)args[1]);
		return 0;
	case STEP_ADD:
		flag_add(&file->flags[args[0]], (uint32_t)args[1]);
		return 0;
	case STEP_THREAD:
		start_thread(other, list->pid);
		return 0;
	case STEP_FORK:
		return start(0, SIGCHLD, NULL, (pid_t)args[1], run_process, other);
	case STEP_VFORK_EXEC:
		return start(CLONE_VM | CLONE_VFORK, SIGCHLD, stack_create(), 0, run_exec, other);
	case STEP_SPAWN:
		child = start(0, SIGCHLD, NULL, 0, run_exec, other);
		wait_child(child);
		return child;
	case STEP_EXEC:
		run_exec(other);
	case STEP_WAIT_THREAD:
		while (__atomic_load_n(&other->alive, __ATOMIC_ACQUIRE))
			call(SYS_futex, (uint64_t)&other->alive, FUTEX_WAIT, 1, 0, 0, 0);
		return 0;
	case STEP_WAIT_CHILDREN:
		wait_child(-1);
		return 0;
	case STEP_WAIT_ORPHANED:
		/* The parent was the process that performed list args[0]. */
		while (call(SYS_getppid, 0, 0, 0, 0, 0, 0) == other->pid)
			sleep_ms(1);
		return 0;
	case STEP_EXIT:
		end((int)args[0]);
	case STEP_EXIT_THREAD:
		call(SYS_exit, 0, 0, 0, 0, 0, 0);
		end(97);
	case STEP_POKE:
		memcpy((void *)args[0], &args[1], args[2]);
		return 0;
	case STEP_SLEEP:
		sleep_ms(args[0]);
		return 0;
	case STEP_REPEAT:
		for (times = 0; times < args[1] && !__atomic_load_n(&file->flags[args[2]], __ATOMIC_ACQUIRE); times++) {
			/* As ourselves: what it starts belongs to us. */
			other->pid = list->pid;
			perform(other);
		}
		return (int64_t)times;
	default:
		end(94);
	}
}

static void perform_step(struct step *step, struct list *list)
{
	uint64_t args[6], done, failed = 0;
	int64_t result = 0, sum = 0;
	int i;

	for (i = 0; i < 6; i++) {
		args[i] = step->args[i];
		if (step->kinds[i] == ARGUMENT_ADDRESS)
			args[i] = (uint64_t)at(args[i]);
		else if (step->kinds[i] == ARGUMENT_RESULT)
			args[i] = (uint64_t)__atomic_load_n(&step_at(args[i])->result, __ATOMIC_ACQUIRE);
		else if (step->kinds[i] == ARGUMENT_STORED)
			args[i] = (uint64_t)*(int *)at(args[i]);
		else if (step->kinds[i] == ARGUMENT_STORED_LONG)
			args[i] = *(uint64_t *)at(args[i]);
	}
	for (done = 0; done < step->repeat; done++) {
		if (step->number <= STEP_COMPAT)
			result = compat_call((uint32_t)(STEP_COMPAT - step->number), args);
		else if (step->number < 0)
			result = perform_pseudo(step, args, list);
		else
			result = call(step->number, args[0], args[1], args[2], args[3], args[4], args[5]);
		if (result < 0)
			failed++;
		else
			sum += result;
	}
	__atomic_store_n(&step->result, result, __ATOMIC_RELEASE);
	__atomic_add_fetch(&step->done, done, __ATOMIC_ACQ_REL);
	__atomic_add_fetch(&step->failed, failed, __ATOMIC_ACQ_REL);
	__atomic_add_fetch(&step->sum, sum, __ATOMIC_ACQ_REL);
}

static void perform(struct list *list)
{
	uint32_t i;

	for (i = 0; i < list->count; i++)
		perform_step(step_at(list->first + i), list);
}

int main(int argc, char **argv)
{
	struct list *list;
	struct stat stat;

	must(fstat(STDIN_FILENO, &stat) == 0, 95);
	file = mmap(NULL, (size_t)stat.st_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_32BIT, STDIN_FILENO, 0);
	must(file != MAP_FAILED && file->bytes == (uint64_t)stat.st_size, 96);
	list = list_at(argc > 1 ? (uint64_t)atoi(argv[1]) : 0);
	list->tid = (uint32_t)getpid();
	run_process(list);
}

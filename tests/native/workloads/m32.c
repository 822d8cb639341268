/* SPDX-License-Identifier: MIT */
/*
 * A 32-bit program: writes a file, reads it, maps it, renames it and removes it, by the entry that the kernel gives its
 * C library (AT_SYSINFO: sysenter or syscall) or by int 0x80. Its first argument is a folder, a second one says int 0x80.
 * Compiled with -m32 and without any library.
 */
typedef unsigned long word; /* 32 bits */

static word sysinfo;

static long enter(word number, word a, word b, word c, word d, word e, word f)
{
	word arguments[] = {number, a, b, c, d, e, f, sysinfo};
	long result;

	/* All seven registers but esp are taken. */
	__asm__ volatile("push %%ebp\n\t"
			 "push %%ebx\n\t"
			 "mov %%eax, %%esi\n\t"
			 "pushl 28(%%esi)\n\t"
			 "mov 0(%%esi), %%eax\n\t"
			 "mov 4(%%esi), %%ebx\n\t"
			 "mov 8(%%esi), %%ecx\n\t"
			 "mov 12(%%esi), %%edx\n\t"
			 "mov 20(%%esi), %%edi\n\t"
			 "mov 24(%%esi), %%ebp\n\t"
			 "mov 16(%%esi), %%esi\n\t"
			 "cmpl $0, (%%esp)\n\t"
			 "je 1f\n\t"
			 "call *(%%esp)\n\t"
			 "jmp 2f\n"
			 "1: int $0x80\n"
			 "2: add $4, %%esp\n\t"
			 "pop %%ebx\n\t"
			 "pop %%ebp"
			 : "=a"(result)
			 : "a"(arguments)
			 : "ecx", "edx", "esi", "edi", "memory");
	return result;
}

static __attribute__((noreturn)) void end(int status)
{
	for (;;)
		enter(252, (word)status, 0, 0, 0, 0, 0);
}

static void must(int holds, int status)
{
	if (!holds)
		end(status);
}

__attribute__((noreturn, used)) void run(word *stack)
{
	word count = stack[0];
	char **arguments = (char **)(stack + 1), **environment = arguments + count + 1;
	char buffer[8] = {0}, *old = "old", *new = "new";
	word *auxiliary;
	long fd;

	while (*environment)
		environment++;
	for (auxiliary = (word *)(environment + 1); auxiliary[0]; auxiliary += 2)
		if (auxiliary[0] == 32 && count < 3)
			sysinfo = auxiliary[1];
	must(count == 3 || sysinfo, 2);
	must(enter(12, (word)arguments[1], 0, 0, 0, 0, 0) == 0, 3);		     /* chdir */
	fd = enter(5, (word)old, 01102, 0600, 0, 0, 0);				     /* open O_CREAT O_TRUNC O_RDWR */
	must(fd >= 0, 4);
	must(enter(4, (word)fd, (word) "0123456789", 10, 0, 0, 0) == 10, 5);	     /* write */
	must(enter(180, (word)fd, (word)buffer, 4, 3, 0, 0) == 4, 6);		     /* pread64, position in two halves */
	must(buffer[0] == '3' && buffer[3] == '6', 7);
	must((word)enter(192, 0, 4096, 1, 2, (word)fd, 0) < -4095UL, 8);	     /* mmap2 */
	must(enter(324, (word)fd, 1, 0, 0, 4096, 0) == 0, 9);			     /* fallocate, ditto */
	must(enter(38, (word)old, (word)new, 0, 0, 0, 0) == 0, 10);		     /* rename */
	must(enter(301, -100UL, (word)new, 0, 0, 0, 0) == 0, 11);		     /* unlinkat */
	must(enter(10, (word)new, 0, 0, 0, 0, 0) == -2, 12);			     /* unlink */
	end(0);
}

__asm__(".globl _start\n"
	"_start: mov %esp, %eax\n\t"
	"and $-16, %esp\n\t"
	"sub $12, %esp\n\t"
	"push %eax\n\t"
	"call run");

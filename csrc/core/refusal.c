// SPDX-License-Identifier: MIT
#include "refusal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static long aa_bpf(int command, union bpf_attr *attr, size_t bytes)
{
	return syscall(SYS_bpf, command, attr, bytes);
}

bool aa_has_capabilities(void)
{
	const uint64_t trace = 1ull << CAP_BPF | 1ull << CAP_PERFMON;
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };
	uint64_t has;

	if (syscall(SYS_capget, &header, data))
		return true;
	has = data[0].effective | (uint64_t)data[1].effective << 32;
	return has & 1ull << CAP_SYS_ADMIN || (has & trace) == trace;
}

/* A program of one call, for which the kernel asks what it asks of every probe; 0 or an errno. */
static int aa_load_smallest(void)
{
	static const struct bpf_insn code[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_1, .src_reg = BPF_REG_10 },
		{ .code = BPF_ALU64 | BPF_ADD, .dst_reg = BPF_REG_1, .imm = -8 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_2, .imm = 8 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_3, .imm = 0 },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_probe_read_kernel },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	static const char license[] = "GPL";
	union bpf_attr attr;
	long fd;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_RAW_TRACEPOINT;
	attr.insn_cnt = sizeof(code) / sizeof(code[0]);
	attr.insns = (uint64_t)(uintptr_t)code;
	attr.license = (uint64_t)(uintptr_t)license;
	fd = aa_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
	if (fd < 0)
		return errno;
	close((int)fd);
	return 0;
}

/* bpf(2) refuses attributes larger than a page with E2BIG before it asks for anything else of who has the privileges.
 */
static bool aa_is_bpf_reached(void)
{
	char nothing[8] = { 0 };

	return aa_bpf(BPF_PROG_LOAD, (union bpf_attr *)nothing, 1u << 20) >= 0 || errno == E2BIG;
}

static bool aa_file_has(const char *path, const char *words)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[4096];
	ssize_t bytes;

	if (fd < 0)
		return false;
	bytes = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (bytes <= 0)
		return false;
	text[bytes] = '\0';
	return strstr(text, words);
}

/* Capabilities of another user namespace than the first are none for bpf(2). */
static bool aa_is_in_user_namespace(void)
{
	return !access("/proc/self/uid_map", F_OK) && !aa_file_has("/proc/self/uid_map", "4294967295");
}

static struct aa_error *aa_refused(int code, const char *cause, const char *remedy)
{
	return aa_error_with_remedy(aa_error_create(AA_ERROR_PERMISSION, code, "this process may not trace: %s", cause),
				    remedy);
}

static const char *aa_seccomp_remedy(void)
{
	if (!access("/run/.containerenv", F_OK))
		return "start the container with: podman run --security-opt seccomp=unconfined --cap-add "
		       "BPF,PERFMON,SYS_PTRACE …";
	if (!access("/.dockerenv", F_OK))
		return "start the container with: docker run --security-opt seccomp=unconfined --cap-add BPF --cap-add "
		       "PERFMON --cap-add SYS_PTRACE …";
	return "allow bpf and perf_event_open in what started this process: docker run --security-opt "
	       "seccomp=unconfined …, or of a unit: systemd-run -p SystemCallFilter= …";
}

struct aa_error *aa_refusal_find(void)
{
	bool is_locked_down = aa_file_has("/sys/kernel/security/lockdown", "[integrity]") ||
			      aa_file_has("/sys/kernel/security/lockdown", "[confidentiality]");
	int code;

	if (!aa_has_capabilities())
		return aa_refused(EPERM, "it has neither root's privileges (CAP_SYS_ADMIN) nor CAP_BPF and CAP_PERFMON",
				  "run as root (sudo), or with CAP_BPF and CAP_PERFMON (Debian's "
				  "perf_event_paranoid=3 keeps these two from kprobes, and from Linux 7.0 on from "
				  "tracepoints)");
	code = aa_load_smallest();
	if (!code)
		return NULL;
	if (aa_is_in_user_namespace())
		return aa_refused(code, "it is in a user namespace, where nobody is the kernel's root",
				  "run it outside of the namespace, where the process to trace has another number: "
				  "sudo aa-fileio attach -p PID");
	if (!aa_is_bpf_reached())
		return aa_refused(code, "a seccomp filter denies bpf(2)", aa_seccomp_remedy());
	if (is_locked_down)
		return aa_refused(code, "the kernel is locked down, so that no program may read its memory",
				  "boot it without lockdown= and without secure boot; cat "
				  "/sys/kernel/security/lockdown tells the present state");
	return aa_refused(code, "a security module (SELinux, AppArmor, …) refuses bpf(2) to root",
			  "see what it says of bpf: dmesg | grep -i -e denied -e bpf");
}

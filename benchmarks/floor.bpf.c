// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* The least a tracer can do: a record of the same size for each pread64() of one process. See floor.c. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

struct pt_regs {
	unsigned long orig_ax, ax;
} __attribute__((preserve_access_index));

char LICENSE[] SEC("license") = "Dual MIT/GPL";
volatile const __u32 tgid = 0;
volatile const __u64 number = 0;
__u64 full = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} ring SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} entries SEC(".maps");

static __always_inline int emit(__u64 entry_ns, __u64 result)
{
	__u64 *record = bpf_ringbuf_reserve(&ring, 48, 0), now_ns = bpf_ktime_get_boot_ns();
	if (!record) {
		__sync_fetch_and_add(&full, 1);
		return 0;
	}
	record[0] = bpf_get_current_pid_tgid();
	record[1] = now_ns;
	record[2] = now_ns - entry_ns;
	record[3] = result;
	record[4] = record[5] = 0;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}

static __always_inline int begin(void)
{
	__u64 *entry;
	if (bpf_get_current_pid_tgid() >> 32 != tgid)
		return 0;
	entry = bpf_task_storage_get(&entries, (void *)bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (entry)
		*entry = bpf_ktime_get_boot_ns();
	return 0;
}

static __always_inline int end(__u64 result)
{
	__u64 *entry;
	if (bpf_get_current_pid_tgid() >> 32 != tgid)
		return 0;
	entry = bpf_task_storage_get(&entries, (void *)bpf_get_current_task_btf(), 0, 0);
	if (!entry || !*entry)
		return 0;
	emit(*entry, result);
	*entry = 0;
	return 0;
}

static __always_inline int end_alone(__u64 result)
{
	return bpf_get_current_pid_tgid() >> 32 == tgid ? emit(0, result) : 0;
}

SEC("tp_btf/sys_enter") int tracepoint_enter(__u64 *ctx)
{
	return ctx[1] == number ? begin() : 0;
}
SEC("tp_btf/sys_exit") int tracepoint_exit(__u64 *ctx)
{
	return end(ctx[1]);
}
SEC("tp_btf/sys_exit") int tracepoint_exit_only(__u64 *ctx)
{
	struct pt_regs *regs = (void *)ctx[0];
	return regs->orig_ax == number ? end_alone(ctx[1]) : 0;
}
SEC("fentry/__x64_sys_pread64") int fentry_enter(__u64 *ctx)
{
	return begin();
}
SEC("fexit/__x64_sys_pread64") int fentry_exit(__u64 *ctx)
{
	return end(ctx[1]);
}
SEC("fexit/__x64_sys_pread64") int fentry_exit_only(__u64 *ctx)
{
	return end_alone(ctx[1]);
}
SEC("kprobe/__x64_sys_pread64") int kprobe_enter(void *ctx)
{
	return begin();
}
SEC("kretprobe/__x64_sys_pread64") int kprobe_exit(struct pt_regs *ctx)
{
	return end(ctx->ax);
}
SEC("kretprobe/__x64_sys_pread64") int kprobe_exit_only(struct pt_regs *ctx)
{
	return end_alone(ctx->ax);
}
SEC("kprobe.multi/__x64_sys_pread64") int multi_enter(void *ctx)
{
	return begin();
}
SEC("kretprobe.multi/__x64_sys_pread64") int multi_exit(struct pt_regs *ctx)
{
	return end(ctx->ax);
}

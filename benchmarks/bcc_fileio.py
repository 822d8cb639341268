# SPDX-License-Identifier: MIT
# mypy: ignore-errors
"""bcc_fileio.py PID FILE: what one writes first, by bcc: opens, reads, writes, unlinks and renames of one process."""

import select
import sys

from bcc import BPF

AT, NAME = ", int at, const char *name", ", const char *name"
CALLS = {"openat": AT, "pread64": "", "read": "", "pwrite64": "", "write": ""}
CALLS |= {"unlink": NAME, "unlinkat": AT, "rename": NAME, "renameat2": AT}
TEXT = """
#include <uapi/linux/ptrace.h>
struct event { u64 began, took; s64 result; u32 tid, call; char comm[16], name[256]; };
BPF_HASH(entries, u32, struct event);
BPF_PERF_OUTPUT(events);
static int left(struct pt_regs *ctx) {
    u32 tid = bpf_get_current_pid_tgid();
    struct event *event = entries.lookup(&tid);
    if (!event) return 0;
    event->took = bpf_ktime_get_ns() - event->began;
    event->result = PT_REGS_RC(ctx);
    events.perf_submit(ctx, event, sizeof(*event));
    entries.delete(&tid);
    return 0;
}
int leave(struct pt_regs *ctx) { return left(ctx); }
"""
ENTRY = """
int syscall__%s(struct pt_regs *ctx%s) {
    struct event event = {.began = bpf_ktime_get_ns(), .tid = bpf_get_current_pid_tgid(), .call = %d};
    if (bpf_get_current_pid_tgid() >> 32 != %s) return 0;
    bpf_get_current_comm(event.comm, sizeof(event.comm));
    %s;
    entries.update(&event.tid, &event);
    return 0;
}
"""
READ = "bpf_probe_read_user_str(event.name, sizeof(event.name), name)"
for number, (call, arguments) in enumerate(CALLS.items()):
    TEXT += ENTRY % (call, arguments, number, sys.argv[1], arguments and READ)
bpf = BPF(text=TEXT)
for call in CALLS:
    bpf.attach_kprobe(event=bpf.get_syscall_fnname(call), fn_name=f"syscall__{call}")
    bpf.attach_kretprobe(event=bpf.get_syscall_fnname(call), fn_name="leave")
with open(sys.argv[2], "w") as out:

    def tell(_cpu, data, _size):
        event = bpf["events"].event(data)
        print([*CALLS][event.call], event.tid, event.comm, event.result, event.took, event.name, file=out)

    bpf["events"].open_perf_buffer(tell, page_cnt=1024)
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        bpf.perf_buffer_poll(10)
    bpf.perf_buffer_poll(10)

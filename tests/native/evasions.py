# SPDX-License-Identifier: MIT
"""Ways to touch a file without being noticed, and what becomes of each: the one table.

docs/coverage.md is made from it (scripts/coverage.py), and test_evasion.py performs what it says, so that neither can
differ from it. Nothing is imported here but what everybody has.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Evasion:
    """One way, and exactly what a trace says of it."""

    name: str
    """Of the function in test_evasion.py that goes it; `file.py::test` where another test of tests/native/ does."""
    way: str
    """What is done, for the document."""
    told: str = ""
    """The operations that are told of the very file, in order; '': none."""
    announced: str = ""
    """The calls of the events of `blind_spot`, in order; '': none."""
    below: str | None = None
    """The same by kprobe and fentry, where that is more."""
    before: int = 0
    """How many of what it has already are counted as `blind_spots` when the trace begins."""
    denied: int = 0
    """How many calls the tracepoint backend counts as `denied`."""
    bypass: int = 0
    """How many opens kprobe and fentry count as `bypass`."""
    silent: str = ""
    """What of it is neither told nor announced, for the document."""
    remark: str = ""
    but: str = ""
    """Where all of it is silent: "no_compat", by the backends that cannot follow 32-bit calls."""


_BY_OTHERS = "all of it, unless the server is watched, too"
_UNFOLLOWED = "by fentry on kernels before 5.17 or so it is silent"
_AS_PASSED = "by tracepoint another file is named, `raced`: what stood there when the call returned"
_PASSED = "by tracepoint the name that was passed, `raced`, and no `inode`: it leads elsewhere afterwards"

EVASIONS = (
    # Names that lead elsewhere.
    Evasion("hard_link", "a hard link to the file", "open read", remark="under the name used, `inode` is the file's"),
    Evasion("symlink", "a symbolic link in its name", "open read"),
    Evasion("symlink_swapped", "a symbolic link that a thread changes meanwhile", "open"),
    Evasion("proc_self_root", "`/proc/self/root/…`", "open read"),
    Evasion("proc_self_fd", "an `O_PATH` descriptor, opened again by `/proc/self/fd/N`", "open read"),
    Evasion("proc_pid_root", "`/proc/PID/root/…` of a process with another root", "open read"),
    Evasion("proc_pid_fd", "`/proc/PID/fd/N` of a process that is not watched", "open read"),
    Evasion("map_files", "`/proc/self/map_files/…` of a mapping", "open read"),
    Evasion("open_by_handle", "`open_by_handle_at`", "open read"),
    Evasion("changed_root", "`chroot`", "open read", remark="named as the process sees it, and `other_root`"),
    Evasion("bind_mount", "a bind mount over another name, in mounts of its own", "mount open read"),
    Evasion("user_namespace", "a user namespace of its own", "open read"),
    Evasion("temporary_linked", "`O_TMPFILE`, written, then `linkat`", "open write link"),
    Evasion("exchanged", "`renameat2` with `RENAME_EXCHANGE`, then opened by the other name", "rename open read"),
    Evasion("whiteout", "`renameat2` with `RENAME_WHITEOUT`", "rename"),
    Evasion(
        "test_races.py::test_start_of_a_relative_name_is_changed",
        "a relative name, while a thread changes the directory",
        "open unlink rename",
        remark="or the name is `raced`",
    ),
    Evasion("test_races.py::test_working_directory_is_moved", "a directory that moves meanwhile", "open read unlink"),
    Evasion("test_races.py::test_names_that_are_overwritten", "a name that a thread writes over meanwhile", "open"),
    Evasion(
        "test_swaps.py::test_reads_are_named_for_what_was_read",
        "a descriptor that gets another file meanwhile",
        "read",
        remark="or without a name: `fd_changed`",
    ),
    Evasion(
        "test_swaps.py::test_opens_are_named_for_what_was_opened",
        "a descriptor that is replaced while an open returns it",
        "open",
        remark="or the name is `raced`",
    ),
    Evasion(
        "test_names.py::test_names_in_memory_that_is_not_there_yet", "a name in a page not resident", "open unlink"
    ),
    Evasion("userfault_open", "a name in a page that `userfaultfd` holds, opened", "open", "userfaultfd"),
    Evasion(
        "userfault_unlink",
        "the same, removed; what precedes it is changed while the call waits",
        announced="userfaultfd",
        below="unlink",
        remark=_AS_PASSED,
    ),
    Evasion(
        "userfault_before",
        "the same by a `userfaultfd` from before the trace",
        before=1,
        below="unlink",
        remark=_AS_PASSED,
    ),
    Evasion("fuse_open", "a file that FUSE delays to open; the name and what led to it change meanwhile", "open read"),
    Evasion("fuse_unlink", "the same, removed", "unlink", remark=_PASSED),
    Evasion(
        "fuse_rename",
        "a name that FUSE delays in the middle, while what follows is changed, renamed",
        "rename",
        remark=_PASSED,
    ),
    # Who does it.
    Evasion("daemon", "a grandchild in a session of its own, an orphan", "open read"),
    Evasion("clone_untraced", "`clone` with `CLONE_UNTRACED`", "open read"),
    Evasion("clone_parent", "`clone` with `CLONE_PARENT`", "open read"),
    Evasion("clone_files", "`clone` with `CLONE_FILES`: one opens, the other reads", "open read"),
    Evasion("test_tree.py::test_tree_from_the_start", "threads, `vfork`, `posix_spawn`, orphans", "open read"),
    Evasion("ptrace_into_child", "a call put into its own child by `ptrace`", "write"),
    Evasion("ptrace_into_stranger", "a call put into a process that is not watched", "", "ptrace"),
    Evasion("ptrace_from_outside", "a call put into it by a process that is not watched", "open", "ptrace"),
    Evasion("memory_of_a_stranger", "`process_vm_writev` into a process that is not watched", "", "process_vm_writev"),
    Evasion(
        "memory_from_outside",
        "`process_vm_writev` into it by a process that is not watched",
        "open",
        "process_vm_writev",
    ),
    Evasion(
        "proc_mem", "a write to the memory of another process, by `/proc/PID/mem`", "open write", remark="of that name"
    ),
    Evasion(
        "server_connected",
        "a server outside the tree does it, to which it is connected already: the work of another process",
        silent=_BY_OTHERS,
    ),
    Evasion(
        "server",
        "a server outside the tree does it, to which it connects: the work of another process",
        silent=_BY_OTHERS,
    ),
    Evasion(
        "test_blind_spots.py::test_work_that_is_handed_over",
        "a service manager, a message bus or a container engine does it",
        announced="connect",
        remark="at the usual places of their sockets",
    ),
    Evasion(
        "test_blind_spots.py::test_what_watched_processes_have_before_the_trace",
        "the same, by a connection from before the trace",
        before=2,
    ),
    # Descriptors from elsewhere.
    Evasion("test_descriptors.py::test_theme", "inherited, duplicated and kept descriptors", "read write"),
    Evasion("descriptor_received", "a descriptor received over a socket (`SCM_RIGHTS`)", "read", "recvmsg"),
    Evasion("descriptor_given", "a descriptor given away over a socket (`SCM_RIGHTS`)", "open", "sendmsg"),
    Evasion("descriptor_taken", "a descriptor taken from another process by `pidfd_getfd`", "read", "pidfd_getfd"),
    Evasion(
        "descriptor_taken_from_it",
        "a descriptor taken from it by a process that is not watched (`pidfd_getfd`)",
        "open",
        "pidfd_getfd",
    ),
    Evasion(
        "seccomp_notify",
        "another process opens it, by seccomp's notification and `ADDFD`",
        "read",
        before=1,
        denied=1,
        remark="the open is counted as `denied`",
    ),
    Evasion(
        "fanotify_event",
        "a descriptor that comes with an event of fanotify",
        "read",
        below="open read",
        bypass=1,
        remark="by kprobe, fentry the open is counted in `bypass`",
    ),
    # Other ways in.
    Evasion("int_0x80", "a 32-bit call of a 64-bit program", "open", remark=_UNFOLLOWED, but="no_compat"),
    Evasion("test_compat.py::test_a_32_bit_program", "a 32-bit program", "open read write"),
    Evasion("test_io_uring.py::test_every_operation", "io_uring", "open read write unlink", remark="from Linux 6.1 on"),
    Evasion("test_blind_spots.py::test_no_filter_keeps_it_back", "io_uring, older kernels", "", "io_uring_setup"),
    Evasion("asynchronous", "libaio", "open write"),
    Evasion("hole", "an `ioctl` that takes back its space (`FS_IOC_UNRESVSP`)", "open allocate read"),
    Evasion("shared_mapping", "a write into a shared mapping", "open", "mmap"),
    Evasion("made_writable", "the same, made writable by `mprotect` later", "open", "mmap"),
    Evasion(
        "memory_file",
        "a memory file that is executed (`execveat`)",
        "memfd write exec",
        below="memfd write open exec",
    ),
    # What the kernel opens for an exec.
    Evasion("script", "the interpreter of a script (`#!`)", below="open", silent="by tracepoint all of it"),
    Evasion("loader", "the loader of a program (`PT_INTERP`)", below="open", silent="by tracepoint all of it"),
    # Names that are only looked up.
    Evasion("handle", "`name_to_handle_at`", "stat"),
    Evasion("inotify", "`inotify_add_watch`", "stat"),
    Evasion("fanotify", "`fanotify_mark`", "stat"),
    Evasion("file_system", "`statfs`", "stat"),
    Evasion("tree", "`open_tree`", "mount"),
)

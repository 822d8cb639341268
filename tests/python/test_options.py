# SPDX-License-Identifier: MIT
"""What KprobeManager refuses, and what it says then. Nothing here attaches."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest

from aa_fileio import KPROBE_TARGETS, SYSCALLS, Kind, KprobeManager, Op

PIDS = [
    (True, TypeError, "pid must be an int or None, not bool"),
    (1.0, TypeError, "pid must be an int or None, not float"),
    ("1", TypeError, "pid must be an int or None, not str"),
    (b"1", TypeError, "pid must be an int or None, not bytes"),
    ([1], TypeError, "pid must be an int or None, not list"),
    (0, ValueError, "pid is 0"),
    (-1, ValueError, "pid is negative: -1"),
    (-(2**63), ValueError, "pid is negative: -9223372036854775808"),
    (-(2**100), ValueError, "pid is negative: -1267650600228229401496703205376"),
    (4194305, ValueError, "pid is too large: 4194305"),
    (2**31, ValueError, "pid is too large: 2147483648"),
    (2**63, ValueError, "pid is too large: 9223372036854775808"),
    (2**200, ValueError, "pid is too large: "),
]

OPTIONS = [
    ({"follow": 1}, TypeError, "follow must be a bool, not int"),
    ({"follow": None}, TypeError, "follow must be a bool, not NoneType"),
    ({"latency": "yes"}, TypeError, "latency must be a bool, not str"),
    ({"errors_only": 1}, TypeError, "errors_only must be a bool, not int"),
    ({"min_duration_ns": 1.5}, TypeError, "min_duration_ns must be an int, not float"),
    ({"min_duration_ns": True}, TypeError, "min_duration_ns must be an int, not bool"),
    ({"min_duration_ns": -1}, ValueError, "min_duration_ns must be from 0 to 9223372036854775806, not -1"),
    ({"min_duration_ns": 2**64}, ValueError, "must be from 0 to 9223372036854775806, not 18446744073709551616"),
    ({"min_duration_ns": 1, "latency": False}, ValueError, "min_duration_ns needs durations"),
    ({"until": "end"}, ValueError, "until must be 'tree' or 'root', not 'end'"),
    ({"until": "TREE"}, ValueError, "until must be"),
    ({"until": None}, TypeError, "until must be"),
    ({"ops": []}, ValueError, "ops is empty"),
    ({"ops": iter(())}, ValueError, "ops is empty"),
    ({"ops": "reed"}, ValueError, "ops: unknown name 'reed'; known are: open, read, write, unlink, rmdir, rename"),
    ({"ops": ["open", "OPEN"]}, ValueError, "ops: unknown name 'OPEN'"),
    ({"ops": ["open\0"]}, ValueError, "ops: unknown name"),
    ({"ops": ["\udcff"]}, ValueError, "ops: unknown name"),
    ({"ops": ""}, ValueError, "ops: unknown name ''"),
    ({"ops": [1]}, TypeError, "ops must hold names, not 1"),
    ({"ops": [None]}, TypeError, "ops must hold names, not None"),
    ({"ops": [b"open"]}, TypeError, "ops must hold names, not b'open'"),
    ({"ops": b"open"}, TypeError, "ops must be an iterable of names or None, not bytes"),
    ({"ops": 3}, TypeError, "ops must be an iterable of names or None, not int"),
    ({"ops": True}, TypeError, "ops must be an iterable of names or None, not bool"),
    ({"kinds": ["file", "dri"]}, ValueError, "kinds: unknown name 'dri'; known are: file, dir, symlink, memfd, device"),
    ({"kinds": []}, ValueError, "kinds is empty"),
    ({"kinds": "modify"}, ValueError, "kinds: unknown name 'modify'"),
    ({"kinds": 1}, TypeError, "kinds must be an iterable of names or None, not int"),
    ({"backend": "kprobes"}, ValueError, "backend: unknown name 'kprobes'; known are: kprobe"),
    ({"backend": ""}, ValueError, "backend: unknown name ''"),
    ({"backend": 1}, TypeError, "backend must be a str or None, not int"),
    *(
        ({name: value}, kind, message)
        for name in ("ring_bytes", "queue_bytes")
        for value, kind, message in [
            (True, TypeError, "must be an int, not bool"),
            (4096.0, TypeError, "must be an int, not float"),
            ("4096", TypeError, "must be an int, not str"),
            (None, TypeError, "must be an int, not NoneType"),
            (0, ValueError, "from 4096 to 1073741824, not 0"),
            (1, ValueError, "from 4096 to 1073741824, not 1"),
            (-4096, ValueError, "from 4096 to 1073741824, not -4096"),
            (4095, ValueError, "from 4096 to 1073741824, not 4095"),
            (2**31, ValueError, "from 4096 to 1073741824, not 2147483648"),
            (2**80, ValueError, "from 4096 to 1073741824, not 1208925819614629174706176"),
        ]
    ),
    ({"max_delay_ms": 0}, ValueError, "max_delay_ms must be from 1 to 20, not 0"),
    ({"max_delay_ms": 21}, ValueError, "max_delay_ms must be from 1 to 20, not 21"),
    ({"max_delay_ms": 1.0}, TypeError, "max_delay_ms must be an int, not float"),
    ({"totals": 1}, TypeError, "totals must be a bool, not int"),
    ({"events": None}, TypeError, "events must be a bool, not NoneType"),
    ({"events": False}, ValueError, "events=False leaves nothing without totals=True"),
    ({"totals_rows": 64}, ValueError, "totals_rows needs totals=True"),
    *(
        ({"totals": True, "totals_rows": value}, kind, message)
        for value, kind, message in [
            (True, TypeError, "totals_rows must be an int, not bool"),
            (64.0, TypeError, "totals_rows must be an int, not float"),
            (0, ValueError, "totals_rows must be a power of two from 64 to 1048576, not 0"),
            (32, ValueError, "not 32"),
            (100, ValueError, "not 100"),
            (-64, ValueError, "not -64"),
            (2**21, ValueError, "not 2097152"),
            (2**90, ValueError, f"not {2**90}"),
        ]
    ),
    ({"ring_bytes": 5000}, ValueError, "ring_bytes must be a power of two from 4096 to 1073741824, not 5000"),
]

# What later work will bring is not there yet, not even as a stub.
LATER_OPTIONS = ["strict", "watch", "sensitive", "ignore", "min_duration_ns"]
LATER_NAMES = ["mark"]


@pytest.mark.parametrize(("pid", "kind", "message"), PIDS)
def test_a_wrong_pid_is_refused_by_the_constructor_and_by_attach(pid: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as from_constructor:
        KprobeManager(pid)
    assert message in str(from_constructor.value)
    manager = KprobeManager(4_000_000)
    with pytest.raises(kind) as from_attach:
        manager.attach(pid)
    assert message in str(from_attach.value)
    assert manager.pid == 4_000_000


@pytest.mark.parametrize(("options", "kind", "message"), OPTIONS)
def test_a_wrong_option_is_refused_with_what_may_stand_there(
    options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as caught:
        KprobeManager(1, **options)
    assert message in str(caught.value)
    assert next(iter(options)) in str(caught.value)


@pytest.mark.parametrize("name", LATER_OPTIONS)
def test_later_options_are_absent(name: str) -> None:
    with pytest.raises(TypeError):
        KprobeManager(1, **{name: True})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", LATER_NAMES)
def test_later_names_are_absent(name: str) -> None:
    assert not hasattr(KprobeManager, name)
    assert not hasattr(KprobeManager(1), name)


def test_options_other_than_the_pid_are_named() -> None:
    with pytest.raises(TypeError):
        KprobeManager(1, True)  # type: ignore[misc]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ops": "open"},
        {"ops": Op.OPEN},
        {"ops": [Op.OPEN, "read"]},
        {"ops": {"modify", "access"}},
        {"ops": "modify"},
        {"ops": (op for op in Op)},
        {"kinds": Kind.PIPE},
        {"kinds": list(Kind)},
        {"until": "root"},
        {"until": "tree", "follow": False, "latency": False},
        {"errors_only": True, "min_duration_ns": 0},
        {"min_duration_ns": 2**62},
        {"ring_bytes": 4096, "queue_bytes": 5000},
        {"ring_bytes": 1 << 30, "queue_bytes": 1 << 30},
        {"backend": "kprobe"},
        {"backend": "tracepoint"},
        {"totals": True},
        {"max_delay_ms": 1},
        {"max_delay_ms": 20},
        {"totals": True, "totals_rows": 64, "events": False},
        {"totals": True, "totals_rows": 1 << 20, "latency": False},
        {"totals": False, "events": True},
    ],
)
def test_right_options_are_taken(options: dict[str, Any]) -> None:
    manager = KprobeManager(1, **options)
    assert (manager.pid, manager.backend, manager.is_attached) == (1, None, False)


def test_an_exception_of_the_given_iterable_comes_through() -> None:
    def broken() -> Iterator[str]:
        yield "open"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        KprobeManager(ops=broken())
    with pytest.raises(ValueError, match="unknown name"):
        KprobeManager(ops=map(str, itertools.count()))


class Number:
    def __index__(self) -> int:
        return 7


def test_anything_that_is_an_integer_may_be_a_pid() -> None:
    assert KprobeManager(Number()).pid == 7  # type: ignore[arg-type]
    assert KprobeManager(4194304).pid == 4194304
    assert KprobeManager().pid is None
    assert KprobeManager(None).pid is None


@pytest.mark.parametrize(
    ("timeout", "kind"),
    [
        (True, TypeError),
        ("1", TypeError),
        (b"1", TypeError),
        (bytearray(b"1"), TypeError),
        ([], TypeError),
        (1j, TypeError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        (float("-inf"), ValueError),
        (-1, ValueError),
        (-0.001, ValueError),
        (-(10**400), ValueError),
    ],
)
def test_a_wrong_timeout_is_refused(timeout: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="timeout"):
        KprobeManager(1).poll(timeout)


@pytest.mark.parametrize("timeout", [None, 0, 0.5, Fraction(1, 3), 1e300, 10**400, -0.0])
def test_a_right_timeout_is_taken(timeout: Any) -> None:
    with pytest.raises(RuntimeError, match="not attached"):
        KprobeManager(1).poll(timeout)


@pytest.mark.parametrize(
    ("max_events", "kind"),
    [(True, TypeError), (1.0, TypeError), ("1", TypeError), (0, ValueError), (-1, ValueError), (-(2**99), ValueError)],
)
def test_a_wrong_max_events_is_refused(max_events: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="max_events"):
        KprobeManager(1).poll(0, max_events)


def test_reading_needs_an_attach() -> None:
    manager = KprobeManager(1)
    with pytest.raises(RuntimeError, match=r"not attached: call attach\(\)"):
        manager.poll(0)
    with pytest.raises(RuntimeError, match="not attached"):
        next(manager)
    with pytest.raises(RuntimeError, match="not attached"):
        list(manager)
    assert manager.targets == ()
    assert manager.stats.performed == 0
    manager.detach()
    manager.detach(wait=False)


def test_after_close_only_close_is_attached_stats_and_repr_work() -> None:
    manager = KprobeManager(1)
    manager.close()
    manager.close()
    assert manager.is_attached is False
    assert manager.stats.delivered == 0
    assert repr(manager) == "<KprobeManager pid=1 closed>"
    calls: list[Any] = [
        manager.attach,
        lambda: manager.attach(1),
        manager.detach,
        manager.poll,
        manager.fileno,
        manager.__next__,
        manager.__enter__,
        lambda: manager.pid,
        lambda: manager.backend,
        lambda: manager.passed_over,
        lambda: manager.targets,
    ]
    for call in calls:
        with pytest.raises(ValueError, match="closed"):
            call()


def test_a_manager_cannot_be_copied_pickled_or_made_anew() -> None:
    manager = KprobeManager(1)
    for call in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            call(manager)
    with pytest.raises(RuntimeError, match="once"):
        manager.__init__(2)  # type: ignore[misc]
    assert manager.pid == 1


def test_a_subclass_that_forgets_the_constructor_is_told_so() -> None:
    class Forgetful(KprobeManager):
        def __init__(self) -> None:
            pass

    manager = Forgetful()
    assert manager.is_attached is False
    assert repr(manager) == "<Forgetful not initialised>"
    manager.close()
    for call in (manager.attach, manager.poll, manager.detach, lambda: manager.stats, lambda: manager.pid):
        with pytest.raises(RuntimeError, match="__init__"):
            call()


def test_a_subclass_works() -> None:
    class Mine(KprobeManager):
        extra = 3

    assert repr(Mine(5)) == "<Mine pid=5 not attached>"


def test_only_a_spawned_manager_has_a_process() -> None:
    with pytest.raises(AttributeError, match="spawn"):
        _ = KprobeManager(1).process


def test_spawn_refuses_what_it_cannot_start_before_starting_anything() -> None:
    for argv, kind, message in [
        ("ls -l", TypeError, "list"),
        (b"ls", TypeError, "list"),
        ([], ValueError, "empty"),
        (["ls", "a\0b"], ValueError, "null byte"),
        (["ls", 1], TypeError, "int"),
        ([""], FileNotFoundError, "No such file"),
    ]:
        with pytest.raises(kind, match=message):
            KprobeManager.spawn(argv)  # type: ignore[arg-type]
    for options, other, text in [
        ({"pid": 1}, TypeError, "takes no pid"),
        ({"ops": "reed"}, ValueError, "unknown name"),
        ({"strict": True}, TypeError, "strict"),
        ({"env": {"A=B": "c"}}, ValueError, "environment"),
        ({"env": {"A": "c\0"}}, ValueError, "null"),
        ({"cwd": "a\0b"}, ValueError, "null"),
        ({"user": True}, TypeError, "user"),
        ({"user": -1}, ValueError, "user"),
        ({"user": 2**32 - 1}, ValueError, "too large"),
        ({"group": 1.5}, TypeError, "group"),
        ({"user": "no such user"}, KeyError, "no such user"),
        ({"stdin": -2}, ValueError, "stderr"),
        ({"stdout": -7}, ValueError, "descriptor"),
        ({"stdout": True}, TypeError, "bool"),
    ]:
        with pytest.raises(other, match=text):
            KprobeManager.spawn(["true"], **options)  # type: ignore[arg-type]


def test_the_fourteen() -> None:
    pairs = [
        ("aa_sys_openat", "__x64_sys_openat"),
        ("aa_sys_read", "__x64_sys_read"),
        ("aa_sys_write", "__x64_sys_write"),
        ("aa_sys_unlink", "__x64_sys_unlinkat"),
        ("aa_sys_unlink_legacy", "__x64_sys_unlink"),
        ("aa_sys_rename", "__x64_sys_renameat2"),
        ("aa_sys_rename_legacy", "__x64_sys_rename"),
    ]
    expected = [entry for program, function in pairs for entry in ((program, function), (program + "_ret", function))]
    assert list(KPROBE_TARGETS) == expected
    assert len(KPROBE_TARGETS) == 14
    assert KprobeManager.KPROBE_TARGETS is KPROBE_TARGETS


def test_the_table_of_system_calls() -> None:
    by_name = {call.name: call for call in SYSCALLS}
    assert len(by_name) == len(SYSCALLS) >= 7
    assert by_name["openat"] == ("openat", 257, Op.OPEN, "aa_sys_openat", "__x64_sys_openat")
    assert by_name["renameat2"].op is Op.RENAME
    assert {target for target in KPROBE_TARGETS if not target[0].endswith("_ret")} <= {
        (call.program, call.function) for call in SYSCALLS
    }

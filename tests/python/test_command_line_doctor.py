# SPDX-License-Identifier: MIT
"""What `aa-fileio doctor` says, over made-up machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import aa_fileio
from aa_fileio import BackendReport
from aa_fileio.integrations.command_line import main
from aa_fileio.integrations.doctor import Facts, doctor_lines, doctor_object, gather_facts, remedies

REPORTS = (
    BackendReport("kprobe", False, "no CONFIG_KPROBES"),
    BackendReport("fentry", False, "refused: EPERM"),
    BackendReport("tracepoint", True, None),
)
ROOT = Facts(
    system="Linux",
    kernel="6.1.0",
    machine="x86_64",
    python="3.11.7",
    capabilities=frozenset({"CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN"}),
    perf_event_paranoid=3,
    lockdown="none",
    has_btf=True,
    has_kprobes=True,
)


def test_it_says_what_would_be_used_and_why_not_the_others() -> None:
    text = "\n".join(doctor_lines(REPORTS, ROOT))
    assert "kprobe      not usable: no CONFIG_KPROBES" in text
    assert "tracepoint  usable, would be used here" in text
    assert text.endswith("aa-fileio can trace here, by tracepoint.")


def test_a_second_usable_backend_is_named_with_its_option() -> None:
    lines = list(doctor_lines((BackendReport("fentry", True, None), BackendReport("tracepoint", True, None)), ROOT))
    assert "tracepoint  usable with --backend tracepoint" in lines


def test_without_privilege_the_remedy_names_it_and_the_whole_path_for_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aa_fileio.integrations.failures.shutil.which", lambda name: f"/a venv/bin/{name}")
    poor = ROOT._replace(capabilities=frozenset({"CAP_BPF"}))
    (remedy,) = remedies(REPORTS, poor)
    assert "sudo '/a venv/bin/aa-fileio'" in remedy and "CAP_BPF and CAP_PERFMON" in remedy
    assert remedies(REPORTS, ROOT) == []


def test_where_all_is_usable_there_is_nothing_to_mend() -> None:
    assert remedies(REPORTS[2:], ROOT._replace(capabilities=frozenset())) == []


def test_paranoia_stops_kprobes_only_for_those_without_sys_admin() -> None:
    some = ROOT._replace(capabilities=frozenset({"CAP_BPF", "CAP_PERFMON"}))
    (remedy,) = remedies(REPORTS, some)
    assert "perf_event_paranoid is 3" in remedy
    assert remedies(REPORTS, some._replace(perf_event_paranoid=2)) == []
    assert remedies(REPORTS, some._replace(has_kprobes=False)) == []
    assert remedies(REPORTS[1:], some) == []


def test_lockdown_has_its_own_remedy_and_another_system_none() -> None:
    (remedy,) = remedies(REPORTS, ROOT._replace(lockdown="confidentiality"))
    assert "lockdown" in remedy
    assert remedies(REPORTS, ROOT._replace(system="Darwin", capabilities=None)) == []


def test_facts_are_read_from_the_system(tmp_path: Path) -> None:
    for name, text in {
        "proc/self/status": "Name:\tx\nCapEff:\t000000c000200000\n",
        "proc/sys/kernel/perf_event_paranoid": "3\n",
        "sys/kernel/security/lockdown": "none [integrity] confidentiality\n",
        "sys/kernel/btf/vmlinux": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    facts = gather_facts(tmp_path)
    assert facts.capabilities == frozenset({"CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN"})
    assert facts.perf_event_paranoid == 3
    assert facts.lockdown == "integrity"
    assert facts.has_btf


def test_what_cannot_be_read_is_unknown_and_not_assumed(tmp_path: Path) -> None:
    facts = gather_facts(tmp_path)
    assert (facts.capabilities, facts.perf_event_paranoid, facts.lockdown, facts.has_btf) == (None, None, None, False)
    assert facts.may_load is None
    assert list(doctor_lines(REPORTS, facts))


def test_the_object_has_the_choice_first() -> None:
    record = doctor_object(REPORTS, ROOT)
    assert record["backend"] == "tracepoint"
    assert record["backends"][0] == {"name": "kprobe", "usable": False, "reason": "no CONFIG_KPROBES"}
    assert record["remedies"] == []
    assert record["capabilities"] == ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN"]


def test_the_command_prints_it_and_its_status_tells_whether_a_trace_is_possible(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(aa_fileio, "backends", lambda: REPORTS)
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["backend"] == "tracepoint"
    monkeypatch.setattr(aa_fileio, "backends", lambda: REPORTS[:2])
    assert main(["doctor"]) == 1
    assert capsys.readouterr().out.endswith("aa-fileio cannot trace here.\n")

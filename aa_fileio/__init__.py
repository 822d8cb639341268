# SPDX-License-Identifier: MIT
"""Which files did a process tree really touch?

For instance::

    from aa_fileio import KprobeManager

    with KprobeManager(pid) as m:
        for event in m:
            print(event.op, event.path)
    print(m.stats.complete)
"""

from __future__ import annotations

import logging as _logging

from aa_fileio._native import EventBatch, FileEvent, backends
from aa_fileio.errors import BackendUnavailable, FileIOError, PermissionDenied, ProbeAttachError
from aa_fileio.events import BLIND_SPOTS, Kind, Op, PathFlag, PathSource, Via
from aa_fileio.ledger import BackendReport, Health, PassedOver, RuleNote, Stats, SyscallInfo, Target
from aa_fileio.manager import KPROBE_TARGETS, SYSCALLS, KprobeManager, keep_loaded
from aa_fileio.process import SpawnedProcess
from aa_fileio.rules import DEFAULT_SENSITIVE
from aa_fileio.totals import Total, Totals
from aa_fileio.verdict import Reason, Verdict, VerdictForm

__all__ = [
    "BLIND_SPOTS",
    "DEFAULT_SENSITIVE",
    "KPROBE_TARGETS",
    "SYSCALLS",
    "BackendReport",
    "BackendUnavailable",
    "EventBatch",
    "FileEvent",
    "FileIOError",
    "Health",
    "Kind",
    "KprobeManager",
    "Op",
    "PassedOver",
    "PathFlag",
    "PathSource",
    "PermissionDenied",
    "ProbeAttachError",
    "Reason",
    "RuleNote",
    "SpawnedProcess",
    "Stats",
    "SyscallInfo",
    "Target",
    "Total",
    "Totals",
    "Verdict",
    "VerdictForm",
    "Via",
    "backends",
    "keep_loaded",
]

_logging.getLogger("aa_fileio").addHandler(_logging.NullHandler())

# SPDX-License-Identifier: MIT
"""The exceptions of this package. Wrong values and wrong moments are ValueError, TypeError and RuntimeError as
everywhere; a process that is gone is ProcessLookupError."""

from __future__ import annotations

import errno as _errno

__all__ = ["BackendUnavailable", "FileIOError", "PermissionDenied", "ProbeAttachError"]


class FileIOError(Exception):
    """Base of every exception that is this package's own."""


class ProbeAttachError(FileIOError, OSError):
    """The probes could not be attached. Nothing is left attached."""

    program: str | None
    """The BPF program it was about."""
    function: str | None
    """The kernel function or tracepoint it was about."""
    libbpf_log: str | None
    """What libbpf and the kernel's verifier said, in full."""
    remedy: str | None
    """What to do about it."""

    def __init__(
        self,
        errno: int | None = None,
        message: str = "",
        *,
        program: str | None = None,
        function: str | None = None,
        libbpf_log: str | None = None,
        remedy: str | None = None,
    ) -> None:
        # OSError keeps both in .args, from which pickle builds it again; the rest travels in __dict__.
        super().__init__(errno, message)
        self.program = program
        self.function = function
        self.libbpf_log = libbpf_log
        self.remedy = remedy

    def __str__(self) -> str:
        text = str(self.strerror)
        probe = [part for part in (self.program, self.function) if part and part not in text]
        if probe:
            text += f" ({' on '.join(probe)})"
        name = _errno.errorcode.get(self.errno) if self.errno else None
        if name and name not in text:
            text += f" [{name}]"
        if self.remedy:
            text += f"\n{self.remedy}"
        return text


class PermissionDenied(ProbeAttachError, PermissionError):
    """This process may not attach probes here; ``remedy`` says what is missing."""


class BackendUnavailable(ProbeAttachError):
    """This kernel or platform has no such backend."""

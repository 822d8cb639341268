# SPDX-License-Identifier: MIT
"""Types and documentation of the extension module. Not for use from outside: import from ``aa_fileio``.

Wherever a value has a unit, the name says it (``_ns``, ``_bytes``) or the text does.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, ClassVar, Literal, NoReturn, Self, TypedDict, Unpack, final

from typing_extensions import disjoint_base

from aa_fileio.events import Kind, Op, PathFlag, PathSource, Via
from aa_fileio.ledger import BackendReport, PassedOver, RuleNote, Stats, Target
from aa_fileio.process import StrOrBytesPath

class _EventFields(TypedDict, total=False):
    timestamp_ns: int
    time: datetime
    duration_ns: int | None
    pid: int
    tid: int
    ppid: int
    comm: str
    uid: int
    cgroup_id: int
    syscall: str
    via: str
    path: str | None
    new_path: str | None
    raw_path: str | None
    path_source: str
    path_flags: PathFlag
    fd: int | None
    dirfd: int | None
    flags: int | None
    mode: int | None
    count: int | None
    offset: int | None
    bytes: int | None
    return_code: int | None
    errno: int | None
    device: int | None
    inode: int | None
    kind: str | None
    changes: bool
    sensitive: bool | None
    seq: int

@final
class FileEvent:
    """One finished call. Immutable, hashable, equal when every field is, picklable; `match` takes (op, path).

    A field that does not apply is None. Made by the manager, or for tests and exporters from keyword arguments. `op` is
    required, and with a path `path_source`. What is left out: tid = pid; syscall = the first call of that operation (of
    io_uring or AIO, the first such request); return_code from errno or bytes; device and inode together 0 if one is
    given; time as if the machine had been started at 1970-01-01; else 0, '' or None. Wrong types are TypeError, wrong
    values ValueError.
    """

    __match_args__: ClassVar[tuple[Literal["op"], Literal["path"]]]

    def __new__(cls, *, op: str | int, **fields: Unpack[_EventFields]) -> Self: ...
    @property
    def timestamp_ns(self) -> int:
        """When the call had returned and its names were read, by CLOCK_BOOTTIME.

        A rename that ended before the call's entry is in them, and one that began after this time is not.
        """

    @property
    def time(self) -> datetime:
        """The same as an aware datetime in UTC, by the difference of the clocks at attach."""

    @property
    def duration_ns(self) -> int | None:
        """From the entry to timestamp_ns; None when the entry was not looked at (latency=False)."""

    @property
    def pid(self) -> int:
        """In the reader's pid namespace, 0 if it is not visible there; the same for tid and ppid."""

    @property
    def tid(self) -> int: ...
    @property
    def ppid(self) -> int: ...
    @property
    def comm(self) -> str:
        """Name of the thread, at most 15 bytes, as os.fsdecode() gives it."""

    @property
    def uid(self) -> int:
        """The real user id."""

    @property
    def cgroup_id(self) -> int: ...
    @property
    def op(self) -> Op | int:
        """What the call does. An operation this version does not know is an int."""

    @property
    def syscall(self) -> str:
        """The exact call's name, as "openat"; of a request of io_uring its opcode's, as "IORING_OP_OPENAT"; of
        Linux AIO its command's, as "IOCB_CMD_PREAD"."""

    @property
    def via(self) -> Via:
        """By a call of its own, or by a request of io_uring: the event is then of the thread that submitted it, and the
        time of its completion counts. Or by a request of Linux AIO, told when io_submit() returns."""

    @property
    def path(self) -> str | None:
        """As os.fsdecode() gives it, so that os.fsencode() gives back the exact bytes; never ''. See path_source."""

    @property
    def new_path(self) -> str | None:
        """The second name: rename."""

    @property
    def raw_path(self) -> str | None:
        """The name as passed, which may be ''; None for calls by descriptor."""

    @property
    def path_source(self) -> PathSource:
        """Where the names come from."""

    @property
    def path_flags(self) -> PathFlag:
        """What is wrong with the names; false when nothing is."""

    @property
    def fd(self) -> int | None:
        """The descriptor used, or the one an open returned; a place in the table of a ring of io_uring is none."""

    @property
    def dirfd(self) -> int | None:
        """Of the first name; -100 is AT_FDCWD."""

    @property
    def flags(self) -> int | None:
        """As passed: O_… bits, AT_… bits, RENAME_… bits."""

    @property
    def mode(self) -> int | None:
        """Permission bits as passed, where a file may be made."""

    @property
    def count(self) -> int | None:
        """Bytes asked for."""

    @property
    def offset(self) -> int | None:
        """Position in the file before the call, in bytes."""

    @property
    def bytes(self) -> int | None:
        """Bytes moved, 0 on failure; None for a call that moves none."""

    @property
    def return_code(self) -> int | None:
        """As the kernel returned it: -errno on failure; also -512 and such, which the caller never sees. None for a
        request of io_uring that asked for no completion (IOSQE_CQE_SKIP_SUCCESS): it is told when it is submitted, for
        its success is not told by anything. If it fails, a second event of it says so. None, too, for a request of
        Linux AIO that the kernel took."""

    @property
    def errno(self) -> int | None:
        """0 on success; None where return_code is."""

    @property
    def device(self) -> int | None:
        """Of the superblock, in the encoding of os.makedev(): what /proc/self/mountinfo has as major:minor. stat(2)'s
        st_dev is another one on btrfs and overlayfs. See `inode`."""

    @property
    def inode(self) -> int | None:
        """Of the object that `path` names. Where only the directory is known that a relative name starts from (`kind`
        is None then), that directory's."""

    @property
    def kind(self) -> Kind | None:
        """What kind of object it is, if the object itself is known."""

    @property
    def changes(self) -> bool:
        """The call is one that changes a file, a name or an attribute, or opens a file for that: it is of the group
        "writes". One that failed counts as what it would have done; of an open whose flags could not be read it is
        True."""

    @property
    def sensitive(self) -> bool | None:
        """A rule of `sensitive` matched; None: whether it is one of these files is not known."""

    @property
    def seq(self) -> int:
        """Order of emission, from 0 in each ledger."""

    def _asdict(self) -> dict[str, Any]:
        """Every field by its name, in the order above; FileEvent(**that) equals this event."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, memo: Any, /) -> Self: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class EventBatch:
    """Events as columns. Immutable; made by KprobeManager.read_batch(), or from FileEvents for tests and exporters.

    By its index and by iteration it gives the events themselves, equal to those that poll() would have given.

    It speaks the Arrow PyCapsule protocol, so that pyarrow.record_batch(batch), polars.DataFrame(batch) and others take
    it without a copy; what they have taken stays valid when the batch, its manager or the interpreter is gone, and may
    be released by any thread. Each field of FileEvent is a column of that name, null where the event has None:

    - `time`: timestamp[ns, UTC], to the nanosecond
    - `comm`, `path`, `new_path`, `raw_path`: dictionary<int32, utf8>; bytes that are not UTF-8 are shown as \\xNN
    - `comm_bytes`, `path_bytes`, `new_path_bytes`, `raw_path_bytes`: binary, the exact bytes of a name that is not
      UTF-8, and null for one that is
    - `op`, `syscall`, `via`, `path_source`, `kind`: dictionary<int16, utf8>; an operation this version does not know is
      its number
    - the others: integers; `path_flags` is PathFlag's value, `changes` and `sensitive` 1 or 0

    The dictionaries belong to the batch: an index means something in it only.
    """

    def __new__(cls, events: Iterable[FileEvent] = ()) -> Self: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> FileEvent: ...
    def __iter__(self) -> Iterator[FileEvent]: ...
    @property
    def column_names(self) -> tuple[str, ...]:
        """FileEvent's fields in their order, then the exact bytes of its strings."""

    def to_arrow(self) -> Any:
        """A pyarrow.RecordBatch over the same memory; needs pyarrow."""

    def to_pandas(self) -> Any:
        """A pandas.DataFrame; needs pandas and pyarrow. Integers are nullable ones (Int64 and the like)."""

    def to_polars(self) -> Any:
        """A polars.DataFrame; needs polars."""

    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        """Capsules of the schema and of one struct array. A requested schema is not followed: no column is cast."""

    def __copy__(self) -> Self: ...
    def __deepcopy__(self, memo: Any, /) -> Self: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@disjoint_base
class KprobeManager:
    """The native part of aa_fileio.KprobeManager, which documents the options."""

    def __init__(
        self,
        pid: int | None = None,
        *,
        follow: bool = True,
        until: Literal["tree", "root"] = "tree",
        ops: Iterable[str] | None = None,
        kinds: Iterable[str] | None = None,
        errors_only: bool = False,
        min_duration_ns: int = 0,
        backend: str | None = None,
        latency: bool = True,
        multi: bool = True,
        totals: bool = False,
        totals_rows: int = 16384,
        events: bool = True,
        max_delay_ms: int = 5,
        ring_bytes: int = 16777216,
        queue_bytes: int = 8388608,
        watch: Iterable[StrOrBytesPath] | None = None,
        sensitive: Iterable[StrOrBytesPath] | None = None,
        ignore: Iterable[StrOrBytesPath] | None = None,
        witness_io: bool = False,
    ) -> None: ...
    def attach(self, pid: int | None = ..., *, held: bool = False) -> None: ...
    def detach(self, *, wait: bool = True) -> None: ...
    def close(self) -> None: ...
    def poll(self, timeout: float | None = None, max_events: int | None = None) -> list[FileEvent] | None:
        """Waits for events: at least one, [] on time-out, None at the end of the stream.

        timeout in seconds; None: wait; 0: do not. At most `max_events`, or without it 65536. One reader at a time:
        RuntimeError for a second. A signal is handled while it waits and loses no event. detach() and close() in
        another thread wake it.
        """

    def read_batch(self, timeout: float | None = None, max_events: int | None = None) -> EventBatch | None:
        """As poll(), but the events come as columns: an empty batch on time-out, None at the end of the stream.

        At most `max_events`, or without it 8192, but not more than a batch can hold: two gigabytes of different names.
        When memory runs short the batch holds what had room, and the rest is still queued; MemoryError if that is
        nothing.
        """

    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """A capsule of a stream of batches, which ends where poll() gives None; see EventBatch.

        It reads when its receiver asks for the next batch, and is then the one reader; where another one reads, that
        fails. A signal that arrives in the main thread ends it with EINTR, so that Ctrl-C works; what was not read yet
        can still be read. It ends when the manager is closed or dropped.
        """

    def fileno(self) -> int:
        """An eventfd for select, poll and epoll (level-triggered): readable exactly when poll(0) would return events,
        or None, at once."""

    def __iter__(self) -> Self:
        """Waits for each event; ends as `until` says, or after detach, once everything captured was delivered."""

    def __next__(self) -> FileEvent: ...
    def _health(self, timeout: float | None, /) -> tuple[int, int | None, tuple[str, ...]]: ...
    def _total_rows(
        self,
    ) -> list[tuple[FileEvent | None, Op | int, int, int, int, int, int, tuple[int, ...]]]:
        """(first event, op, start of the process in ns, calls, errors, bytes, duration in ns, histogram)"""

    def __reduce__(self) -> NoReturn: ...
    def __reduce_ex__(self, protocol: Any, /) -> NoReturn: ...
    @property
    def is_attached(self) -> bool:
        """Probes are attached. False in a forked child: they are its parent's."""

    @property
    def pid(self) -> int | None:
        """The process to watch; None: the whole system."""

    @property
    def backend(self) -> str | None:
        """The way in that is or was in use; None before the first successful attach."""

    @property
    def passed_over(self) -> tuple[PassedOver, ...]:
        """The backends that stood before the one in use, and why they were not taken."""

    @property
    def rule_notes(self) -> tuple[RuleNote, ...]:
        """What is to be known of path rules, as they were at the last attach: symbolic links, names that are not there
        yet, directories without a slash, files of a kind that was not selected."""

    @property
    def targets(self) -> tuple[Target, ...]:
        """What is attached, read back from the kernel where it tells; () when nothing is."""

    @property
    def stats(self) -> Stats:
        """The ledger as it stands now."""

@final
class HeldProcess:
    """A command that was forked and waits to exec. Killed and reaped when it is dropped without release()."""

    def __new__(
        cls,
        *,
        executables: Iterable[bytes],
        argv: Iterable[bytes],
        env: Iterable[bytes] | None,
        cwd: bytes | None,
        stdio: tuple[int, int, int],
        start_new_session: bool,
        uid: int | None,
        gid: int | None,
        close_fds: bool,
        pass_fds: Iterable[int],
        groups: Iterable[int] | None,
        ignored: int | None,
        keep_capabilities: bool,
        keep_death_signal: bool,
        uses_shell: bool,
    ) -> Self:
        """executables: candidates in order; stdio: descriptors to become 0, 1 and 2, -1 inherits; ignored: bit
        number - 1 of each signal that is ignored, None: as subprocess has it."""

    @property
    def pid(self) -> int: ...
    def release(self) -> None:
        """Lets it exec. OSError with execve's errno when it cannot; the child is reaped then."""

    def close(self) -> None:
        """Kills and reaps it unless it was released."""

@final
class SignalWitness:
    """A process of ours in the same process group, which counts the signals that it is sent. OSError when it cannot be
    made. Ends with the thread that made it."""

    def __new__(cls) -> Self: ...
    def counts(self) -> list[int]:
        """How often each signal has come by now, by its number. OSError when the process does not answer."""

    def close(self) -> None:
        """Ends the process."""

def calls() -> tuple[tuple[str, int, Op, str, str, bool], ...]:
    """The table of system calls: (name, number, op, program, function, origin)."""

def decide(
    event: FileEvent,
    *,
    watch: Iterable[StrOrBytesPath] | None = None,
    sensitive: Iterable[StrOrBytesPath] | None = None,
    ignore: Iterable[StrOrBytesPath] | None = None,
) -> Literal["keep", "sensitive", "unknown", "leave out"]:
    """What these path rules make of an event."""

def aio_operations() -> tuple[tuple[str, int, Op], ...]:
    """The table of Linux AIO's commands: (name, number, op)."""

def ring_operations() -> tuple[tuple[str, int, Op], ...]:
    """The table of io_uring's operations: (name, number, op)."""

def backends() -> tuple[BackendReport, ...]:
    """Which ways in this kernel and these privileges allow, in the order in which they would be taken."""

def _keep_loaded(wanted: bool, /) -> None:
    """Begins with True; each has its end with False."""

def _after_fork_in_child() -> None: ...

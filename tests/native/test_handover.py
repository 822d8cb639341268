# SPDX-License-Identifier: MIT
"""What one watched process hands to another one is no blind spot, and what it hands to anybody else is one. In doubt it
is announced."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from aa_fileio import KprobeManager
from tests.native.forked import Forked
from tests.native.test_blind_spots import NO_RING, bystander, manager_socket
from tests.native.tracing import read_to_end

__all__ = ["manager_socket"]  # a fixture

Pair = tuple[socket.socket, socket.socket]
TIMES = 3


def _give(over: socket.socket, path: Path) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    socket.send_fds(over, [b"x"], [fd])
    os.close(fd)


def _take(over: socket.socket) -> None:
    _, fds, _, _ = socket.recv_fds(over, 1, 1)
    assert len(fds) == 1
    os.close(fds[0])


def _child(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        with suppress(BaseException):
            work()
            status = 0
        os._exit(status)
    return pid


def _ends_well(pid: int) -> None:
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _pair(kind: int) -> Pair:
    return socket.socketpair(socket.AF_UNIX, kind)


def _exchange(pair: Pair, area: Path) -> None:
    """A child and its parent give each other a descriptor, several times."""
    ours, theirs = pair

    def other() -> None:
        for i in range(TIMES):
            _take(theirs)
            _give(theirs, area / f"back{i}")

    child = _child(other)
    for i in range(TIMES):
        _give(ours, area / f"there{i}")
        _take(ours)
    _ends_well(child)


def _by_socketpair(tell: Callable[[Any], None], area: Path, kind: int, is_early: bool, go: int) -> None:
    pair = _pair(kind) if is_early else None
    tell("ready")
    os.read(go, 1)
    _exchange(pair or _pair(kind), area)


def _by_server(tell: Callable[[Any], None], area: Path, path: str, is_early: bool, go: int) -> None:
    """The server is a child; its client connects by the socket's name."""
    ready, say_ready = os.pipe()

    def serve() -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen()
            os.write(say_ready, b"r")
            with server.accept()[0] as client:
                for i in range(TIMES):
                    _take(client)
                    _give(client, area / f"back{i}")

    def begin() -> int:
        pid = _child(serve)
        os.read(ready, 1)
        return pid

    server = begin() if is_early else 0
    tell("ready")
    os.read(go, 1)
    server = server or begin()
    with socket.socket(socket.AF_UNIX) as ours:
        ours.connect(path)
        for i in range(TIMES):
            _give(ours, area / f"there{i}")
            _take(ours)
    _ends_well(server)


def _traced(backend: str, function: Callable[..., None], *arguments: Any, **options: Any) -> tuple[list[Any], Any]:
    go, say_go = os.pipe()
    with Forked(function, *arguments, go) as workload:
        assert workload.recv() == "ready"
        with KprobeManager(workload.pid, backend=backend, ops=NO_RING, **options) as manager:
            os.write(say_go, b"g")
            events = read_to_end(manager)
        assert workload.reap() == 0
    os.close(go)
    os.close(say_go)
    return events, manager.stats


def _calls(events: list[Any]) -> list[str]:
    return [event.syscall for event in events if event.op == "blind_spot"]


@pytest.mark.parametrize("is_early", [True, False], ids=["before", "during"])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET], ids=["stream", "seqpacket"])
def test_between_parent_and_child(backend: str, area: Path, kind: int, is_early: bool) -> None:
    events, stats = _traced(backend, _by_socketpair, area, kind, is_early)
    assert _calls(events) == []
    assert (stats.blind_spots, stats.complete) == (0, stats.exact)


@pytest.mark.parametrize("is_early", [True, False], ids=["before", "during"])
@pytest.mark.parametrize("name", ["name", "abstract"])
def test_between_client_and_server(backend: str, area: Path, name: str, is_early: bool) -> None:
    path = str(area / "socket") if name == "name" else f"\0{area}"
    events, stats = _traced(backend, _by_server, area, path, is_early)
    assert _calls(events) == []
    assert (stats.blind_spots, stats.complete) == (0, stats.exact)


@pytest.mark.parametrize("is_early", [True, False], ids=["before", "during"])
def test_a_manager_of_our_own_tree(backend: str, area: Path, manager_socket: Path, is_early: bool) -> None:
    """Who it works for and itself are watched: it is no blind spot."""
    events, stats = _traced(backend, _by_server, area, str(manager_socket), is_early)
    assert _calls(events) == []
    assert (stats.blind_spots, stats.complete) == (0, stats.exact)


def test_datagrams_are_announced(backend: str, area: Path) -> None:
    """Such a socket can be connected anew, and keeps what it knew of the first other end."""
    events, stats = _traced(backend, _by_socketpair, area, socket.SOCK_DGRAM, False)
    assert sorted(_calls(events)) == ["recvmsg"] * 2 * TIMES + ["sendmsg"] * 2 * TIMES
    assert not stats.complete


def test_one_process_alone_announces(backend: str, area: Path) -> None:
    """Its child is not watched."""
    events, stats = _traced(backend, _by_socketpair, area, socket.SOCK_STREAM, False, follow=False)
    assert _calls(events) == ["sendmsg", "recvmsg"] * TIMES
    assert (stats.blind_spots, stats.complete) == (2 * TIMES, False)


def _to_a_stranger(tell: Callable[[Any], None], area: Path, way: str, strangers: socket.socket, go: int) -> None:
    """One end is in the hands of a process that is not watched, which got it before the trace or inherited it."""
    if way == "given":
        ours, theirs = _pair(socket.SOCK_STREAM)
        socket.send_fds(strangers, [b"x"], [theirs.fileno()])
        theirs.close()
        strangers.recv(1)
    else:
        ours = strangers
    tell("ready")
    os.read(go, 1)
    for i in range(TIMES):
        _give(ours, area / f"there{i}")
        _take(ours)


@pytest.mark.parametrize("way", ["given", "inherited"])
def test_a_stranger_at_the_other_end(backend: str, area: Path, way: str) -> None:
    """The socket says that a watched process made it, and somebody else holds the other end."""
    ours, theirs = _pair(socket.SOCK_STREAM)

    def answer() -> None:
        end = ours
        if way == "given":
            _, [fd], _, _ = socket.recv_fds(ours, 1, 1)
            end = socket.socket(fileno=fd)
            ours.send(b"r")
        for i in range(TIMES):
            _take(end)
            _give(end, area / f"back{i}")
        end.close()

    stranger = threading.Thread(target=answer)
    stranger.start()
    events, stats = _traced(backend, _to_a_stranger, area, way, theirs)
    stranger.join()
    ours.close()
    theirs.close()
    assert _calls(events) == ["sendmsg", "recvmsg"] * TIMES
    assert (stats.blind_spots, stats.complete) == (2 * TIMES, False)


def _listens(tell: Callable[[Any], None], area: Path, strangers: socket.socket, go: int) -> None:
    """It listens, and a process that is not watched has the listening socket, too, and takes what comes."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(area / "socket"))
        server.listen()
        socket.send_fds(strangers, [b"x"], [server.fileno()])
        strangers.recv(1)
    tell("ready")
    os.read(go, 1)
    with socket.socket(socket.AF_UNIX) as ours:
        ours.connect(str(area / "socket"))
        _give(ours, area / "there")
        _take(ours)


def test_a_stranger_that_shares_the_listening_socket(backend: str, area: Path) -> None:
    ours, theirs = _pair(socket.SOCK_STREAM)

    def answer() -> None:
        _, [fd], _, _ = socket.recv_fds(ours, 1, 1)
        with socket.socket(fileno=fd) as server:
            ours.send(b"r")
            with server.accept()[0] as client:
                _take(client)
                _give(client, area / "back")

    stranger = threading.Thread(target=answer)
    stranger.start()
    events, stats = _traced(backend, _listens, area, theirs)
    stranger.join()
    ours.close()
    theirs.close()
    assert _calls(events) == ["sendmsg", "recvmsg"]
    assert (stats.blind_spots, stats.complete) == (2, False)


def _swaps(tell: Callable[[Any], None], area: Path, strangers: socket.socket, go: int) -> None:
    """While one thread waits in recvmsg of the stranger's socket, another one puts one of the tree into its place."""
    import time

    inside, _other = _pair(socket.SOCK_STREAM)
    tell("ready")
    os.read(go, 1)
    place = os.dup(strangers.fileno())

    def swap() -> None:
        time.sleep(0.3)
        os.dup2(inside.fileno(), place)
        os.write(strangers.fileno(), b"now")

    thread = threading.Thread(target=swap)
    thread.start()
    with socket.socket(fileno=place) as receiver:
        _take(receiver)
    thread.join()


def test_a_socket_that_is_exchanged_meanwhile(backend: str, area: Path) -> None:
    """What the descriptor names at the return is not what was received by."""
    ours, theirs = _pair(socket.SOCK_STREAM)

    def answer() -> None:
        assert ours.recv(3) == b"now"
        _give(ours, area / "back")

    stranger = threading.Thread(target=answer)
    stranger.start()
    events, stats = _traced(backend, _swaps, area, theirs)
    stranger.join()
    ours.close()
    theirs.close()
    assert _calls(events) == ["recvmsg"]
    assert (stats.blind_spots, stats.complete) == (1, False)


def _creator_is_gone(tell: Callable[[Any], None], area: Path, go: int) -> None:
    """The process that made the pair has ended; its children have the ends."""
    tell("ready")
    os.read(go, 1)

    def creator() -> None:
        ours, theirs = _pair(socket.SOCK_STREAM)
        start, say_start = os.pipe()

        def later(end: socket.socket, first: bool) -> None:
            os.close(say_start)
            os.read(start, 1)
            (_give(end, area / "there") if first else _take(end))

        _child(lambda: later(ours, True))
        _child(lambda: later(theirs, False))

    _ends_well(_child(creator))  # which lets the two begin


def test_who_made_the_sockets_has_ended(backend: str, area: Path) -> None:
    events, stats = _traced(backend, _creator_is_gone, area)
    assert _calls(events) == []
    assert (stats.blind_spots, stats.complete) == (0, stats.exact)


def test_a_bystander_changes_nothing(backend: str, area: Path) -> None:
    with bystander(area):
        _, stats = _traced(backend, _by_socketpair, area, socket.SOCK_STREAM, False)
    assert stats.blind_spots == 0

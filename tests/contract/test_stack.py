# SPDX-License-Identifier: MIT
"""No chain of calls of the kernel side takes more stack than the strictest verifier allows, whichever clang made it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from aa_fileio import _native
from scripts.stack import STACK_LIMIT, Chain, check, main, objects_of

_ROOT = Path(__file__).resolve().parents[2]

# Each function has an array that cannot be left out, of a multiple of 8 bytes.
_SOURCE = """
typedef unsigned long long u64;
static long (*bpf_loop)(unsigned count, void *callback, void *context, u64 flags) = (void *)181;
static long (*bpf_tail_call)(void *context, void *map, unsigned i) = (void *)12;

#define USE(bytes) u64 used[(bytes) / 8]; asm volatile("" : : "r"(used) : "memory")
#define FUNCTION __attribute__((noinline))

FUNCTION int inner(u64 a) { USE(INNER); return used[0] + a; }
FUNCTION int middle(u64 a) { USE(40); return inner(a) + used[0]; }
static FUNCTION int round_of(unsigned i, void *context) { USE(ROUND); return inner(i) + used[0]; }
FUNCTION int jumping(void *context) { USE(8); bpf_tail_call(context, 0, 1); return used[0]; }
__attribute__((section("aa_test"), used)) int program(void *context) { USE(PROGRAM); return middle(1) + used[0]; }
__attribute__((section("aa_test"), used)) int looped(void *context)
{
	USE(PROGRAM);
	return bpf_loop(3, round_of, 0, 0) + used[0];
}
__attribute__((section("aa_test"), used)) int jumps(void *context) { USE(PROGRAM); return jumping(context) + used[0]; }
"""


def _compiled(folder: Path, *, inner: int = 64, a_round: int = 64, program: int = 32) -> Path:
    clang = shutil.which("clang")
    assert clang
    source, target = folder / "test.c", folder / "test.o"
    source.write_text(_SOURCE)
    sizes = [f"-DINNER={inner}", f"-DROUND={a_round}", f"-DPROGRAM={program}"]
    command = [clang, "-target", "bpf", "-O2", *sizes, "-c", str(source), "-o", str(target)]
    subprocess.run(command, check=True)
    return target


def _chains(path: Path) -> dict[str, Chain]:
    (data,) = objects_of(path)
    return {chain.functions[0].name: chain for chain in check(data)[0]}


def test_depth_of_a_chain_is_what_the_verifier_counts(tmp_path: Path) -> None:
    chains = _chains(_compiled(tmp_path))
    # Each rounded up to 32: 32 + 64 (of 40) + 64.
    assert [each.stack for each in chains["program"].functions] == [32, 40, 64]
    assert chains["program"].depth == 160
    # What bpf_loop() calls is a call.
    assert [each.name for each in chains["looped"].functions] == ["looped", "round_of", "inner"]
    # The context and the arguments may be kept on the stack, too.
    assert chains["looped"].depth >= 32 + 64 + 64


@pytest.mark.parametrize(
    ("sizes", "complaint"),
    [
        ({"inner": 416, "program": 32}, None),
        ({"inner": 424, "program": 32}, "544 bytes of stack, 512 are allowed: 544: program (32) → middle (40) → inner"),
        ({"a_round": 480, "inner": 8}, "bytes of stack, 512 are allowed: "),
        ({"program": 256}, "a tail call from 256 bytes or more: jumps → … → jumping"),
    ],
    ids=["full", "a-chain", "a-callback", "a-jump"],
)
def test_what_is_too_deep_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sizes: dict[str, int], complaint: str | None
) -> None:
    status = main([str(_compiled(tmp_path, **sizes))])
    said = capsys.readouterr().out
    assert status == (0 if complaint is None else 1), said
    assert ("too deep" in said) == (complaint is not None)
    assert (complaint or "") in said


def test_what_has_no_object_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([__file__]) == 2
    assert "test_stack.py has no BPF object" in capsys.readouterr().err


def _extensions() -> list[Path]:
    return [Path(_native.__file__), *sorted(_ROOT.glob("build/clang-*/lib/aa_fileio/_native*.so"))]


@pytest.mark.parametrize("path", _extensions(), ids=lambda path: str(path.parent.parent.relative_to(_ROOT)))
def test_no_program_is_too_deep(path: Path) -> None:
    # One for kernels that read through bpf_probe_read_kernel(), one for those that read directly.
    objects = objects_of(path)
    assert len(objects) == 2
    for data in objects:
        chains, problems = check(data)
        assert problems == []
        assert len(chains) > 100
        assert 256 < chains[0].depth <= STACK_LIMIT

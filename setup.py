# SPDX-License-Identifier: MIT
"""Builds aa_fileio._native: the kernel side with clang, its skeleton with bpftool, then the core and the binding.

Environment:
    AA_FILEIO_CLANG       the clang to use for the kernel side ("clang-16"); else "clang", else the newest there is
    AA_FILEIO_BUILD_STUB  "1": the core without a backend, as built off Linux and off x86_64; another text: the platform
                          it shall speak for ("darwin", "aarch64")
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

from setuptools import Command, Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import SetupError

ROOT = Path(__file__).resolve().parent
LIBBPF_NEEDED = (1, 1)
# The stable ABI of free-threaded builds begins with 3.15; before it, Py_LIMITED_API does not compile there.
LIMITED_API = not (sysconfig.get_config_var("Py_GIL_DISABLED") and sys.version_info < (3, 15))
STUB = os.environ.get("AA_FILEIO_BUILD_STUB", "")
IS_STUB = bool(STUB) or sys.platform != "linux" or platform.machine() != "x86_64"


def sources_of(folder: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).glob("*.c"))


def headers_of(*folders: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).glob("*.h"))


def missing(what: str, package: str) -> SetupError:
    return SetupError(f"{what} is needed to build aa_fileio and was not found; on Debian: apt-get install {package}")


def run(*command: str) -> str:
    """Runs a tool; what it says on failure is the whole error."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SetupError(f"{shlex.join(command)} failed:\n{done.stderr.strip()}")
    return done.stdout


def find_clang() -> str:
    named = os.environ.get("AA_FILEIO_CLANG")
    if named:
        found = shutil.which(named)
        if not found:
            raise SetupError(f"AA_FILEIO_CLANG is {named!r}, which cannot be executed")
        return found
    # The plain name first: it is the distribution's choice. Else the newest of clang-N.
    for name in ("clang", *(f"clang-{version}" for version in range(30, 11, -1))):
        found = shutil.which(name)
        if found:
            return found
    raise missing("clang", "clang")


def find_bpftool() -> str:
    found = shutil.which("bpftool", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin:/usr/local/sbin")
    if not found:
        raise missing("bpftool", "bpftool")
    return found


def preprocess(compiler: list[str], text: str) -> str | None:
    """What the C preprocessor makes of it; None when a header is not there."""
    done = subprocess.run([*compiler, "-E", "-P", "-"], input=text, capture_output=True, text=True)
    return None if done.returncode else done.stdout


def check_libraries(compiler: list[str]) -> None:
    version = preprocess(compiler, "#include <bpf/libbpf_version.h>\nLIBBPF_MAJOR_VERSION.LIBBPF_MINOR_VERSION\n")
    if version is None:
        raise missing("libbpf (bpf/libbpf.h)", "libbpf-dev")
    found = re.search(r"(\d+)\s*\.\s*(\d+)", version)
    if not found or (int(found[1]), int(found[2])) < LIBBPF_NEEDED:
        needed = ".".join(map(str, LIBBPF_NEEDED))
        raise SetupError(f"libbpf {needed} or newer is needed to build aa_fileio, and this one is {version.strip()}")
    for header, package in (("libelf.h", "libelf-dev"), ("zlib.h", "zlib1g-dev")):
        if preprocess(compiler, f"#include <{header}>\n") is None:
            raise missing(header, package)


# The kernel side takes a minute and a half to compile, the rest some seconds: what was made of the same sources by the
# same tools is taken again. The newest few are kept.
KEPT = ROOT / "build/kernel-side"
KEPT_MAX = 6
MADE_BY = "made-by.txt"


def digest_of_inputs(clang: str, bpftool: str) -> str:
    """Another clang makes another object of the same sources."""
    libbpf = preprocess(["cc"], "#include <bpf/libbpf_version.h>\nLIBBPF_MAJOR_VERSION.LIBBPF_MINOR_VERSION\n")
    digest = hashlib.sha256(f"{run(clang, '--version')}{run(bpftool, 'version')}{libbpf}".encode())
    for path in sorted([*(ROOT / "bpf").glob("*.[ch]"), Path(__file__)]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def compile_kernel_side(clang: str, bpftool: str, folder: Path, name: str, *options: str) -> None:
    """NAME.bpf.o, NAME.o (linked) and NAME.skel.h in the folder."""
    # Where Debian keeps <asm/types.h>, which clang does not look for when it compiles for bpf.
    triplet = sysconfig.get_config_var("MULTIARCH")
    system = [f"-I/usr/include/{triplet}"] if triplet else []
    compiled, linked = folder / f"{name}.bpf.o", folder / f"{name}.o"
    run(
        clang,
        *("-target", "bpf", "-O2", "-g", "-std=gnu11", "-Wall", "-Wextra", "-Werror"),
        "-Wno-unused-parameter",  # the kernel gives callbacks their signature
        *("-D__TARGET_ARCH_x86", *options, "-I", "bpf", *system),
        *("-c", "bpf/fileio.bpf.c", "-o", str(compiled)),
    )
    run(bpftool, "gen", "object", str(linked), str(compiled))
    (folder / f"{name}.skel.h").write_text(run(bpftool, "gen", "skeleton", str(linked), "name", f"{name}_bpf"))


def keep(folder: Path, inputs: str) -> None:
    """For the next build. A build that cannot write there, or another that does so now, loses nothing."""
    unfinished = KEPT / f"{inputs}.{os.getpid()}"
    try:
        KEPT.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder, unfinished, copy_function=shutil.copy)
        unfinished.rename(KEPT / inputs)
        for old in sorted(KEPT.iterdir(), key=lambda each: each.stat().st_mtime)[:-KEPT_MAX]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError:
        shutil.rmtree(unfinished, ignore_errors=True)


class BuildExtension(build_ext):
    """Makes the skeleton first. It stays in the build's own folder and ends up inside the extension: an editable
    install has no data file to lose."""

    def run(self) -> None:
        if not IS_STUB:
            self.make_skeleton()
        super().run()

    def make_skeleton(self) -> None:
        compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
        clang, bpftool = find_clang(), find_bpftool()
        check_libraries(compiler)
        folder = Path(self.build_temp, "bpf")
        folder.mkdir(parents=True, exist_ok=True)
        folder = folder.resolve()
        skeleton, direct_skeleton = folder / "fileio.skel.h", folder / "fileio_direct.skel.h"
        for extension in self.extensions:
            extension.include_dirs.append(str(folder))
            extension.depends += [str(skeleton), str(direct_skeleton)]

        made_by, inputs = folder / MADE_BY, digest_of_inputs(clang, bpftool)
        if made_by.exists() and made_by.read_text() == inputs:
            return
        if (KEPT / inputs).is_dir():
            shutil.copytree(KEPT / inputs, folder, copy_function=shutil.copy, dirs_exist_ok=True)
            return
        made_by.unlink(missing_ok=True)
        with ThreadPoolExecutor() as pool:
            # Twice: see AA_DIRECT in bpf/kernel.bpf.h.
            list(
                pool.map(
                    lambda each: compile_kernel_side(clang, bpftool, folder, *each),
                    (("fileio", "-mcpu=v2"), ("fileio_direct", "-mcpu=v3", "-DAA_DIRECT")),
                )
            )
        made_by.write_text(inputs)
        keep(folder, inputs)


LAUNCHER = "csrc/launcher/launcher.c"


class BuildScripts(Command):
    """The program aa-fileio: a launcher for the script aa-fileio-main, which the installer writes. Off Linux nothing is
    traced, and two lines of shell do."""

    user_options: ClassVar = [("build-dir=", "d", "where to build to"), ("force", "f", ""), ("executable=", "e", "")]

    def initialize_options(self) -> None:
        self.build_dir = self.force = self.executable = self.outfiles = None

    def finalize_options(self) -> None:
        self.set_undefined_options("build", ("build_scripts", "build_dir"), ("force", "force"))

    def get_source_files(self) -> list[str]:
        return [LAUNCHER]

    def run(self) -> None:
        folder = Path(str(self.build_dir))
        folder.mkdir(parents=True, exist_ok=True)
        program = folder / "aa-fileio"
        if sys.platform == "linux":
            compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
            run(*compiler, "-O2", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-o", str(program), LAUNCHER)
        else:
            program.write_text('#!/bin/sh\nexec "$(dirname "$0")/aa-fileio-main" "$@"\n')
        program.chmod(0o755)


# What the core without a backend shares with the other one.
COMMON_CORE = [
    f"csrc/core/{name}.c"
    for name in ("fileio_error", "syscall_table", "columns", "arrow_export", "path_rules", "rule_places")
]
STUB_CORE = "csrc/core/session_stub.c"

if IS_STUB:
    core = [STUB_CORE, *COMMON_CORE]
    libraries: list[str] = []
    macros: list[tuple[str, str | None]] = [("AA_STUB_PLATFORM", f'"{STUB}"')] if STUB not in ("", "1") else []
else:
    core = [source for source in sources_of("csrc/core") if source != STUB_CORE]
    libraries = ["bpf", "elf", "z", "pthread"]
    macros = []
if LIMITED_API:
    macros.append(("Py_LIMITED_API", "0x030B0000"))

setup(
    ext_modules=[
        Extension(
            "aa_fileio._native",
            sources=[*core, *sources_of("csrc/binding")],
            depends=headers_of("bpf", "csrc/core", "csrc/binding"),
            include_dirs=["csrc/core", "bpf"],
            define_macros=[("_GNU_SOURCE", None), *macros],
            libraries=libraries,
            extra_compile_args=[
                *("-std=c11", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-fvisibility=hidden")
            ],
            py_limited_api=LIMITED_API,
        )
    ],
    # The name of a source: what is installed is what BuildScripts makes of it.
    scripts=[LAUNCHER],
    cmdclass={"build_ext": BuildExtension, "build_scripts": BuildScripts},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED_API else {},
)

"""Debian's own kernels, fetched once into a cache outside the checkout.

apt does the fetching, with lists of its own: it verifies signatures, and uses the mirror and the proxy this machine is
set up for, without this machine's package state being touched.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SUITES = ("bullseye", "bookworm", "trixie", "sid")


@dataclass(frozen=True)
class Source:
    """Where a kernel comes from: a suite of the mirror, a package of it, and what the kernel is started with."""

    suite: str
    package: str = "linux-image-amd64"  # of several that this pattern names, the newest
    parameters: tuple[str, ...] = ()


def _backport(version: str, flavour: str = "") -> Source:
    return Source("trixie-backports", rf"linux-image-{re.escape(version)}\.[0-9.]+\+deb13-{flavour}amd64")


# Kernels beside and between those of the suites. One that differs by its parameters alone is its suite's own.
OTHERS = {
    "bookworm-rt": Source("bookworm", "linux-image-rt-amd64"),
    "bookworm-full": Source("bookworm", parameters=("preempt=full",)),
    "trixie-rt": Source("trixie", "linux-image-rt-amd64"),
    "trixie-full": Source("trixie", parameters=("preempt=full",)),
    "backports-6.16": _backport("6.16"),
    "backports-6.17": _backport("6.17"),
    "backports-6.18": _backport("6.18"),
    "backports-6.18-none": Source("trixie-backports", _backport("6.18").package, ("preempt=none",)),
    "backports-6.19": _backport("6.19"),
    "backports-7.0": _backport("7.0"),
    "backports-7.1": _backport("7.1"),
    "backports-7.3": _backport("7.3"),
    "backports-7.3-rt": _backport("7.3", "rt-"),
}
NAMES = (*SUITES, *OTHERS)

# What a guest needs to reach the host's files, and FUSE for a test; the rest of a package (500 MB) is never unpacked.
_MODULES = ("virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay", "fuse")
_MODULE_FOLDERS = (
    *("drivers/virtio", "drivers/char", "net/9p", "lib"),
    *("fs/9p", "fs/netfs", "fs/fscache", "fs/overlayfs", "fs/fuse"),
)
# Of the generic flavour and of the one for real time: the cloud one has no 9p.
_PARTS = re.compile(r"^linux-(?:image|binary|binary-unsigned|modules|base)-\d[^ ]*$")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_DEBIAN_RELEASES = {"bullseye", "bookworm", "trixie", "forky", "sid", "oldstable", "stable", "testing", "unstable"}


class FetchError(Exception):
    """A kernel could not be fetched; the text names the suite and the package."""


@dataclass(frozen=True)
class Image:
    """A kernel ready to boot: its image and the modules, in the order in which they load."""

    suite: str
    release: str
    kernel: Path
    modules: tuple[Path, ...]
    parameters: tuple[str, ...] = ()


def source_of(name: str) -> Source:
    """Of a suite's own kernel, or of another one."""
    return OTHERS[name] if name in OTHERS else Source(name)


def _folder_of(name: str) -> str:
    """The first name of those that are the same kernel with other parameters."""
    source = source_of(name)
    return next(
        each for each in NAMES if (source_of(each).suite, source_of(each).package) == (source.suite, source.package)
    )


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "aa_fileio" / "kernels"


def cached(name: str) -> Image | None:
    """None, too, for what was fetched when other modules were asked for."""
    folder = cache_folder() / _folder_of(name)
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
    except FileNotFoundError:
        return None
    if manifest.get("wanted") != list(_MODULES):
        return None
    modules = tuple(folder / "modules" / module for module in manifest["modules"])
    return Image(name, manifest["release"], folder / "vmlinuz", modules, source_of(name).parameters)


def fetch(name: str, *, refresh: bool = False) -> Image:
    """The kernel of that name, from the cache or else from the mirror. The cache holds whole kernels only."""
    root = cache_folder()
    root.mkdir(parents=True, exist_ok=True)
    folder = _folder_of(name)
    with _locked(root / f".{folder}.lock"):
        image = None if refresh else cached(name)
        if image:
            return image
        with tempfile.TemporaryDirectory(prefix=f".{folder}-", dir=root) as scratch:
            made = _fetch_into(source_of(name), Path(scratch))
            target = root / folder
            if target.exists():
                shutil.rmtree(target)
            made.rename(target)
        image = cached(name)
        assert image is not None
        return image


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch_into(source: Source, scratch: Path) -> Path:
    suite = source.suite
    apt = _PrivateApt(suite, scratch / "apt")
    unpacked = scratch / "unpacked"
    for package in apt.kernel_packages(source.package):
        archive = apt.download(package, scratch)
        _unpack(suite, package, archive, unpacked)
        archive.unlink()
    kernels = sorted(unpacked.glob("vmlinuz-*"))
    if len(kernels) != 1:
        raise FetchError(f"{suite}: {source.package} brought {len(kernels)} kernel images instead of one")
    release = kernels[0].name.removeprefix("vmlinuz-")

    made = scratch / "image"
    (made / "modules").mkdir(parents=True)
    kernels[0].rename(made / "vmlinuz")
    names: list[str] = []
    for module, content in _in_load_order(suite, unpacked / "modules"):
        names.append(f"{module}.ko")
        (made / "modules" / names[-1]).write_bytes(content)
    manifest = {"release": release, "modules": names, "wanted": _MODULES}
    (made / "manifest.json").write_text(json.dumps(manifest) + "\n")
    return made


class _PrivateApt:
    """apt with its own source, lists and cache for one suite; the machine's configuration is kept otherwise."""

    def __init__(self, suite: str, folder: Path) -> None:
        self._suite = suite
        if not _KEYRING.exists():
            raise FetchError(f"{suite}: {_KEYRING} is missing (package debian-archive-keyring)")
        for name in ("lists/partial", "cache/archives/partial", "none"):
            (folder / name).mkdir(parents=True)
        # Only the package list: a machine may be set up to fetch descriptions and desktop metadata as well.
        source = f"deb [arch=amd64 target=Packages signed-by={_KEYRING}] {_mirror(suite)} {suite} main\n"
        (folder / "sources.list").write_text(source)
        self._options = [
            f"-oDir::State::lists={folder}/lists",
            f"-oDir::Cache={folder}/cache",
            f"-oDir::Etc::sourcelist={folder}/sources.list",
            f"-oDir::Etc::sourceparts={folder}/none",
            # The unprivileged user apt downloads as cannot enter a home directory's cache.
            "-oAPT::Sandbox::User=root",
            "-oAPT::Architecture=amd64",
            # A mirror that lags behind still has kernels to test with, and their signature is checked all the same.
            "-oAcquire::Check-Valid-Until=false",
            "-oAcquire::Check-Date=false",
            "-oAcquire::Retries=3",
        ]
        self._run("its package list", "apt-get", "-qq", "update")

    def _run(self, what: str, program: str, *arguments: str, folder: Path | None = None) -> str:
        command = [program, *self._options, *arguments]
        environment = {**os.environ, "LC_ALL": "C"}
        done = subprocess.run(command, check=False, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise FetchError(f"{self._suite}: cannot fetch {what}: {_first_complaint(done.stderr)}")
        # "apt-get update" only warns when a mirror does not answer.
        if "update" in arguments and "Failed to fetch" in done.stderr:
            raise FetchError(f"{self._suite}: cannot fetch {what}: {_first_complaint(done.stderr)}")
        return done.stdout

    def newest(self, pattern: str) -> str:
        """The package of that name; of several, the one whose name has the highest version."""
        said = self._run(f"package {pattern}", "apt-cache", "search", "--names-only", f"^{pattern}$")
        names = [line.split(" ")[0] for line in said.splitlines()]
        if not names:
            raise FetchError(f"{self._suite}: the mirror has no package {pattern}")
        return max(names, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])

    def kernel_packages(self, pattern: str) -> list[str]:
        """The packages that hold the image and the modules: one until trixie, several linked by Depends in sid."""
        package = self.newest(pattern)
        found: list[str] = [package] if _PARTS.match(package) else []
        waiting = [package]
        while waiting:
            record = self._run(waiting[0], "apt-cache", "show", "--no-all-versions", waiting[0])
            # Some backports depend on a package of texts that is not on the mirror.
            if not record.strip() and waiting[0] in found:
                found.remove(waiting[0])
            waiting.pop(0)
            depends = re.search(r"^Depends: (.*)$", record, re.MULTILINE)
            for dependency in depends[1].split(",") if depends else []:
                name = dependency.strip().split(" ")[0]
                if _PARTS.match(name) and name not in found:
                    found.append(name)
                    waiting.append(name)
        if not found:
            raise FetchError(f"{self._suite}: {package} depends on no kernel image")
        return found

    def download(self, package: str, scratch: Path) -> Path:
        folder = scratch / "download"
        folder.mkdir(exist_ok=True)
        self._run(f"package {package}", "apt-get", "-qq", "download", package, folder=folder)
        (archive,) = folder.glob("*.deb")
        return archive


def _first_complaint(text: str) -> str:
    """What apt says first is the cause; the rest follows from it."""
    return next((line for line in text.splitlines() if line.startswith(("E:", "W:"))), text.strip())


def _mirror(suite: str) -> str:
    """The Debian mirror this machine uses."""
    named = os.environ.get("AA_FILEIO_DEBIAN_MIRROR")
    if named:
        return named
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Identifier: Packages"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise FetchError(f"{suite}: apt does not tell this machine's mirror: {error}") from error
    for line in done.stdout.splitlines():
        uri, release, component = line.split(" ")
        if release in _DEBIAN_RELEASES and component == "main":
            return uri
    raise FetchError(f"{suite}: apt knows no Debian mirror here; name one in AA_FILEIO_DEBIAN_MIRROR")


def _unpack(suite: str, package: str, archive: Path, target: Path) -> None:
    """Takes the image and the few folders of modules out of a package as it streams by."""
    (target / "modules").mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as process:
        assert process.stdout
        with tarfile.open(fileobj=process.stdout, mode="r|") as members:
            for member in members:
                place = _place(PurePosixPath(member.name.removeprefix("./")))
                content = members.extractfile(member) if place and member.isfile() else None
                if content:
                    with (target / str(place)).open("wb") as out:
                        shutil.copyfileobj(content, out)
    if process.returncode != 0:
        raise FetchError(f"{suite}: package {package} cannot be unpacked")


def _place(path: PurePosixPath) -> PurePosixPath | None:
    if path.name.startswith("vmlinuz-"):
        return PurePosixPath(path.name)
    if path.name == "vmlinuz":  # beside the modules, in newer packages
        return PurePosixPath(f"vmlinuz-{path.parent.name}")
    if path.name == "modules.builtin":
        return PurePosixPath("modules") / path.name
    _, _, inside = str(path).partition("/kernel/")
    if ".ko" in path.name and inside.startswith(tuple(f"{folder}/" for folder in _MODULE_FOLDERS)):
        return PurePosixPath("modules") / path.name
    return None


def _in_load_order(suite: str, folder: Path) -> list[tuple[str, bytes]]:
    """The modules a guest needs, uncompressed, each after those it depends on.

    modules.dep is written by depmod when a package is installed, so it is not in the package; each module names its
    dependencies itself.
    """
    # Where that package is not on the mirror, a module that there is no file of is taken for built in.
    listed = folder / "modules.builtin"
    builtin = {_plain(line) for line in listed.read_text().splitlines()} if listed.exists() else None
    files = {_plain(path.name): path for path in folder.glob("*.ko*")}
    ordered: dict[str, bytes] = {}

    def add(name: str, wanted_by: str) -> None:
        if name in ordered or (name not in files if builtin is None else name in builtin):
            return
        if name not in files:
            raise FetchError(f"{suite}: the kernel's packages have no module {name}, needed by {wanted_by}")
        content = _uncompressed(files[name])
        depends = re.search(rb"\0depends=([^\0]*)\0", content)
        for needed in depends[1].decode().split(",") if depends else []:
            if needed:
                add(needed.replace("-", "_"), name)
        ordered[name] = content

    for name in _MODULES:
        add(name, "the guest")
    return list(ordered.items())


def _plain(path: str) -> str:
    return PurePosixPath(path).name.split(".ko")[0].replace("-", "_")


def _uncompressed(path: Path) -> bytes:
    """busybox's insmod takes plain modules only; not every Python can read xz, and this version cannot read zstd."""
    match path.suffix:
        case ".ko":
            return path.read_bytes()
        case ".xz":
            command = ["xz", "-dcq", str(path)]
        case ".zst":
            command = ["zstd", "-dcq", str(path)]
        case other:
            raise FetchError(f"module {path.name}: unknown compression {other}")
    try:
        return subprocess.run(command, check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise FetchError(f"module {path.name} cannot be unpacked: {error}") from error

# SPDX-License-Identifier: MIT
"""The rooms: which file may include or import what. Data goes one way; the dependencies do too."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BPF_HEADERS = {path.name for path in (ROOT / "bpf").glob("*.h")}
CORE = sorted((ROOT / "csrc/core").glob("*.[ch]"))
BINDING = sorted((ROOT / "csrc/binding").glob("*.[ch]"))
PYTHON = sorted((ROOT / "aa_fileio").glob("*.py"))
INTEGRATIONS = sorted((ROOT / "aa_fileio/integrations").rglob("*.py"))


def includes(path: Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), re.MULTILINE)


def imports(path: Path) -> set[str]:
    """Every module imported anywhere in the file, also late or for types; `from a import b` gives a and a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_room_has_files() -> None:
    for room in (CORE, BINDING, PYTHON, INTEGRATIONS):
        assert len(room) > 2
    assert "fileio_abi.h" in BPF_HEADERS


@pytest.mark.parametrize("path", CORE, ids=name)
def test_the_core_knows_no_python_and_never_prints(path: Path) -> None:
    assert not [header for header in includes(path) if re.search(r"python|structmember", header, re.IGNORECASE)]
    assert not re.findall(r"\b(?:v?printf|puts|perror|putchar)\s*\(|\bv?fprintf\s*\(\s*std", path.read_text())


@pytest.mark.parametrize("path", BINDING, ids=name)
def test_the_binding_knows_no_libbpf_and_no_kernel_side(path: Path) -> None:
    forbidden = [
        header
        for header in includes(path)
        if header.startswith(("bpf/", "linux/bpf", "../"))
        or "skel" in header
        or Path(header).name in BPF_HEADERS
        or "libbpf" in header
    ]
    assert forbidden == []
    text = path.read_text()
    assert not re.search(r"\b(?:PyGILState_\w+|Py_AddPendingCall)\b", text)
    # No C variable outlives a call: what is static is constant, a table of a type, or the module's own definition.
    for line in re.findall(r"^static [^(]*?[=;]", text, re.MULTILINE):
        assert re.match(
            r"static (?:const |enum |struct PyModuleDef|struct PyModuleDef_Slot|Py\w+(?:Def|Slot) )", line
        ), line


@pytest.mark.parametrize("path", PYTHON, ids=name)
def test_the_python_room_uses_the_standard_library_only(path: Path) -> None:
    allowed = sys.stdlib_module_names | {"aa_fileio"}
    modules = imports(path)
    assert {module.split(".")[0] for module in modules} <= allowed
    assert "ctypes" not in {module.split(".")[0] for module in modules}
    assert not [module for module in modules if module.startswith("aa_fileio.integrations")]


@pytest.mark.parametrize("path", INTEGRATIONS, ids=name)
def test_integrations_use_the_public_names_only(path: Path) -> None:
    for module in imports(path):
        if module.startswith("aa_fileio"):
            assert not re.match(r"aa_fileio\.(?!integrations\b)(?:_|[a-z]+\.)", module), module


def test_the_package_imports_in_a_bare_environment(tmp_path: Path) -> None:
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}]; import aa_fileio; aa_fileio.KprobeManager(1)"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, cwd=tmp_path, env={}, timeout=60)

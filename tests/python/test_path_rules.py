# SPDX-License-Identifier: MIT
"""Path rules: what they mean, by what the README says of them; what is refused."""

from __future__ import annotations

import random
import re
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from aa_fileio import DEFAULT_SENSITIVE, FileEvent, KprobeManager, _native


def decide(event: FileEvent, **rules: Any) -> str:
    return _native.decide(event, **rules)


def opened(path: str, **more: Any) -> FileEvent:
    return FileEvent(**{"op": "open", "path": path, "path_source": "file", "kind": "file"} | more)


def is_watched(rule: str, path: str) -> bool:
    return decide(opened(path), watch=[rule]) == "keep"


@pytest.mark.parametrize(
    ("rule", "matches", "others"),
    [
        (
            "/etc/",
            ["/etc", "/etc/", "/etc/a", "/etc/a/b", "/x/../etc/a", "//etc//./a"],
            ["/etcetera", "/", "/et", "/x/etc"],
        ),
        ("/etc", ["/etc", "/etc/."], ["/etc/a", "/etcetera"]),
        ("/", ["/", "/a", "/a/b"], ["pipe:[12]", "/memfd:x"][:1]),
        ("/a/*", ["/a/b", "/a/b*"], ["/a", "/a/b/c", "/ab"]),
        ("/a/*/", ["/a/b", "/a/b/c"], ["/a"]),
        ("/a/**", ["/a", "/a/b", "/a/b/c"], ["/ab"]),
        ("/**/c", ["/c", "/a/c", "/a/b/c"], ["/a/b", "/ac"]),
        ("/a/**/d/*.py", ["/a/d/x.py", "/a/b/c/d/.py", "/a/d/d/x.py"], ["/a/x.py", "/a/d/x/y.py"]),
        ("/a?c", ["/abc", "/a\u00e9c", "/a\udcffc"], ["/ac", "/a/c", "/abbc"]),
        ("/[a-c]x[!0-9]", ["/bxy"], ["/dxy", "/bx1", "/bx"]),
        ("/[]]", ["/]"], ["/[]]"]),
        ("/[*]/[[]", ["/*/["], ["/a/["]),
        ("/caf\u00e9/", ["/caf\u00e9/x"], ["/cafe/x"]),
    ],
)
def test_a_rule(rule: str, matches: list[str], others: list[str]) -> None:
    assert [path for path in matches if not is_watched(rule, path)] == []
    assert [path for path in others if is_watched(rule, path)] == []


def _reference(rule: str) -> re.Pattern[str]:
    """As the documentation says it, component by component."""
    below = rule.endswith("/")
    text = ""
    for component in rule.strip("/").split("/") if rule != "/" else []:
        if component == "**":
            text += "(?:/[^/]+)*"
            continue
        text += "/"
        at = 0
        while at < len(component):
            if component[at] == "*":
                text += "[^/]*"
            elif component[at] == "?":
                text += "[^/]"
            elif component[at] == "[":
                end = component.index("]", at + (3 if component[at + 1] == "!" else 2))
                inside = component[at + 1 : end]
                text += (
                    "[^" + re.escape(inside[1:]).replace("\\-", "-") + "]"
                    if inside[0] == "!"
                    else ("[" + re.escape(inside).replace("\\-", "-") + "]")
                )
                at = end
            else:
                text += re.escape(component[at])
            at += 1
    return re.compile(text + ("(?:/.*)?" if below or not text else ""))


def test_ten_thousand_rules_and_names() -> None:
    """Against that reference, of a small alphabet so that many match."""
    chance = random.Random(20261123)
    pieces = ["a", "b", "ab", "*", "?", "a*", "*b", "**", "[ab]", "[!a]", "[a-b]b", "a?b", "*a*"]
    matched = 0
    for _ in range(10_000):
        rule = "/" + "/".join(chance.choice(pieces) for _ in range(chance.randint(1, 4)))
        rule += chance.choice(["", "", "/"])
        name = "/" + "/".join(
            "".join(chance.choice("ab") for _ in range(chance.randint(1, 2))) for _ in range(chance.randint(1, 4))
        )
        wanted = _reference(rule).fullmatch(name) is not None
        assert is_watched(rule, name) == wanted, (rule, name)
        matched += wanted
    assert 1_000 < matched < 9_000


def test_what_comes_first() -> None:
    secret = opened("/home/a/.ssh/id")
    rules = {"sensitive": ["/home/*/.ssh/"], "ignore": ["/home/"], "watch": ["/etc/"]}
    assert decide(secret, **rules) == "sensitive"
    assert decide(opened("/home/a/x"), **rules) == "leave out"
    assert decide(opened("/etc/x"), **rules) == "keep"
    assert decide(opened("/usr/x"), **rules) == "leave out"
    assert decide(opened("/home/a/x"), ignore=["/home/"], watch=["/home/a/"]) == "leave out"


def test_two_names() -> None:
    event = FileEvent(op="rename", path="/a/x", new_path="/b/x", path_source="dentry")
    assert decide(event, watch=["/b/"]) == "keep"
    assert decide(event, sensitive=["/b/x"]) == "sensitive"
    assert decide(event, ignore=["/a/"]) == "keep"
    assert decide(event, ignore=["/a/", "/b/"]) == "leave out"
    assert decide(event, watch=["/c/"]) == "leave out"


@pytest.mark.parametrize("source", ["as_passed", "raced", "dir_and_name"])
def test_a_name_that_is_not_certain(source: str) -> None:
    """It succeeded, who knows where."""
    event = FileEvent(op="chmod", path="/tmp/link/x", raw_path="link/x", path_source=source)
    assert decide(event, watch=["/etc/"]) == "keep"
    assert decide(event, ignore=["/tmp/"]) == "keep"
    failed = FileEvent(op="chmod", path="/tmp/link/x", raw_path="link/x", path_source=source, errno=2)
    assert decide(failed, watch=["/etc/"]) == "leave out"
    assert decide(failed, ignore=["/tmp/"]) == "leave out"


def test_an_entry_of_a_known_directory_is_certain() -> None:
    event = FileEvent(op="unlink", path="/tmp/x", raw_path="x", path_source="dir_and_name")
    assert decide(event, watch=["/etc/"]) == "leave out"
    for raw in ("..", "y/x"):
        other = FileEvent(op="unlink", path=f"/tmp/{raw}", raw_path=raw, path_source="dir_and_name")
        assert decide(other, watch=["/etc/"]) == "keep"
    # What follows a symbolic link may be elsewhere.
    assert (
        decide(FileEvent(op="chmod", path="/tmp/x", raw_path="x", path_source="dir_and_name"), watch=["/etc/"])
        == "keep"
    )


@pytest.mark.parametrize("source", ["as_passed", "raced", "dir_and_name"])
def test_what_may_be_sensitive(source: str) -> None:
    """Not "no" where it is not known; what led nowhere goes by its name, and what was refused was something."""
    rules = {"sensitive": ["/w/secret"]}
    name = {"path": "/tmp/link/secret", "raw_path": "link/secret", "path_source": source}
    assert decide(FileEvent(op="chmod", **name), **rules) == "unknown"
    assert decide(FileEvent(op="open", **name, errno=13), **rules) == "unknown"
    for code in (2, 20, 22, 36, 40):
        assert decide(FileEvent(op="open", **name, errno=code), **rules) == "keep"
    assert decide(FileEvent(op="chmod", path="/w/secret", path_source=source), **rules) == "sensitive"
    assert decide(FileEvent(op="chmod", **name)) == "keep"
    assert decide(opened("/w/other"), **rules) == "keep"


def test_an_entry_may_be_another_name(tmp_path: Path) -> None:
    """Of a file with a rule that has other names, or may have got one; what is new or a directory has none."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"")
    removed = FileEvent(op="unlink", path="/tmp/x", raw_path="x", path_source="dir_and_name")
    assert decide(removed, sensitive=[secret]) == "unknown"
    assert decide(removed, sensitive=[secret], ignore=["/tmp/"]) == "leave out"
    assert decide(removed, watch=[secret]) == "leave out"
    (tmp_path / "hard").hardlink_to(secret)
    assert decide(removed, sensitive=[secret], ignore=["/tmp/"]) == "unknown"
    assert decide(removed, watch=[secret]) == "keep"
    for op in ("mkdir", "mknod", "symlink", "rmdir"):
        made = FileEvent(op=op, path="/tmp/x", raw_path="x", path_source="dir_and_name")
        assert decide(made, sensitive=[secret]) == "keep"
        assert decide(made, watch=[secret]) == "leave out"
    # Of a directory alone, or a name alone, there is no other file to be.
    assert decide(removed, sensitive=[f"{tmp_path}/"]) == "keep"
    assert decide(removed, watch=[f"{tmp_path}/s*"]) == "leave out"


def test_a_symbolic_link_in_a_rule(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "later").symlink_to("../later/made")
    real = f"{tmp_path}/usr/bin"
    for rule in (f"{tmp_path}/bin/", f"{tmp_path}/bin/*", f"{tmp_path}/bin/tool"):
        assert is_watched(rule, f"{real}/tool")
        assert is_watched(rule, f"{tmp_path}/bin/tool")
        assert not is_watched(rule, f"{tmp_path}/usr/tool")
    assert is_watched(f"{tmp_path}/later", f"{tmp_path.parent}/later/made")
    assert is_watched(f"{tmp_path}/loop", f"{tmp_path}/loop")


def test_no_name() -> None:
    assert decide(FileEvent(op="sync", syscall="msync"), watch=["/etc/"]) == "keep"
    assert decide(FileEvent(op="read", fd=9, errno=9), watch=["/etc/"]) == "leave out"
    pipe = FileEvent(op="read", path="pipe:[1]", path_source="file", kind="pipe")
    assert decide(pipe, watch=["/"]) == "leave out"
    blind = FileEvent(op="blind_spot", path="anon_inode:[io_uring]", path_source="file", kind="anon")
    assert decide(blind, watch=["/etc/"], ignore=["/"]) == "keep"


def test_opens_inside_the_kernel() -> None:
    """By an exec as any other; what nothing explains is kept, for it says why the trace is not complete."""
    by_exec = FileEvent(op="open", via="exec", path="/bin/true", path_source="file", return_code=None)
    assert decide(by_exec, watch=["/etc/"]) == decide(by_exec, ignore=["/bin/"]) == "leave out"
    assert decide(by_exec, watch=["/bin/"]) == "keep"
    by_kernel = FileEvent(op="open", via="kernel", path="/core", path_source="file", return_code=None)
    assert decide(by_kernel, watch=["/etc/"], ignore=["/"]) == "keep"
    assert decide(by_kernel, sensitive=["/core"]) == "sensitive"


def test_the_file_itself(tmp_path: Path) -> None:
    """By device and inode, under another name."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"")
    (tmp_path / "link").symlink_to(secret)
    stat = secret.stat()
    event = opened("/elsewhere", device=stat.st_dev, inode=stat.st_ino)
    for rule in (secret, tmp_path / "link", str(secret), bytes(secret)):
        assert decide(event, watch=[rule]) == "keep"
        assert decide(event, sensitive=[rule]) == "sensitive"
    assert decide(event, watch=[f"{tmp_path}/s*t"]) == "leave out"
    assert decide(opened("/elsewhere", device=stat.st_dev, inode=stat.st_ino + 1), watch=[secret]) == "leave out"
    # Of a name that only starts there, they are the directory's.
    start = FileEvent(op="chmod", path="/x", path_source="as_passed", device=stat.st_dev, inode=stat.st_ino, errno=1)
    assert decide(start, watch=[secret]) == "leave out"


@pytest.mark.parametrize("option", ["watch", "sensitive", "ignore"])
@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("etc/", "absolute"),
        ("", "empty"),
        ("~/.ssh/", "expanduser"),
        ("/a//b", "empty component"),
        ("/a/../b", "no resolved path"),
        ("/a/.", "no resolved path"),
        ("/a\0b", "NUL"),
        ("/" + "a" * 256, "255 bytes"),
        ("/a" * 2048, "4095 bytes"),
        ("/a[b", "without its ]"),
        ("/a**", "component of its own"),
    ],
)
def test_a_rule_that_can_never_match(option: str, rule: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        KprobeManager(**{option: ["/fine/", rule]})
    assert option in str(caught.value)


@pytest.mark.parametrize("option", ["watch", "sensitive", "ignore"])
def test_what_is_no_list_of_rules(option: str) -> None:
    for value in ("/etc/", b"/etc/", PurePosixPath("/etc"), 5, [5], [None], ["/etc", 1.5]):
        with pytest.raises(TypeError, match=option):
            KprobeManager(**{option: value})
    with pytest.raises(ValueError, match="empty"):
        KprobeManager(**{option: []})
    with pytest.raises(ValueError, match="at most 4096"):
        KprobeManager(**{option: (f"/{number}" for number in range(5_000))})
    KprobeManager(**{option: (f"/{number}" for number in range(4_096))})


def test_the_default_list_is_of_rules() -> None:
    assert len(set(DEFAULT_SENSITIVE)) == len(DEFAULT_SENSITIVE) > 50
    for path in (
        "/etc/shadow",
        "/root/.ssh/id_rsa",
        "/home/someone/.aws/credentials",
        "/proc/12/environ",
        "/etc/sudoers",
    ):
        assert decide(opened(path), sensitive=DEFAULT_SENSITIVE) == "sensitive", path
    for path in ("/etc/hosts", "/usr/bin/ls", "/home/someone/notes", "/proc/self/maps"):
        assert decide(opened(path), sensitive=DEFAULT_SENSITIVE) == "keep", path

# SPDX-License-Identifier: MIT
"""Path rules as they are given on the command line, and what is said about them at the start of a trace."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aa_fileio import KprobeManager

OPTIONS = {"watch": "--path", "sensitive": "--sensitive", "ignore": "--ignore"}
_DONE = {"watch": "watched", "sensitive": "sensitive", "ignore": "ignored"}


class Rule(argparse.Action):
    """One rule more. A directory that is given without the slash means all below it, which the API takes literally.

    `default` of --sensitive stands for a whole list; no rule is called so, for rules begin with a slash.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        from aa_fileio import DEFAULT_SENSITIVE

        rules = [*(getattr(namespace, self.dest) or [])]
        if self.dest == "sensitive" and values == "default":
            rules += DEFAULT_SENSITIVE
        elif values.startswith("/") and not values.endswith("/") and os.path.isdir(values):
            rules.append(f"{values}/")
            words = f"{OPTIONS[self.dest]} {values}: {values} is a directory: all below it is {_DONE[self.dest]}, too"
            namespace.rule_words = [*getattr(namespace, "rule_words", []), words]
        else:
            rules.append(values)
        setattr(namespace, self.dest, rules)


def rule_words(manager: KprobeManager, options: argparse.Namespace) -> Iterator[str]:
    """For standard error, once the trace has begun. Of the offered list most are not there: no word of that."""
    from aa_fileio import DEFAULT_SENSITIVE

    yield from getattr(options, "rule_words", ())
    offered = {rule.rstrip("/") for rule in DEFAULT_SENSITIVE}
    for note in getattr(manager, "rule_notes", ()):
        if note.option != "sensitive" or note.rule not in offered:
            yield f"{OPTIONS[note.option]} {note.rule}: {note.text}"

"""The problems of a configuration, and the one error that reports all of them at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""The path of a value: keys and list positions from the top of the file."""


def dotted(path: Path) -> str:
    """The path as people write it: ``providers.openai.keys[0].value``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint that ends a message: the nearest known word, or else all of them; empty when there are none."""
    words = sorted(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(words)}" if words else ""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        source: The file, or ``environment variable NAME``.
        line: Counted from 1; 0 where no line is to blame.
        key: Dotted path of the key, or empty.
        message: What is wrong and what would be right. Never holds a secret.
    """

    source: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}" if self.line else self.source
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class ConfigError(Exception):
    """The configuration cannot be used. ``problems`` holds everything found, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.source, problem.line)))
        super().__init__("\n".join(str(problem) for problem in self.problems))

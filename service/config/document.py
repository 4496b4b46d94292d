"""Reads a YAML file into plain values that remember which line they came from.

The file may come from anyone, so it is bounded in bytes, nodes and depth, and only plain values are made of
it. Scalars are read as YAML 1.2 does: only ``true`` and ``false`` are booleans, dates and ``12:30`` are text.
``${NAME}`` in any text value stands for an environment variable, ``$${`` for a plain ``${``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from service.config.problems import Path, Problem, dotted

MAX_BYTES = 256 * 1024
MAX_NODES = 20_000
MAX_DEPTH = 32

# Anything shorter is no secret worth the name, and replacing it would garble messages.
_SHORTEST_SECRET = 8
_PLACEHOLDER = re.compile(r"\$\$\{|\$\{([^}]*)\}")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CORE_TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """Composes nodes by the core schema of YAML 1.2; its constructors are never used."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's name and type)


_Loader.add_implicit_resolver(_CORE_TAG + "bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF"))
_Loader.add_implicit_resolver(_CORE_TAG + "null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(_CORE_TAG + "int", re.compile(r"[-+]?(?:0|[1-9][0-9_]{0,30})\Z"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    _CORE_TAG + "float",
    re.compile(r"[-+]?(?:(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]{1,4})?|[0-9]+[eE][-+]?[0-9]{1,4})\Z"),
    list("-+.0123456789"),
)


@dataclass(slots=True)
class Document:
    """A file's values and where they were.

    Attributes:
        source: The file's name, for messages.
        values: Mappings, lists and scalars, with placeholders filled in.
        lines: The line of each value, from 1, by its path.
        variables: The environment variable that set a value, by its path; it goes before the file.
        placeholders: The text as written of every value that held a placeholder. Its expansion may be a
            secret, so people are shown this text instead.
        expansions: What placeholders stood for, and the text as written of the value they were in.
        problems: What is wrong so far.
    """

    source: str
    values: dict[str, Any] = field(default_factory=dict, repr=False)
    lines: dict[Path, int] = field(default_factory=dict)
    variables: dict[Path, str] = field(default_factory=dict)
    placeholders: dict[Path, str] = field(default_factory=dict)
    expansions: dict[str, str] = field(default_factory=dict, repr=False)
    problems: list[Problem] = field(default_factory=list)

    def nearest(self, path: Path) -> Path:
        """The deepest known place on the way to ``path``.

        Steps that the file leaves out are skipped, so the long form of a value that was written in its
        short form is found where the short form stands.
        """
        found: Path = ()
        for part in path:
            step = (*found, part)
            if step in self.lines or any(place[: len(step)] == step for place in self.variables):
                found = step
        return found

    def problem_at(self, path: Path, message: str) -> Problem:
        """A problem with the value at ``path``, placed there or at the nearest place above it."""
        place = self.nearest(path)
        message = self.redacted(message)
        if place in self.variables:
            return Problem(f"environment variable {self.variables[place]}", 0, dotted(path), message)
        return Problem(self.source, self.lines.get(place, 0), dotted(path), message)

    def redacted(self, text: str) -> str:
        """The text with placeholders in the place of what they stood for, in case that is a secret."""
        for expansion, written in self.expansions.items():
            text = text.replace(expansion, written)
        return text

    def report(self, path: Path, message: str) -> None:
        """Notes a problem with the value at ``path``."""
        self.problems.append(self.problem_at(path, message))


def read_document(source: str, data: bytes, environment: Mapping[str, str]) -> Document:
    """Reads the bytes of a YAML file; everything wrong with it is left in ``problems``."""
    document = Document(source)
    root = _compose(document, data)
    if root is None:
        return document
    if not isinstance(root, yaml.MappingNode):
        if not (isinstance(root, yaml.ScalarNode) and root.tag == _CORE_TAG + "null"):
            _complain(document, root, (), "the file must hold keys and values, such as `default_route: local/vary`")
        return document
    document.values = _Builder(document, environment).mapping(root, ())
    return document


def _compose(document: Document, data: bytes) -> yaml.Node | None:
    if len(data) > MAX_BYTES:
        document.problems.append(Problem(document.source, 0, "", f"is larger than {MAX_BYTES // 1024} KiB"))
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        document.problems.append(Problem(document.source, line, "", "is not UTF-8 text"))
        return None
    try:
        root: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        # Only the description: the error's own text quotes the line, which may hold a key.
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        if mark and "${" in "".join(text.splitlines()[mark.line : mark.line + 1]):
            reason += "; within {...} and [...], text with ${NAME} needs quotes"
        document.problems.append(
            Problem(document.source, mark.line + 1 if mark else 0, "", f"is not valid YAML: {reason}")
        )
    except yaml.YAMLError:
        document.problems.append(Problem(document.source, 0, "", "holds characters that YAML does not allow"))
    except RecursionError:
        document.problems.append(Problem(document.source, 0, "", f"is nested more than {MAX_DEPTH} levels deep"))
    else:
        return root
    return None


def _complain(document: Document, node: yaml.Node, path: Path, message: str) -> None:
    document.problems.append(Problem(document.source, node.start_mark.line + 1, dotted(path), message))


class _TooMuchError(Exception):
    """A bound was passed; the rest of the file is not looked at."""


class _Builder:
    """Turns nodes into values. Aliases make nodes shared, so what is counted is visits, not nodes."""

    def __init__(self, document: Document, environment: Mapping[str, str]) -> None:
        self._document = document
        self._environment = environment
        self._visits = 0

    def mapping(self, root: yaml.MappingNode, path: Path) -> dict[str, Any]:
        try:
            return self._mapping(root, path)
        except _TooMuchError as error:
            self._document.problems.append(Problem(self._document.source, 0, "", str(error)))
            return {}

    def _value(self, node: yaml.Node, path: Path) -> Any:
        self._visits += 1
        if self._visits > MAX_NODES:
            raise _TooMuchError(f"holds more than {MAX_NODES} values (aliases counted each time they are used)")
        if len(path) > MAX_DEPTH:
            raise _TooMuchError(f"is nested more than {MAX_DEPTH} levels deep")
        if isinstance(node, yaml.MappingNode) and node.tag == _CORE_TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _CORE_TAG + "seq":
            return [self._element(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        return self._unfit(node, path)

    def _element(self, node: yaml.Node, path: Path) -> Any:
        self._document.lines[path] = node.start_mark.line + 1
        return self._value(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        first_lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                _complain(self._document, key_node, path, "keys must be plain text")
                continue
            key = str(key_node.value)
            line = key_node.start_mark.line + 1
            if key in first_lines:
                _complain(self._document, key_node, (*path, key), f"is given twice, first on line {first_lines[key]}")
                continue
            first_lines[key] = line
            self._document.lines[*path, key] = line
            values[key] = self._value(value_node, (*path, key))
        return values

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        text = str(node.value)
        try:
            match node.tag.removeprefix(_CORE_TAG):
                case "str":
                    return self._fill_in(text, path)
                case "null":
                    return None
                case "bool":
                    return {"true": True, "false": False}[text.lower()]
                case "int":
                    return int(text.replace("_", ""))
                case "float":
                    return float(text)
        except (KeyError, ValueError):
            # An explicit tag that the text does not bear out, such as `!!int ten`.
            pass
        return self._unfit(node, path)

    def _unfit(self, node: yaml.Node, path: Path) -> None:
        _complain(self._document, node, path, f"the tag {node.tag} does not fit here; write the plain value")

    def _fill_in(self, text: str, path: Path) -> str:
        if "${" not in text:
            return text
        self._document.placeholders[path] = text

        def substitute(match: re.Match[str]) -> str:
            name = match[1]
            if name is None:
                return "${"
            if not _VARIABLE_NAME.fullmatch(name):
                self._document.report(path, "${...} must hold the name of an environment variable; write $${ for ${")
            elif name not in self._environment:
                self._document.report(path, f"the environment variable {name} is not set")
            return self._environment.get(name, "")

        filled_in = _PLACEHOLDER.sub(substitute, text)
        if len(filled_in) >= _SHORTEST_SECRET:
            self._document.expansions[filled_in] = text
        return filled_in

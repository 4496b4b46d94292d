"""Hostile and mistaken YAML: bounded, and answered with the line that is wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from service.config.document import MAX_BYTES, read_document

Problems = Callable[..., list[str]]


def values(text: str, **environment: str) -> object:
    document = read_document("gateway.yaml", text.encode(), environment)
    assert not document.problems
    return document.values


def test_scalars_are_read_as_yaml_1_2_reads_them() -> None:
    text = "a: [yes, no, on, true, 0x1f, 12:30, 1_000, 0123, 2026-12-01, 1.5, ~, 127.0.0.1:80]"
    assert values(text) == {
        "a": ["yes", "no", "on", True, "0x1f", "12:30", 1000, "0123", "2026-12-01", 1.5, None, "127.0.0.1:80"]
    }


def test_placeholders_are_filled_in_from_the_environment_and_stay_text() -> None:
    assert values("a: ${X}/v1\nb: $${X}\nc: ${N}", X="http://h", N="12") == {"a": "http://h/v1", "b": "${X}", "c": "12"}


def test_what_a_variable_holds_is_not_expanded_again() -> None:
    assert values("a: ${X}", X="${Y}", Y="secret") == {"a": "${Y}"}


def test_a_missing_variable_is_named(problems_of: Problems) -> None:
    assert problems_of("\npublic: 1\ndefault_prompt: ${NOPE}\n")[-1] == (
        "3 default_prompt: the environment variable NOPE is not set"
    )


def test_a_placeholder_in_braces_without_quotes_is_explained(problems_of: Problems) -> None:
    (problem,) = problems_of("log: {level: ${LEVEL}}\n")
    assert problem.startswith("1 : is not valid YAML")
    assert "needs quotes" in problem


def test_a_repeated_key_is_an_error_that_names_both_lines(problems_of: Problems) -> None:
    assert problems_of("log:\n  level: info\nallow_raw: true\nlog:\n  level: debug\n") == [
        "4 log: is given twice, first on line 1"
    ]


def test_syntax_errors_name_the_line_without_quoting_it(problems_of: Problems) -> None:
    (problem,) = problems_of("providers:\n  openai: [sk-very-secret\nx: y\n")
    assert problem.startswith("3 : is not valid YAML: while parsing a flow sequence")
    assert "secret" not in problem


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a: 1\nb: \xff\xfe\n", "2 : is not UTF-8 text"),
        (b"a: \x00\n", "0 : holds characters that YAML does not allow"),
        (b"- a\n- b\n", "1 : the file must hold keys and values, such as `default_route: local/vary`"),
        (b"#" * (MAX_BYTES + 1), f"0 : is larger than {MAX_BYTES // 1024} KiB"),
        (b"[" * 5000, "0 : is nested more than 32 levels deep"),
        (b"a: " + b"[" * 40 + b"]" * 40, "0 : is nested more than 32 levels deep"),
        (b"a: &a [*a]\n", "0 : is nested more than 32 levels deep"),
        (b"? [x]\n: y\n", "1 : keys must be plain text"),
        (
            b"log: !!python/object:os.system {}\n",
            "1 log: the tag tag:yaml.org,2002:python/object:os.system does not fit here",
        ),
        (b"allow_raw: !!bool maybe\n", "1 allow_raw: the tag tag:yaml.org,2002:bool does not fit here"),
        (b"a: 1\n---\nb: 1\n", "2 : is not valid YAML"),
    ],
)
def test_hostile_files_are_refused(problems_of: Problems, data: bytes, expected: str) -> None:
    assert any(problem.startswith(expected) for problem in problems_of(data)), problems_of(data)


def test_aliases_that_multiply_are_counted_each_time(problems_of: Problems) -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
        for before, name in zip("abcdefg", "bcdefgh", strict=True)
    )
    assert any("aliases counted" in problem for problem in problems_of(bomb))

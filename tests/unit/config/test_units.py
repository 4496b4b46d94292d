from __future__ import annotations

import pytest

from service.config.units import parse_bytes, parse_seconds, show_bytes, show_seconds


@pytest.mark.parametrize(
    ("written", "amount"),
    [("50MiB", 52_428_800), ("50 MB", 50_000_000), ("1.5KiB", 1536), ("7", 7), (7, 7), ("2gib", 2 * 1024**3)],
)
def test_sizes_take_binary_and_decimal_units(written: object, amount: int) -> None:
    assert parse_bytes(written) == amount


@pytest.mark.parametrize(
    ("written", "seconds"), [("600s", 600), ("10m", 600), ("500ms", 0.5), ("1h", 3600), ("1.5d", 129_600), (2, 2)]
)
def test_durations_take_units_and_default_to_seconds(written: object, seconds: float) -> None:
    assert parse_seconds(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written", ["", "MiB", "-1", "1e3", "1 2", "50XB", "\u0665\u0660MiB", True, None, -1, float("nan"), [1]]
)
def test_anything_else_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="must be a size"):
        parse_bytes(written)
    with pytest.raises(ValueError, match="must be a duration"):
        parse_seconds(written)


def test_a_fraction_of_a_byte_is_refused() -> None:
    with pytest.raises(ValueError, match="whole number of bytes"):
        parse_bytes("0.5")


@pytest.mark.parametrize("amount", [1, 1023, 1024, 50 * 1024**2, 50_000_000, 2 * 1024**3])
def test_sizes_are_shown_as_they_can_be_written(amount: int) -> None:
    assert parse_bytes(show_bytes(amount)) == amount


@pytest.mark.parametrize("seconds", [0.001, 0.5, 1.0, 1.5, 20.0, 600.0, 3600.0, 5400.0, 604_800.0])
def test_durations_are_shown_as_they_can_be_written(seconds: float) -> None:
    assert parse_seconds(show_seconds(seconds)) == pytest.approx(seconds)

from __future__ import annotations

import contextlib
import os
import pty
from collections.abc import Awaitable, Callable

import pytest
from imagevariations.v1 import model_service_pb2

Run = Callable[..., Awaitable[int]]


@pytest.fixture
def listed(double):
    double.models = [
        model_service_pb2.Model(
            id="a/b",
            capabilities=model_service_pb2.ModelCapabilities(
                max_n=4,
                sizes=["1024x1024", "auto"],
                input_formats=["png", "jpeg"],
                max_input_bytes=20_000_000,
                seed=True,
                prompt="required",
                square_input=True,
                price_per_image_usd=0.0425,
                sunset_date="2026-12-01",
                available=True,
            ),
        ),
        model_service_pb2.Model(id="dall-e-2", targets=["a/b", "c/d"], warnings=["c is [red]away[/red]"]),
    ]
    return double


async def test_elsewhere_than_on_a_terminal_columns_are_separated_by_tabs(listed, run: Run, capsys) -> None:
    assert await run("models") == 0
    header, model, alias = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert dict(zip(header, model, strict=True)) == {
        "model": "a/b",
        "ready": "yes",
        "n": "4",
        "sizes": "1024x1024, auto",
        "input": "png, jpeg up to 20MB square",
        "takes": "seed, prompt (required)",
        "price": "$0.0425",
        "notes": "ends 2026-12-01",
    }
    assert (alias[0], alias[-1]) == ("dall-e-2", "alias of a/b, c/d; c is [red]away[/red]")


async def on_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch, width: int) -> str:
    ours, theirs = pty.openpty()
    monkeypatch.setenv("COLUMNS", str(width))
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr("sys.stdout", terminal)
        assert await run("models") == 0
        terminal.flush()
    shown = b""
    # A terminal hands over what was written piece by piece, and fails at the end where a file would say that it ends.
    with os.fdopen(ours, "rb", buffering=0) as screen, contextlib.suppress(OSError):
        while piece := screen.read(65536):
            shown += piece
    return shown.decode()


async def test_on_a_terminal_there_are_tables(listed, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = await on_a_terminal(run, monkeypatch, 200)
    assert "prompt (required)" in shown
    assert "20MB" in shown
    assert "[red]away[/red]" in shown
    assert "Too narrow" not in shown


async def test_on_a_narrow_terminal_what_matters_least_is_left_out(
    listed, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed.models[0].id = "a/" + "b" * 40
    shown = await on_a_terminal(run, monkeypatch, 80)
    assert listed.models[0].id in shown
    assert "$0.0425" in shown
    assert "20MB" not in shown
    assert "Too narrow for: input, sizes, takes." in shown


async def test_the_key_may_come_from_the_environment(listed, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE_VARIATIONS_API_KEY", "sk-env\n")
    assert await run("models") == 0
    assert listed.metadata[0]["authorization"] == "Bearer sk-env"


async def test_a_key_that_cannot_be_sent_is_refused_unseen(listed, run: Run, capsys) -> None:
    assert await run("models", "--api-key", "sk-höö") == 1
    assert "höö" not in capsys.readouterr().err

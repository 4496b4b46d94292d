"""``models``: what a running service can be asked for."""

from __future__ import annotations

import argparse
import sys

from imagevariations.v1 import model_service_pb2, model_service_pb2_grpc

from service.cli.connection import CommandError, clean, connected, metadata
from service.config.units import show_bytes

_TIMEOUT_S = 30.0
# n: images one call makes; price: of an image of 1024 x 1024.
_COLUMNS = ("model", "ready", "n", "sizes", "input", "takes", "price", "notes")


def models(options: argparse.Namespace) -> int:
    """Prints a table on a terminal, and lines of tab-separated columns elsewhere."""
    try:
        with connected(options) as channel:
            stub = model_service_pb2_grpc.ModelServiceStub(channel)
            answer = stub.ListModels(
                model_service_pb2.ListModelsRequest(), timeout=_TIMEOUT_S, metadata=metadata(options)
            )
    except CommandError as error:
        print(error, file=sys.stderr)
        return 1
    rows = [tuple(clean(cell) for cell in _row(model)) for model in answer.data]
    if sys.stdout.isatty():
        _table(rows)
    else:
        for row in (_COLUMNS, *rows):
            print("\t".join(row))
    return 0


def _table(rows: list[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Terminals are narrow: a column that nobody has anything in is left out.
    used = [position for position, _ in enumerate(_COLUMNS) if any(row[position] for row in rows)]
    table = Table(box=None, header_style="bold")
    for position in used:
        table.add_column(_COLUMNS[position], no_wrap=_COLUMNS[position] in ("model", "n", "price"), overflow="fold")
    for row in rows:
        # As Text: square brackets in a name are not markup.
        table.add_row(*(Text(row[position]) for position in used), style="dim" if row[1] == "no" else "")
    Console().print(table)


def _row(model: model_service_pb2.Model) -> tuple[str, ...]:
    notes = list(model.warnings)
    if not model.HasField("capabilities"):
        return (model.id, "", "", "", "", "", "", "; ".join([f"alias of {', '.join(model.targets)}", *notes]))
    can = model.capabilities
    knobs = [name for name in ("seed", "strength", "quality", "background") if getattr(can, name)]
    if can.prompt in ("optional", "required"):
        knobs.append("prompt" if can.prompt == "optional" else "prompt (required)")
    limits = [", ".join(can.input_formats)]
    if can.max_input_bytes:
        limits.append(f"up to {_size(can.max_input_bytes)}")
    if can.square_input:
        limits.append("square")
    if can.sunset_date:
        notes.insert(0, f"ends {can.sunset_date}")
    return (
        model.id,
        "yes" if can.available else "no",
        str(can.max_n),
        ", ".join(can.sizes) or "any",
        " ".join(part for part in limits if part),
        ", ".join(knobs),
        _price(can),
        "; ".join(notes),
    )


def _price(can: model_service_pb2.ModelCapabilities) -> str:
    if not can.HasField("price_per_image_usd"):
        return ""
    return f"${can.price_per_image_usd:.4g}" if can.price_per_image_usd else "free"


def _size(amount: int) -> str:
    exact = show_bytes(amount)
    return exact if not exact.isdigit() else f"{amount / 1_000_000:.3g}MB"

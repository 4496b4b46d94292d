"""``models``: what a running service can be asked for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from imagevariations.v1 import model_service_pb2, model_service_pb2_grpc

from service.cli.connection import CommandError, clean, connected, metadata
from service.config.units import show_bytes

if TYPE_CHECKING:
    from rich.console import Console

_TIMEOUT_S = 30.0
# n: images one call makes; price: of an image of 1024 x 1024.
_COLUMNS = ("model", "ready", "n", "sizes", "input", "takes", "price", "notes")
# Characters a line of the terminal needs for all of these, and sizes that one cell has room for.
_WIDE = 140
_MOST_SIZES = 4


def models(options: argparse.Namespace) -> int:
    """Prints tables of models and aliases on a terminal, and lines of tab-separated columns elsewhere."""
    try:
        with connected(options) as channel:
            stub = model_service_pb2_grpc.ModelServiceStub(channel)
            answer = stub.ListModels(
                model_service_pb2.ListModelsRequest(), timeout=_TIMEOUT_S, metadata=metadata(options)
            )
    except CommandError as error:
        print(error, file=sys.stderr)
        return 1
    if sys.stdout.isatty():
        _print_tables(answer.data)
    else:
        for row in (_COLUMNS, *(_cleaned(_row(model)) for model in answer.data)):
            print("\t".join(row))
    return 0


def _print_tables(listed: Iterable[model_service_pb2.Model]) -> None:
    from rich.console import Console

    console = Console()
    # Formats and their limits are much alike everywhere: on a narrow terminal the room is for the rest.
    shown = [name for name in _COLUMNS if name != "input" or console.width >= _WIDE]
    models, aliases = [], []
    for model in listed:
        if model.HasField("capabilities"):
            cells = dict(zip(_COLUMNS, _row(model), strict=True)) | {"sizes": _few(model.capabilities.sizes)}
            models.append(_cleaned(cells[name] for name in shown))
        else:
            aliases.append(_cleaned((model.id, ", ".join(model.targets), "; ".join(model.warnings))))
    _print_table(console, shown, models)
    if aliases:
        console.print()
        _print_table(console, ("alias", "stands for", "notes"), aliases)


def _print_table(console: Console, titles: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.table import Table
    from rich.text import Text

    # A column that nobody has anything in is left out.
    used = [position for position, _ in enumerate(titles) if any(row[position] for row in rows)]
    table = Table(box=None, header_style="bold")
    # Names are there to be copied: they get up to half of the line before they are broken.
    name_width = min(console.width // 2, max((len(row[0]) for row in rows), default=0))
    for position in used:
        table.add_column(
            titles[position],
            no_wrap=titles[position] in ("n", "price"),
            overflow="fold",
            min_width=None if position else name_width,
        )
    for row in rows:
        # As Text: square brackets in a name are not markup.
        table.add_row(*(Text(row[position]) for position in used), style="dim" if row[1] == "no" else "")
    console.print(table)


def _cleaned(cells: Iterable[str]) -> tuple[str, ...]:
    return tuple(clean(cell) for cell in cells)


def _few(sizes: Sequence[str]) -> str:
    if len(sizes) <= _MOST_SIZES:
        return ", ".join(sizes) or "any"
    return f"{sizes[0]} and {len(sizes) - 1} more"


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
    if can.sunset_date and not any(can.sunset_date in note for note in notes):
        notes.append(f"ends {can.sunset_date}")
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

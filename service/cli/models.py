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
# Sizes that one cell has room for; characters after which a cell may be broken; characters between columns.
_MOST_SIZES = 3
_WRAPPED_AT = 24
_GAP = 2
# Characters that the columns beside the name need at least.
_BESIDE_NAME = 36


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


def _print_tables(listed: Sequence[model_service_pb2.Model]) -> None:
    from rich.console import Console

    console = Console()
    models = [model for model in listed if model.HasField("capabilities")]
    _print_models(console, models)
    aliases = [model for model in listed if not model.HasField("capabilities")]
    if aliases:
        console.print()
        rows = [_cleaned((each.id, ", ".join(each.targets), "; ".join(each.warnings))) for each in aliases]
        _print_table(console, ("alias", "stands for", "notes"), rows)


def _print_models(console: Console, models: Sequence[model_service_pb2.Model]) -> None:
    columns = {title: [title] for title in _COLUMNS}
    for model in models:
        cells = dict(zip(_COLUMNS, _cleaned(_row(model)), strict=True)) | {"sizes": _few(model.capabilities.sizes)}
        for title, cell in cells.items():
            columns[title].append(cell)
    omitted = []
    # Names are there to be copied, so they are not broken; where there is no room, something else has to go.
    for dispensable in ("input", "sizes", "takes"):
        widths = {title: max(map(len, cells)) for title, cells in columns.items()}
        needed = widths.pop("model") + _GAP + sum(_GAP + min(width, _WRAPPED_AT) for width in widths.values())
        if needed <= console.width:
            break
        del columns[dispensable]
        omitted.append(dispensable)
    _print_table(console, tuple(columns), list(zip(*columns.values(), strict=True))[1:])
    if omitted:
        console.print(
            f"\nToo narrow for: {', '.join(omitted)}. Into a pipe (| cat) all of it is written.",
            style="dim",
            highlight=False,
        )


def _print_table(console: Console, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    # A column that nobody has anything in is left out.
    used = [position for position, _ in enumerate(titles) if any(row[position] for row in rows)]
    unbroken = {"n", "price"}
    if max((len(row[0]) for row in rows), default=0) <= console.width - _BESIDE_NAME:
        unbroken.add(titles[0])
    table = Table(box=None, header_style="bold")
    for position in used:
        table.add_column(titles[position], no_wrap=titles[position] in unbroken, overflow="fold")
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

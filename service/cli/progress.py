"""Shows on stderr how a request gets on: a line for each picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from service.cli.connection import clean

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


class Progress(Protocol):
    """Something that can be told what happens."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def started(self, target: str) -> None:
        """A target is being tried."""

    def completed(self, index: int, size: int) -> None:
        """A picture is there; ``size`` in bytes."""

    def say(self, text: str) -> None:
        """Something else worth a line."""


def progress(count: int) -> Progress:
    """The progress display that suits stderr, for a request of this many pictures."""
    return Bars(count) if sys.stderr.isatty() else Lines(count)


class Lines:
    """Plain lines, for logs and pipes."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def started(self, target: str) -> None:
        self.say(f"trying {target}")

    def completed(self, index: int, size: int) -> None:
        self._done += 1
        self.say(f"picture {index} is there ({self._done} of {self._count}, {size / 1000:.0f} kB)")

    def say(self, text: str) -> None:
        print(clean(text), file=sys.stderr, flush=True)


class Bars:
    """A line for each picture, with a spinner and the time it took."""

    def __init__(self, count: int) -> None:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._bars: RichProgress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("picture {task.fields[index]}"),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._tasks: list[TaskID] = [self._bars.add_task("waiting", total=1, index=index) for index in range(count)]

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def started(self, target: str) -> None:
        for task in self._tasks:
            if not self._bars.tasks[task].finished:
                self._bars.update(task, description=clean(target))

    def completed(self, index: int, size: int) -> None:
        self._bars.update(self._tasks[index], completed=1, description=f"{size / 1000:.0f} kB")

    def say(self, text: str) -> None:
        self._bars.console.print(clean(text), markup=False, highlight=False)

"""The spans of time that budgets are counted over, cut into slices so that a store only ever adds numbers up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

_SLICES_PER_WINDOW = 60


class Span(StrEnum):
    """The length of a window, written as in the configuration."""

    HOUR = "1h"
    DAY = "1d"
    WEEK = "1w"
    MONTH = "1M"


_LENGTH_S = {Span.HOUR: 3600, Span.DAY: 86_400, Span.WEEK: 7 * 86_400, Span.MONTH: 30 * 86_400}


@dataclass(frozen=True, slots=True)
class Window:
    """A span that spending is summed over.

    A rolling window (the default) is the last hour, day, week or 30 days, whenever one looks. It is counted in sixty
    slices, each of which counts until its last instant is out of the window: what was spent is forgotten up to a
    sixtieth late, never early, so no span of this length ever holds more than the budget.

    A calendar-aligned window starts anew with the hour, the day, the ISO week (Monday) or the month, in UTC.
    """

    span: Span
    aligned: bool = False

    def __str__(self) -> str:
        return f"{self.span.value} calendar" if self.aligned else self.span.value

    def current_slice(self, now: float) -> int:
        """The start (Unix seconds) of the slice that spending at ``now`` (Unix seconds) belongs to."""
        if self.aligned:
            return int(_period_start(self.span, now).timestamp())
        step = self._step_s
        return int(now // step) * step

    def first_slice(self, now: float) -> int:
        """The start of the oldest slice that still counts at ``now``."""
        if self.aligned:
            return self.current_slice(now)
        step = self._step_s
        # The oldest slice with start + step + length > now.
        return (int((now - self._length_s) // step)) * step

    def forgotten_at(self, slice_start: int) -> float:
        """When what was spent in a slice no longer counts, in Unix seconds."""
        if self.aligned:
            return _next_period(self.span, datetime.fromtimestamp(slice_start, UTC)).timestamp()
        return float(slice_start + self._step_s + self._length_s)

    @property
    def _length_s(self) -> int:
        return _LENGTH_S[self.span]

    @property
    def _step_s(self) -> int:
        return self._length_s // _SLICES_PER_WINDOW


def _period_start(span: Span, now: float) -> datetime:
    moment = datetime.fromtimestamp(now, UTC).replace(minute=0, second=0, microsecond=0)
    if span is Span.HOUR:
        return moment
    midnight = moment.replace(hour=0)
    if span is Span.DAY:
        return midnight
    if span is Span.WEEK:
        return midnight - timedelta(days=midnight.weekday())
    return midnight.replace(day=1)


def _next_period(span: Span, start: datetime) -> datetime:
    if span is not Span.MONTH:
        return start + timedelta(seconds=_LENGTH_S[span])
    year, month = (start.year + 1, 1) if start.month == 12 else (start.year, start.month + 1)
    return start.replace(year=year, month=month)

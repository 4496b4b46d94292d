"""An outcome that was kept reads back as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.errors import ErrorKind, GatewayError
from service.core.values import Attempt, ImageFormat, Provenance, Size, Target, Usage
from service.gateway.events import AttemptFailed, AttemptStarted, ImageCompleted
from service.gateway.outcome import CacheReport, FinishedImage, Outcome
from service.gateway.replay import Recorded, dump, parse

A, B = Target("a", "m"), Target("b", "m")
FAILED = Attempt("a", "m", "main", 12, "unavailable", 503)
SAID = Provenance(("c2pa", "iptc"), ("c2pa",), ("iptc",), "trainedAlgorithmicMedia")
IMAGES = (
    FinishedImage(0, Size(3, 2), ImageFormat.PNG, data=b"\x00first"),
    FinishedImage(1, Size(3, 2), ImageFormat.WEBP, url="https://x.test/1", revised_prompt="§", provenance=SAID),
)
OUTCOME = Outcome(
    "var_1", 7, IMAGES, "a/m", B, "deployed", 1, (FAILED,), 5, Usage(1, 2, 3), 0.5, "high", "opaque", ("careful",),
    CacheReport(0.9, A, True, "id", "direct", 1.0, B), (7, 8), ("STOP",), "3:2", {"sent": [1]}, {"got": None},
)  # fmt: skip
EVENTS = (
    AttemptStarted(A, 0),
    AttemptFailed(FAILED, "It failed.", B),
    AttemptStarted(B, 1),
    ImageCompleted(IMAGES[1], B),
    ImageCompleted(IMAGES[0], B),
)


def test_an_outcome() -> None:
    assert parse(dump(Recorded(EVENTS, OUTCOME))) == Recorded(EVENTS, OUTCOME)


def test_a_failure() -> None:
    error = GatewayError(
        ErrorKind.TIMEOUT,
        "Too \ud800late.",
        code="c",
        param="p",
        retry_after_s=1.5,
        upstream_status=504,
        attempts=[FAILED],
    )
    again = parse(dump(Recorded(EVENTS[:2], error)))
    assert isinstance(again.end, GatewayError)
    assert again.events == EVENTS[:2]
    assert again.end.__dict__ == error.replaced(message="Too ?late.").__dict__


@given(st.binary(max_size=200))
def test_anything_else_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse(data)

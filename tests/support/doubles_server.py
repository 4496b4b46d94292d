"""Fixtures that run every vendor's double on a real socket.

In a conftest.py: ``from doubles_server import doubles, doubles_process  # noqa: F401``; a test asks for
``doubles`` and gets a server without log, leaks or switches.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.doubles.server import DoublesServer


@pytest.fixture(scope="session")
def doubles_process() -> Iterator[DoublesServer]:
    """One server for all tests of the session."""
    with DoublesServer() as server:
        yield server


@pytest.fixture
def doubles(doubles_process: DoublesServer) -> Iterator[DoublesServer]:
    """The server, as good as new. Afterwards no key may have gone where it does not belong."""
    doubles_process.state.reset()
    yield doubles_process
    leaks = list(doubles_process.state.leaks)
    doubles_process.state.reset()
    assert not leaks, f"keys leaked: {leaks}"

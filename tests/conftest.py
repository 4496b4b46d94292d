"""Hypothesis draws the same examples every time; ``make test-explore`` looks for new ones."""

from __future__ import annotations

from hypothesis import settings

# ``--hypothesis-profile=explore`` chooses the other one.
# No test asserts a time: how long an example takes says more about the machine than about the code.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.register_profile("explore", max_examples=500, deadline=None, print_blob=True)
settings.load_profile("repeatable")

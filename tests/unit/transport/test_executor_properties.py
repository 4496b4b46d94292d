"""Properties that hold for every sequence of misfortunes.

The sockets are replaced here, by a vendor that follows a script, so that thousands of conversations can be had;
what real sockets do is in test_messages.py.
"""

import asyncio
import json
import random
from dataclasses import dataclass, field

import httpx
from heard import Heard
from hypothesis import given, settings
from hypothesis import strategies as st

from service.catalog.profile import Profile
from service.core.calls import ProviderCall
from service.core.errors import GatewayError
from service.core.values import EncodedImage, ImageFormat, Size
from service.transport.clock import Clock
from service.transport.executor import Executor

BASE = "https://vendor.example"
CALL = ProviderCall("model-1", EncodedImage(b"image", ImageFormat.PNG, Size(8, 8)))

# Misfortunes of a request, by whether work that it started was then surely not done.
NOT_SENT = [httpx.ConnectError("refused"), httpx.ConnectTimeout("slow")]
BROKEN = [httpx.ReadError("reset"), httpx.WriteError("reset"), httpx.RemoteProtocolError("closed")]
REFUSED = [400, 401, 402, 403, 404, 422, 429]
FAILED = [500, 502, 503, 504, 408]
SAID = ["wait", "done", "refused", "unbilled"]

misfortune = st.one_of(
    st.sampled_from([*NOT_SENT, *BROKEN]),
    st.tuples(st.sampled_from([*REFUSED, *FAILED]), st.none() | st.floats(0, 100)),
    st.sampled_from(SAID),
)


@dataclass
class Vendor:
    """Follows the script, and remembers when work may have been done (and so be billed)."""

    script: list
    started: int = 0
    polled: int = 0
    billed_again: bool = False
    may_have_run: bool = False
    keys: list = field(default_factory=list)

    def handle(self, request: httpx.Request) -> httpx.Response:
        event = self.script.pop(0) if self.script else "done"
        if request.method == "POST":
            self.started += 1
            self.keys.append(request.headers["authorization"])
            self.billed_again = self.billed_again or self.may_have_run
            self.may_have_run = event not in NOT_SENT and not (isinstance(event, tuple) and event[0] in REFUSED)
        else:
            self.polled += 1
        match event:
            case Exception():
                raise event
            case (status, None):
                return httpx.Response(status)
            case (status, seconds):
                return httpx.Response(status, headers={"retry-after-ms": str(round(seconds * 1000))})
            case "unbilled":
                # The wire format knows that this job was not billed.
                self.may_have_run = False
                return httpx.Response(200, json={"failed": True})
            case "refused":
                return httpx.Response(200, json={"refused": "violence"})
            case "wait":
                return httpx.Response(200, json={"wait": f"{BASE}/jobs/1"})
            case _:
                return httpx.Response(200, content=json.dumps({"images": ["a"]}))


@dataclass
class Story:
    """The end of one conversation."""

    vendor: Vendor
    attempts: list
    elapsed: float
    waits: list
    error: GatewayError | None


async def lived_through(make_upstream, script, *, keys, profile, deadline_s, seed, **limits):
    now, waits, heard, vendor, error = [0.0], [], Heard(), Vendor(list(script)), None

    async def sleep(seconds):
        waits.append(seconds)
        now[0] += seconds

    async def fetch(url):
        return url.encode()

    async with httpx.MockTransport(vendor.handle) as client:
        executor = Executor(client, fetch, clock=Clock(lambda: now[0], sleep, random.Random(seed).random))
        target = make_upstream(BASE, *(f"key-{number}" for number in range(keys)), **limits)
        try:
            await executor.run(target, CALL, profile, deadline=deadline_s, emit=heard)
        except GatewayError as caught:
            error = caught
        await executor.aclose()
    return Story(vendor, heard.attempts, now[0], waits, error)


@settings(max_examples=300, deadline=None)
@given(
    script=st.lists(misfortune, max_size=25),
    keys=st.integers(1, 4),
    max_retries=st.integers(0, 4),
    free=st.booleans(),
    deadline_s=st.floats(0, 500),
    seed=st.integers(0, 1000),
)
def test_no_script_makes_the_executor_pay_twice_wait_too_long_or_try_too_often(
    script, keys, max_retries, free, deadline_s, seed, upstream
):
    story = asyncio.run(
        lived_through(
            upstream,
            script,
            keys=keys,
            profile=Profile(free=free),
            deadline_s=deadline_s,
            seed=seed,
            max_retries=max_retries,
            max_polls=10,
            max_poll_failures=3,
        )
    )
    vendor = story.vendor
    if not free:
        assert not vendor.billed_again
    assert vendor.started <= keys + max_retries
    assert vendor.polled <= 10 * (3 + 1) * vendor.started
    assert story.elapsed <= deadline_s + 1e-6
    assert all(wait >= 0 for wait in story.waits)
    # Every start of work is an attempt; a wait for a key at rest, or a lack of time, may add one more each.
    assert vendor.started <= len(story.attempts) <= keys + max_retries + 1
    assert story.attempts[-1].outcome == (story.error.kind.value if story.error else "success")
    assert all(attempt.outcome not in ("success", "internal") for attempt in story.attempts[:-1])
    assert "secret" not in repr(story.attempts) + repr(story.error)

"""Fuzzes the code that reads callers' bytes, for a given time: ``python -m tests.fuzz --seconds 60``.

Each target has its share of the time in a process of its own (atheris does not return). Inputs that make a target fail
are left in ``tests/fuzz/failures``; once mended, they belong into ``tests/fuzz/corpus``, which `make test` replays.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
FAILURES = HERE / "failures"
IN_PROCESS_NAMES = ("form", "json", "image")
TARGETS = (*IN_PROCESS_NAMES, "socket")
INSTRUMENTED = ["service.api.rest", "service.api.validation", "service.api.convert", "service.imaging", "multipart"]


def main() -> int:
    """Runs one target, or all of them one after the other; 1 where any failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together (default: %(default)s)")
    parser.add_argument("--target", choices=TARGETS, help="this one only")
    options = parser.parse_args()
    FAILURES.mkdir(exist_ok=True)
    if options.target in IN_PROCESS_NAMES:
        _fuzz(options.target, options.seconds)
    if options.target:
        return 0 if _fuzz_socket(options.seconds) else 1
    share = max(1, options.seconds // len(TARGETS))
    command = [sys.executable, "-m", "tests.fuzz", "--seconds", str(share), "--target"]
    failed = [target for target in TARGETS if subprocess.run([*command, target], check=False).returncode]
    if failed:
        print(f"failed: {', '.join(failed)}; the inputs are in {FAILURES}", file=sys.stderr)
    return 1 if failed else 0


def _fuzz(name: str, seconds: int) -> NoReturn:
    """Lets atheris look for inputs that reach new code; it ends the process."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        from tests.fuzz.targets import IN_PROCESS
    with tempfile.TemporaryDirectory() as found:
        # The first directory takes what is found, the second is only read: the committed corpus stays small.
        limits = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10", "-verbosity=1", "-print_pcs=0"]
        prefix = f"-artifact_prefix={FAILURES}/{name}-"
        atheris.Setup([name, *limits, prefix, found, str(CORPUS / name)], IN_PROCESS[name])
        atheris.Fuzz()
    raise AssertionError("atheris ends the process")


def _fuzz_socket(seconds: int) -> bool:
    """Sends altered requests to a running gateway: its code is not instrumented, so the changes are drawn blindly."""
    sys.path.insert(0, str(HERE.parent / "support"))
    from running_gateway import running_gateway

    from tests.fuzz.targets import send

    inputs = [path.read_bytes() for path in sorted((CORPUS / "socket").iterdir())]
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    sent = 0
    with (
        tempfile.TemporaryDirectory() as directory,
        running_gateway(Path(directory), "engine: {enabled: false}\n") as gateway,
    ):
        port = int(gateway.url.rsplit(":", 1)[1])
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            data = altered(chance.choice(inputs), chance)
            sent += 1
            try:
                send(port, data)
            except AssertionError as failure:
                (FAILURES / f"socket-{hashlib.sha256(data).hexdigest()[:16]}").write_bytes(data)
                print(f"socket: {failure}", file=sys.stderr)
                return False
        print(f"socket: {sent} requests, seed {seed}", file=sys.stderr)
        return gateway.process.poll() is None and not gateway.log_lines("service.error")


def altered(data: bytes, chance: random.Random) -> bytes:
    """The bytes after one to four changes of the usual kinds."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at, length = chance.randint(0, len(changed)), chance.randint(1, 40)
        match chance.choice(["flip", "insert", "delete", "repeat", "truncate"]):
            case "flip" if at < len(changed):
                changed[at] ^= chance.randint(1, 255)
            case "insert":
                changed[at:at] = chance.randbytes(length)
            case "delete":
                del changed[at : at + length]
            case "repeat":
                changed[at:at] = changed[at : at + length] * chance.choice([1, 1, 100])
            case "truncate":
                del changed[at:]
    return bytes(changed)


if __name__ == "__main__":
    sys.exit(main())

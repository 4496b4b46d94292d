"""``vary``: makes variations of a picture with a running service and writes them to files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from imagevariations.v1 import image_variation_pb2, image_variation_service_pb2_grpc

from service.cli.connection import CommandError, clean, connected, metadata
from service.cli.progress import Progress, progress
from service.core.errors import GatewayError

_SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
CONTACT_SHEET = "contact-sheet.png"


def vary(options: argparse.Namespace) -> int:
    """Writes ``<name>-0.png``, ``<name>-1.png`` and so on, and a contact sheet; prints their paths."""
    try:
        source = _read(options.image)
        # Before anything is asked for: pictures that were paid for must have somewhere to go.
        _writable(options.out)
        request = _request(options, source)
        with connected(options) as channel, progress(max(options.n, 1)) as shown:
            stub = image_variation_service_pb2_grpc.ImageVariationServiceStub(channel)
            events = stub.StreamImageVariation(request, timeout=options.timeout, metadata=metadata(options))
            made = _Receiver(options, shown).receive(events)
        if not made:
            raise CommandError("The service made no picture and gave no reason.")
        _write_sheet(options, source, made)
    except CommandError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}") from None


def _writable(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{directory} cannot be made: {error.strerror}") from None


def _write(file: Path, data: bytes) -> None:
    try:
        file.write_bytes(data)
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}") from None


def _request(options: argparse.Namespace, source: bytes) -> image_variation_pb2.CreateImageVariationRequest:
    try:
        return image_variation_pb2.CreateImageVariationRequest(
            model=options.model,
            image=source,
            n=options.n,
            size=options.size,
            response_format="b64_json",
            fallbacks=[image_variation_pb2.Fallback(model=model) for model in options.fallback],
            prompt=options.prompt,
            strength=options.strength,
            seed=options.seed,
            output_format=options.format,
            quality=options.quality,
            background=options.background,
            fit=options.fit,
            fit_ground=options.fit_ground,
            output_compression=options.compression,
        )
    except ValueError:
        # Everything else is judged by the service; these do not even fit into the message.
        raise CommandError("Error: a number is too large, or an argument is not valid text.") from None


class _Receiver:
    """Takes the events of one request and writes each picture as soon as it is there."""

    def __init__(self, options: argparse.Namespace, shown: Progress) -> None:
        self._options = options
        self._shown = shown
        self._made: dict[int, tuple[str, bytes]] = {}

    def receive(self, events: Iterable[image_variation_pb2.StreamImageVariationResponse]) -> list[tuple[str, bytes]]:
        """The pictures in order, each with the name of its file."""
        for event in events:
            match event.WhichOneof("event"):
                case "attempt_started":
                    started = event.attempt_started
                    self._shown.started(f"{started.provider}/{started.model}")
                case "attempt_failed":
                    self._failed(event.attempt_failed)
                case "image_completed":
                    self._completed(event.image_completed)
                case "completed":
                    self._finished(event.completed)
                case "failed":
                    field = f", field {event.failed.param}" if event.failed.param else ""
                    raise CommandError(clean(f"Error {event.failed.code}{field}: {event.failed.message}"))
                case None:
                    # An event of a newer service.
                    pass
        return [self._made[index] for index in sorted(self._made)]

    def _failed(self, failed: image_variation_pb2.AttemptFailed) -> None:
        attempt = failed.attempt
        following = f"; next: {failed.next}" if failed.next else ""
        self._shown.say(f"{attempt.provider}/{attempt.model} failed ({attempt.outcome}): {failed.reason}{following}")

    def _completed(self, picture: image_variation_pb2.ImageVariation) -> None:
        if not picture.b64_json or picture.index >= self._options.n:
            raise CommandError("The service sent a picture that was not asked for.")
        name = f"{self._options.image.stem}-{picture.index}{_SUFFIXES[self._options.format]}"
        file = self._options.out / name
        _write(file, picture.b64_json)
        self._made[picture.index] = (name, picture.b64_json)
        self._shown.completed(picture.index, len(picture.b64_json))
        print(file, flush=True)

    def _finished(self, answer: image_variation_pb2.CreateImageVariationResponse) -> None:
        extra = answer.extra_fields
        cost = f", {extra.cost_usd:.4g} USD" if extra.HasField("cost_usd") else ""
        self._shown.say(f"made by {extra.provider}/{answer.model} in {extra.latency / 1000:.1f} s{cost}")
        for warning in extra.warnings:
            self._shown.say(f"warning: {warning}")
        if len(self._made) < self._options.n:
            self._shown.say(f"warning: {len(self._made)} of {self._options.n} pictures were made")


def _write_sheet(options: argparse.Namespace, source: bytes, made: list[tuple[str, bytes]]) -> None:
    from service.cli.contact_sheet import contact_sheet

    file = options.out / CONTACT_SHEET
    try:
        contact_sheet([(f"{options.image.name} (source)", source), *made]).save(file)
    except GatewayError as error:
        # The pictures themselves are there.
        print(f"warning: there is no contact sheet, since a picture cannot be read: {error.message}", file=sys.stderr)
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror or error}") from None
    else:
        print(file)

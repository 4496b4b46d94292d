"""Talks to a running service, and tells in plain words when it cannot."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from service.cli.arguments import API_KEY_VARIABLE

_CONNECT_TIMEOUT_S = 5.0
_LOOPBACK = ("127.", "localhost:", "[::1]:")


class CommandError(Exception):
    """Why a command failed, in a line or two for the person at the terminal."""


@contextmanager
def connected(options: argparse.Namespace) -> Iterator[grpc.Channel]:
    """A channel to the service that the options name.

    Raises:
        CommandError: Nobody answers there, or a call made within fails.
    """
    settings: list[tuple[str, int]] = [
        # A message holds a picture of any size; the limit is the service's to set.
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
    ]
    if options.target.startswith(_LOOPBACK):
        settings.append(("grpc.enable_http_proxy", 0))
    if options.tls:
        channel = grpc.secure_channel(options.target, grpc.ssl_channel_credentials(), settings)
    else:
        channel = grpc.insecure_channel(options.target, settings)
    with channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_CONNECT_TIMEOUT_S)
        except grpc.FutureTimeoutError:
            raise CommandError(
                f"No service answers at {options.target}. Start one with: python -m service serve\n"
                "or name another with --target HOST:PORT (and --tls where it asks for TLS)."
            ) from None
        try:
            yield channel
        except grpc.RpcError as error:
            raise CommandError(explain(error)) from error


def metadata(options: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    """The credential, as the service expects it.

    Raises:
        CommandError: It cannot be sent. It is not shown.
    """
    key = (options.api_key or os.environ.get(API_KEY_VARIABLE, "")).strip()
    if not key:
        return ()
    if not (key.isascii() and key.isprintable()):
        raise CommandError("The API key holds characters that no key has.")
    return (("authorization", f"Bearer {key}"),)


def explain(error: grpc.RpcError) -> str:
    """An error of the service in one or two lines: its code, the field at fault, the message."""
    # The exception that a stub raises is the finished call as well.
    call = cast(grpc.Call, error)
    reason, field, wait = call.code().name.lower(), "", ""
    try:
        status = rpc_status.from_call(call)
    except ValueError:
        # The details contradict the status; the status is what counts.
        status = None
    for detail in status.details if status else ():
        information, request, retry = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.RetryInfo(),
        )
        if detail.Unpack(information):
            reason = information.reason.lower() or reason
            field = information.metadata.get("param", field)
        elif detail.Unpack(request) and request.field_violations:
            field = request.field_violations[0].field
        elif detail.Unpack(retry):
            wait = f"\nTry again in {retry.retry_delay.ToTimedelta().total_seconds():g} s."
    place = f", field {field}" if field else ""
    return clean(f"Error {reason}{place}: {call.details() or 'no reason given'}") + wait


def clean(text: str) -> str:
    """Text from elsewhere without control characters, which could rewrite the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)

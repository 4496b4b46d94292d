"""Reads ``tests/fixtures/<vendor>/answers.json``: a vendor's answers by name, for unit tests and contract cases.

Each answer has a ``status``, a ``body`` (JSON, or text with ``text``) and perhaps ``headers``; ``source`` says where
the file's answers come from. ``{image 0}`` in a text stands for the base64 of ``provider_case.RESULTS[0]``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from provider_case import RESULTS_BASE64

from service.providers.http import HttpResponse

_FIXTURES = Path(__file__).parent.parent / "fixtures"


def answers(vendor: str) -> Mapping[str, HttpResponse]:
    """All answers of one vendor, each as the response that a translator would get."""
    text = (_FIXTURES / vendor / "answers.json").read_text(encoding="utf-8")
    for number, image in enumerate(RESULTS_BASE64):
        text = text.replace(f"{{image {number}}}", image)
    return {name: _response(answer) for name, answer in json.loads(text)["answers"].items()}


def _response(answer: Mapping[str, Any]) -> HttpResponse:
    if "text" in answer:
        return HttpResponse(
            answer["status"], {"content-type": "text/plain", **answer.get("headers", {})}, answer["text"].encode()
        )
    headers = {"content-type": "application/json", **answer.get("headers", {})}
    return HttpResponse(answer["status"], headers, json.dumps(answer["body"]).encode())

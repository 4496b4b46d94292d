"""C2PA manifests: reading what a provider's file says, and signing ours with the provider's as its ingredient.

Needs the optional package c2pa-python (``pip install 'image-variations-gateway[provenance]'``). Nothing is fetched: no
remote manifest, no revocation list, no time stamp.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from service.core.errors import ErrorKind, GatewayError
from service.core.values import ImageFormat
from service.imaging.provenance import DigitalSourceType, has_manifest

_VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_OFFLINE = {"remote_manifest_fetch": False, "ocsp_fetch": False}


def availability() -> str:
    """Why manifests can neither be read nor signed; empty where they can."""
    try:
        import c2pa  # noqa: F401 - to see whether it is there
    except ImportError:
        return "C2PA manifests need the package c2pa-python: pip install 'image-variations-gateway[provenance]'."
    return ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of the newest manifest in a file.

    Attributes:
        state: ``Trusted``, ``Valid`` (intact, by a certificate that nobody here vouches for) or ``Invalid``.
        generator: The name of the software that made the claim.
        source_types: The digital source types of its actions, without their vocabulary.
        ingredients: How many files it says that this one was made of.
    """

    state: str
    generator: str
    source_types: tuple[str, ...]
    ingredients: int


def read_manifest(data: bytes, found: ImageFormat, *, trust_anchors: str = "") -> Manifest | None:
    """The manifest in a file; None where it has none, or one that cannot be read.

    Args:
        trust_anchors: Certificates (PEM) whose signers count as trusted.
    """
    if not has_manifest(data, found):
        return None
    import c2pa

    try:
        context = c2pa.Context.from_dict(_settings(trust_anchors))
        with c2pa.Reader(found.media_type, io.BytesIO(data), context=context) as reader:
            told: dict[str, Any] = json.loads(reader.json())
            state = str(reader.get_validation_state() or "Invalid")
    except c2pa.C2paError:
        return None
    active = told.get("manifests", {}).get(told.get("active_manifest"), {})
    actions = [
        action
        for assertion in active.get("assertions", ())
        if str(assertion.get("label", "")).startswith("c2pa.actions")
        for action in assertion.get("data", {}).get("actions", ())
    ]
    types = (str(action["digitalSourceType"]).rpartition("/")[2] for action in actions if "digitalSourceType" in action)
    generators = active.get("claim_generator_info") or [{}]
    return Manifest(state, str(generators[0].get("name", "")), tuple(types), len(active.get("ingredients", ())))


@dataclass(frozen=True)
class ManifestSigner:
    """Signs files in the operator's name.

    Attributes:
        certificates: The operator's certificate and those that vouch for it, in PEM, its own first; without the root.
        private_key: Its key, in PEM (PKCS #8).
        algorithm: The key's: ``es256``, ``es384``, ``es512``, ``ps256``, ``ps384``, ``ps512`` or ``ed25519``.
        generator: The name of this software in the claim.
    """

    certificates: str
    private_key: str = field(repr=False)
    algorithm: str = "es256"
    generator: str = "image-variations-gateway"

    @cached_property
    def _signer(self) -> Any:
        import c2pa

        algorithm = c2pa.C2paSigningAlg[self.algorithm.upper()]
        return c2pa.Signer.from_info(
            c2pa.C2paSignerInfo(algorithm, self.certificates.encode(), self.private_key.encode(), None)
        )

    def sign(
        self, data: bytes, found: ImageFormat, source_type: DigitalSourceType, *, original: bytes | None = None
    ) -> bytes:
        """The file with a manifest that says how its picture came to be.

        Args:
            original: The provider's file that this one was made of, in any format; its own manifest becomes part of
                ours, as its parent's. None: the picture was made here.

        Raises:
            GatewayError: INTERNAL where certificate or key are no good, or the file cannot be signed.
        """
        import c2pa

        from service.imaging.inspect import sniff

        action: dict[str, Any] = {"action": "c2pa.created", "digitalSourceType": _VOCABULARY + source_type}
        opened = None if original is None else sniff(original)
        if opened is not None:
            action = {"action": "c2pa.opened", "parameters": {"ingredientIds": ["original"]}}
        actions = [action]
        if opened is not None:
            actions.append({"action": "c2pa.edited", "digitalSourceType": _VOCABULARY + source_type})
        claim = {
            "claim_generator_info": [{"name": self.generator}],
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}],
        }
        signed = io.BytesIO()
        try:
            context = c2pa.Context.from_dict(_settings(""))
            builder = c2pa.Builder(claim, context=context)
            if opened is not None and original is not None:
                parent = {"title": "original", "relationship": "parentOf", "instance_id": "original"}
                parent["label"] = "original"
                builder.add_ingredient(json.dumps(parent), opened.media_type, io.BytesIO(original))
            builder.sign(self._signer, found.media_type, io.BytesIO(data), signed)
        except c2pa.C2paError as error:
            raise GatewayError(ErrorKind.INTERNAL, "The image could not be signed.") from error
        return signed.getvalue()


def _settings(trust_anchors: str) -> dict[str, Any]:
    settings: dict[str, Any] = {"verify": dict(_OFFLINE), "builder": {"thumbnail": {"enabled": False}}}
    if trust_anchors:
        settings["trust"] = {"trust_anchors": trust_anchors}
    return settings

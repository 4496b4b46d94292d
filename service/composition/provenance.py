"""The marking of files as configured, with the operator's certificate where there is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from service.config import Config
from service.core.errors import GatewayError
from service.core.values import ImageFormat
from service.imaging.encode import encode_array
from service.imaging.marking import Marker
from service.imaging.provenance import DigitalSourceType
from service.imaging.provenance_c2pa import ManifestSigner, availability


def make_marker(config: Config) -> Marker:
    """Marks files as the configuration says.

    Raises:
        SystemExit: Certificate or key cannot be used, with the reason in one line.
    """
    settings = config.provenance
    if settings.marking == "off":
        return Marker(enabled=False)
    if not settings.certificate:
        return Marker()
    missing = availability()
    if missing:
        raise SystemExit(f"provenance.certificate cannot be used: {missing}")
    try:
        signer = ManifestSigner(
            Path(settings.certificate).read_text("ascii"),
            Path(settings.private_key).read_text("ascii"),
            settings.algorithm,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no PEM"
        raise SystemExit(f"provenance: certificate or private_key cannot be read: {reason}") from None
    try:
        # Found out now rather than with the first picture that somebody has paid for.
        pixel = encode_array(np.zeros((1, 1, 3), np.uint8), ImageFormat.PNG)
        signer.sign(pixel.data, pixel.format, DigitalSourceType.GENERATED)
    except GatewayError as error:
        reason = str(error.__cause__)[:200]
        raise SystemExit(f"provenance: certificate and private_key cannot sign ({reason}).") from None
    return Marker(signer=signer)

"""Makes a delivered file say how its picture came to be, and tells what was found in the file that it was made of."""

from __future__ import annotations

import logging
from typing import Final

from service.core.errors import GatewayError
from service.core.values import EncodedImage, Provenance
from service.imaging.formats.base import MalformedError
from service.imaging.inspect import sniff
from service.imaging.provenance import DigitalSourceType, has_manifest, read_source_type, write_source_type
from service.imaging.provenance_c2pa import ManifestSigner

log = logging.getLogger("service.results")

MANIFEST: Final = "c2pa"
"""A signed C2PA manifest."""
SOURCE_TYPE: Final = "iptc"
"""IPTC's digital source type, in XMP."""
_TERMS = frozenset(DigitalSourceType)


class Marker:
    """Marks files as the operator wishes.

    Args:
        enabled: Whether anything is written; what is found is told all the same.
        signer: Signs what is written here. None: it stays unsigned.
    """

    def __init__(self, *, enabled: bool = True, signer: ManifestSigner | None = None) -> None:
        self._enabled = enabled
        self._signer = signer if enabled else None

    def takes_time(self, original: bytes, passed: EncodedImage) -> bool:
        """Whether marking a file that passed without being encoded anew signs it, which takes tens of milliseconds."""
        return self._signer is not None and passed.data is not original

    def marked(self, original: bytes, image: EncodedImage, *, passed: bool) -> tuple[EncodedImage, Provenance]:
        """The file with what it has to say, and what it says.

        A file that passed with its manifest is left as it is: any change would break the manifest. One that passed with
        the digital source type in its metadata, which is removed, has it again afterwards. One that passed and says
        nothing stays the provider's own. One whose pixels were changed here says what they are made of: as stated in
        the original, where that is one of the terms for such pictures, or else generated.

        Args:
            original: The file as it was made. Hostile.
            image: What became of it; one of the formats that can be marked.
            passed: Whether the encoded picture is still that of the original.
        """
        if image.data is original and not has_manifest(original, image.format):
            # Nothing was removed from it, so there was no metadata in it either.
            return image, Provenance()
        manifest, stated = _found(original)
        found = (*([MANIFEST] if manifest else []), *([SOURCE_TYPE] if stated else []))
        if passed and manifest:
            # Nothing is taken out of a file that has a manifest, so all that it says is still there.
            return image, Provenance(found, found, (), stated)
        if not self._enabled or (passed and stated not in _TERMS):
            return image, Provenance(found)
        term = DigitalSourceType(stated) if stated in _TERMS else DigitalSourceType.GENERATED
        data = write_source_type(image.data, image.format, term)
        kept, written = ((SOURCE_TYPE,), []) if stated == term else ((), [SOURCE_TYPE])
        if self._signer is not None:
            try:
                data = self._signer.sign(data, image.format, term, original=None if passed else original)
                written.append(MANIFEST)
            except GatewayError as error:
                # It is paid for: it is better unsigned than lost.
                log.error("a result could not be signed", extra={"fields": {"reason": str(error.__cause__)[:200]}})
        return EncodedImage(data, image.format, image.size), Provenance(found, kept, tuple(written), term.value)


def _found(original: bytes) -> tuple[bool, str]:
    """Whether a file has a manifest, and the digital source type that its XMP states."""
    kind = sniff(original)
    if kind is None:
        return False, ""
    try:
        return has_manifest(original, kind), read_source_type(original, kind)
    except MalformedError:
        return False, ""

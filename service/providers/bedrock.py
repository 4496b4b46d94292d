"""Amazon Bedrock's InvokeModel with Stability AI's image models: JSON in, JSON out, one image a call.

Request and answer follow the published Bedrock model parameters; errors follow botocore's service model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from service.catalog.profile import Profile
from service.core.calls import CallResult, ProducedImage, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.providers import options, stability_shape, wire
from service.providers.base import Credential, Endpoint, Exchange
from service.providers.http import HttpRequest, HttpResponse, SignableRequest
from service.providers.stability_shape import Operation

# Model id without the geography in front (``us.``) and the version behind (``-v1:0``).
_OPERATIONS: Mapping[str, Operation] = {
    "stability.sd3-5-large": stability_shape.IMAGE_TO_IMAGE,
    "stability.stable-image-style-guide": stability_shape.STYLE,
    "stability.stable-image-control-structure": stability_shape.STRUCTURE,
    "stability.stable-image-control-sketch": stability_shape.STRUCTURE,
    "stability.stable-style-transfer": stability_shape.STYLE_TRANSFER,
}
_MODEL_ID = re.compile(r"(?:[a-z]{2,6}(?:-gov)?\.)?(stability\.[a-z0-9-]+?)(?:-v\d+:\d+)?")

# Ids and ARNs. Encoded, they are one segment of the path, and never a step up.
_PATH_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/\-]{0,2047}")

# Public, FIPS, dual-stack and VPC endpoints.
_REGION_IN_HOST = re.compile(r"(?:^|\.)bedrock-runtime(?:-fips)?\.([a-z]{2,4}(?:-[a-z]+)+-\d+)\.")

_TIMESTAMP = "%Y%m%dT%H%M%SZ"

# By the exception's name, which says more than the status. Names that are not here go by their status.
_KIND_OF_EXCEPTION: Mapping[str, ErrorKind] = {
    "ServiceQuotaExceededException": ErrorKind.UPSTREAM_AUTH,
    "ModelErrorException": ErrorKind.UNAVAILABLE,
    "ModelNotReadyException": ErrorKind.UNAVAILABLE,
    "ModelTimeoutException": ErrorKind.TIMEOUT,
    "ThrottlingException": ErrorKind.RATE_LIMITED,
    # Amazon sends these with 400 as well as with 403.
    "AccessDeniedException": ErrorKind.UPSTREAM_AUTH,
    "ExpiredTokenException": ErrorKind.UPSTREAM_AUTH,
    "IncompleteSignatureException": ErrorKind.UPSTREAM_AUTH,
    "InvalidSignatureException": ErrorKind.UPSTREAM_AUTH,
    "MissingAuthenticationTokenException": ErrorKind.UPSTREAM_AUTH,
    "UnrecognizedClientException": ErrorKind.UPSTREAM_AUTH,
}


class BedrockStability:
    """Stability's models on Bedrock.

    Endpoint options: ``region``, for signing where the base URL names none as Amazon's do; ``operation``, one of
    ``stability_shape.OPERATIONS``, for models that do not say by their id what they do (provisioned throughput,
    application inference profiles).

    Credentials: a Bedrock API key as ``secret``; or the parts ``access_key_id``, ``secret_access_key`` and, for
    temporary ones, ``session_token``, with which requests are signed (SigV4; needs the extra ``bedrock``).
    """

    def vary(self, call: ProviderCall, profile: Profile, endpoint: Endpoint) -> Exchange:
        """One call, one image. Strength is mapped as ``stability_shape.fields`` says."""
        if not _PATH_SAFE.fullmatch(call.model):
            raise wire.unknown_model(call.model)
        operation = _operation(call.model, endpoint)
        image = wire.base64_text(call.image.data)
        fields: dict[str, Any] = dict.fromkeys(operation.image_fields, image)
        fields.update(stability_shape.fields(operation, call))
        response = yield HttpRequest(
            "POST",
            f"{endpoint.base_url}/model/{quote(call.model, safe='')}/invoke",
            headers={"accept": "application/json"},
            body=options.json_body(fields, call.options),
        )
        return _result(wire.json_object(response))

    def authorization(
        self, request: SignableRequest, credential: Credential, endpoint: Endpoint, now: datetime
    ) -> Mapping[str, str]:
        """A bearer token, or a SigV4 signature of the request at ``now``.

        Raises:
            GatewayError: UPSTREAM_AUTH when the credential is incomplete, the region unknown or botocore missing.
        """
        if credential.secret:
            return {"authorization": f"Bearer {credential.secret}"}
        return _signature(request, credential, _region(endpoint), now)

    def failure(self, response: HttpResponse) -> GatewayError:
        body = wire.lenient_json(response)
        fields = body if isinstance(body, dict) else {}
        said = next((fields[name] for name in ("message", "Message") if isinstance(fields.get(name), str)), "")
        exception = _exception(response, fields)
        kind = _KIND_OF_EXCEPTION.get(exception)
        if exception == "ValidationException" and "model identifier" in said:
            kind = ErrorKind.MODEL_GONE
        failure = wire.status_error(response, said, kind=kind)
        if exception == "ModelErrorException":
            return failure.replaced(may_have_run=True)  # 424, but the model did begin.
        return failure


def _operation(model: str, endpoint: Endpoint) -> Operation:
    found = _MODEL_ID.fullmatch(model)
    operation = _OPERATIONS.get(found.group(1)) if found else None
    operation = operation or stability_shape.OPERATIONS.get(endpoint.options.get("operation", ""))
    if operation is None:
        raise GatewayError(
            ErrorKind.UNSUPPORTED,
            f"What Bedrock's model {wire.excerpt(model)!r} takes is not known: set the option 'operation' of provider "
            f"{endpoint.provider!r} to one of {', '.join(stability_shape.OPERATIONS)}.",
            may_have_run=False,
        )
    return operation


def _result(answer: Mapping[str, Any]) -> CallResult:
    images = answer.get("images")
    listed = images if isinstance(images, list) else []
    reasons = answer.get("finish_reasons")
    said = [reason for reason in (reasons if isinstance(reasons, list) else ()) if isinstance(reason, str)]
    refused = [reason for reason in said if reason.startswith("Filter reason")]
    produced: list[ProducedImage] = [wire.image_from_base64(image) for image in listed if image]
    if not produced and refused:
        raise wire.rejected(refused[0])
    if not produced and said:
        raise GatewayError(ErrorKind.UNAVAILABLE, f"The provider's model failed: {wire.excerpt(said[0])}")
    if not produced:
        raise wire.bad_response("it holds no image")
    warnings = tuple(f"The provider refused one of several images: {wire.excerpt(reason)}" for reason in refused)
    seeds = answer.get("seeds")
    return CallResult(
        images=tuple(produced),
        warnings=warnings,
        seeds=wire.seeds(*seeds) if isinstance(seeds, list) else (),
        finish_reasons=tuple(said),
    )


def _exception(response: HttpResponse, body: Mapping[str, Any]) -> str:
    """``ThrottlingException`` from ``x-amzn-errortype: ThrottlingException:http://…`` or ``__type: ns#Throttling…``."""
    kind = body.get("__type")
    text = response.headers.get("x-amzn-errortype") or (kind if isinstance(kind, str) else "")
    return text.partition(":")[0].rpartition("#")[2]


def _region(endpoint: Endpoint) -> str:
    # The host goes first: a signature for any other region than the host's is refused, whatever the environment says.
    found = _REGION_IN_HOST.search(urlsplit(endpoint.base_url).hostname or "")
    region = found.group(1) if found else endpoint.options.get("region", "")
    if not region:
        raise _unusable(f"provider {endpoint.provider!r} needs the option 'region', since its URL does not name one")
    return region


def _signature(request: SignableRequest, credential: Credential, region: str, now: datetime) -> Mapping[str, str]:
    try:
        # An extra, and of use only to those who sign.
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
    except ImportError:
        raise _unusable(
            "signing with AWS access keys needs the package botocore: install the extra 'bedrock', or give a "
            "Bedrock API key as the secret"
        ) from None
    access_key, secret_key = (credential.parts.get(name, "") for name in ("access_key_id", "secret_access_key"))
    if not access_key or not secret_key:
        raise _unusable(
            f"the key {credential.name!r} needs a secret, or the parts 'access_key_id' and 'secret_access_key'"
        )
    timestamp = now.astimezone(UTC).strftime(_TIMESTAMP)
    session_token = credential.parts.get("session_token") or None
    added = {"X-Amz-Date": timestamp, **({"X-Amz-Security-Token": session_token} if session_token else {})}
    # Only what no proxy on the way may change is signed.
    signed = {name: value for name, value in request.headers.items() if name.lower() in ("accept", "content-type")}
    to_sign = AWSRequest(
        method=request.method,
        url=request.url,
        headers={**signed, **added},
        data=b"".join(request.body) if isinstance(request.body, tuple) else request.body,
    )
    # SigV4Auth.add_auth would take the time from the machine's clock; these are its steps, with ours.
    to_sign.context["timestamp"] = timestamp
    signer = SigV4Auth(Credentials(access_key, secret_key, session_token), "bedrock", region)
    string_to_sign = signer.string_to_sign(to_sign, signer.canonical_request(to_sign))
    signed_headers = signer.signed_headers(signer.headers_to_sign(to_sign))
    signature = signer.signature(string_to_sign, to_sign)
    return {
        **{name.lower(): value for name, value in added.items()},
        "authorization": f"AWS4-HMAC-SHA256 Credential={signer.scope(to_sign)}, "
        f"SignedHeaders={signed_headers}, Signature={signature}",
    }


def _unusable(why: str) -> GatewayError:
    return GatewayError(ErrorKind.UPSTREAM_AUTH, f"The credential cannot be used: {why}.", may_have_run=False)

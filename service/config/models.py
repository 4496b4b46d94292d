"""Every setting of the gateway, with its default. The meaning for operators is told in gateway.example.yaml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, SecretStr, model_validator

from service.catalog.catalog import ProviderEntry
from service.catalog.catalog import load as load_catalog
from service.concurrency.machine import usable_memory_bytes, usable_processors
from service.config.access import Name, StateLocation, TeamSettings, TokenSettings, VirtualKeySettings
from service.config.document import Document
from service.config.fields import (
    Address,
    Bytes,
    CertificateFile,
    Frozen,
    Listening,
    Number,
    OptionalUrl,
    Origin,
    ProxyUrl,
    Seconds,
    Secret,
    Settings,
    Whole,
    empty,
)
from service.config.providers import ProviderSettings
from service.core.values import Target
from service.governance.authentication import AccessSettings
from service.routing.ordering import AliasPolicy
from service.routing.route import WeightedTarget

EMBEDDED_PROVIDER = "local"
"""Name of the provider that is the embedded engine; it is configured under ``engine``, not ``providers``."""

MOST_TARGETS = 32
"""Most targets that an alias may stand for."""

DEFAULT_PROMPT = (
    "Create a new variation of this image. Keep the same subject, composition, style and colour palette; "
    "change only small details. Add no text or watermark."
)


def parse_target(text: str) -> Target | None:
    """The target written ``provider/model``; the model may hold further slashes. None: it is not of that form."""
    provider, slash, model = text.partition("/")
    return Target(provider, model) if slash and provider and model else None


_PROVIDER_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def _provider_name(value: str) -> str:
    if value == EMBEDDED_PROVIDER:
        raise ValueError("is the embedded engine; its settings are under engine")
    if not _PROVIDER_NAME.fullmatch(value):
        raise ValueError("a provider's name has lower-case letters, digits, dots, dashes and underscores")
    return value


ProviderName = Annotated[str, AfterValidator(_provider_name)]


def _only_loopback(address: Address) -> Address:
    if not address.is_loopback:
        raise ValueError("must be a loopback address: it asks for no credential and can stop Envoy")
    return address


def _none_when_off(value: Any) -> Any:
    # YAML reads a bare off as false.
    return None if value is False or value == "off" else value


def _store(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    if not separator:
        return value
    if scheme not in ("file", "s3", "gs", "az"):
        raise ValueError("must be a directory, or a URL that starts with file://, s3://, gs:// or az://")
    if scheme == "file" and not rest.startswith("/"):
        raise ValueError("a file URL has three slashes: file:///var/lib/gateway")
    if not rest.split("/", 1)[0] and scheme != "file":
        raise ValueError(f"must name a bucket: {scheme}://bucket/prefix")
    if "@" in rest:
        raise ValueError("must not hold credentials; the store takes them from the environment")
    return value


def _long_enough(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < 32:
        raise ValueError("must have at least 32 characters; `openssl rand -hex 32` makes one")
    return value


class ListenSettings(Settings):
    """The addresses of the gateway.

    Attributes:
        grpc_socket: Path of a Unix socket that takes gRPC, too; empty: none.
        metrics: Where Prometheus reads metrics; None: there are none.
        public_url: The base of result links; empty: taken from the request.
    """

    grpc: Listening = Address("127.0.0.1", 50051)
    grpc_socket: str = ""
    http: Listening = Address("127.0.0.1", 8080)
    admin: Annotated[Listening, AfterValidator(_only_loopback)] = Address("127.0.0.1", 0)
    metrics: Annotated[Listening | None, BeforeValidator(_none_when_off)] = Address("127.0.0.1", 9464)
    public_url: OptionalUrl = ""


# Memory that one worker of the engine takes at its largest output, in bytes; measured 0.53 GB for one, 0.84 for two.
_WORKER_BYTES = 300 << 20
# Memory of a service at rest with the engine warmed up, in bytes.
_IDLE_BYTES = 256 << 20


class LimitSettings(Settings):
    """Bounds of one request (bytes, pixels, seconds), and of all requests at work: their number and their memory.

    Without ``memory``, half of what the container or machine leaves beside an idle service. One key takes at most
    ``share_per_key`` of both. A request without room waits ``longest_wait``, if no more than ``waiting_requests`` do.

    Attributes:
        connections: To the REST side; further ones are closed at once.
        envoy_memory: Bytes of heap that Envoy takes; close to it, new requests get 503.
    """

    request_bytes: Annotated[Bytes, Field(le=1024**3)] = 50 * 1024**2
    response_bytes: Annotated[Bytes, Field(le=1024**3)] = 100 * 1024**2
    image_pixels: Annotated[Whole, Field(ge=1, le=500_000_000)] = 50_000_000
    request_timeout: Annotated[Seconds, Field(le=86400)] = 600.0
    concurrent_requests: Annotated[Whole, Field(ge=1, le=100_000)] = 2048
    memory: Annotated[Bytes, Field(le=1024**4)] | None = None
    share_per_key: Annotated[float, Field(gt=0, le=1)] = 0.8
    waiting_requests: Annotated[Whole, Field(ge=0, le=100_000)] = 64
    longest_wait: Annotated[Seconds, Field(le=60)] = 0.5
    connections: Annotated[Whole, Field(ge=10, le=1_000_000)] = 10_000
    envoy_memory: Annotated[Bytes, Field(ge=64 * 1024**2)] = 2 * 1024**3

    @property
    def memory_bytes(self) -> int:
        """Bytes that requests at work may hold together: as configured, or half of what the container leaves us."""
        if self.memory is not None:
            return self.memory
        return max(2 * self.request_bytes, (usable_memory_bytes() - _IDLE_BYTES) // 2)


class RetrySettings(Settings):
    """Retries of one provider call. The first waits up to ``backoff`` seconds, each further one up to twice as
    long as the one before it, none longer than ``max_backoff``, unless the provider says how long."""

    max: Annotated[Whole, Field(ge=0, le=10)] = 2
    backoff: Seconds = 0.5
    max_backoff: Seconds = 20.0


class TimeoutSettings(Settings):
    """Seconds to connect to a provider, and for one attempt at it, polling and downloads included.

    ``target_share`` is how much of a request's time left a target may use while others remain to be tried: 1 is all.
    """

    connect: Seconds = 5.0
    attempt: Seconds = 300.0
    target_share: Annotated[float, Field(gt=0, le=1)] = 0.7


class OutboundSettings(Settings):
    """The way to providers and results.

    ``proxy`` is for https, but not for loopback and the hosts of ``no_proxy``. ``ca_file`` holds certificate
    authorities, in PEM, that are trusted beside the public ones and the system's.
    """

    proxy: ProxyUrl | None = None
    no_proxy: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = ()
    ca_file: CertificateFile = ""


class DrainSettings(Settings):
    """The end of the service: ``lame_duck`` seconds in which it still takes requests, then ``seconds`` for those under
    way. Without ``seconds``: as long as a request may take."""

    lame_duck: Annotated[Seconds, Field(le=600)] = 3.0
    seconds: Annotated[Seconds, Field(le=86400)] | None = None


class BreakerSettings(Settings):
    """After ``failures`` in a row a target is passed over for ``cooldown`` seconds; then one request may try it."""

    failures: Annotated[Whole, Field(ge=1, le=1000)] = 5
    cooldown: Seconds = 30.0


class EngineSettings(Settings):
    """The embedded engine. ``workers`` 0 means one per processor; without ``warm_up`` its first image waits for it."""

    enabled: bool = True
    warm_up: bool = True
    workers: Annotated[Whole, Field(ge=0, le=256)] = 0
    cache_directory: Annotated[str, Field(min_length=1)] = "cache"

    @property
    def worker_count(self) -> int:
        """The number of workers to start: as configured, or as many as the container's processors and memory allow."""
        if self.workers:
            return self.workers
        return max(1, min(usable_processors(), usable_memory_bytes() // _WORKER_BYTES))


class ResultSettings(Settings):
    """The store of results asked for by URL. ``signing_secret`` None: made once, kept in the state directory."""

    store: Annotated[str, Field(min_length=1), AfterValidator(_store)] = "results"
    expires_after: Annotated[Seconds, Field(le=7 * 86400)] = 3600.0
    max_bytes: Bytes = 2 * 1024**3
    signing_secret: Annotated[Secret, AfterValidator(_long_enough)] | None = None


class ProvenanceSettings(Settings):
    """The marking of files with how their pictures came to be: ``on`` or ``off``, or more.

    Attributes:
        certificate: Path of the operator's certificate and those that vouch for it, in PEM, its own first, without the
            root. Empty: nothing is signed.
        private_key: Path of its key, in PEM.
        algorithm: Of that key.
    """

    marking: Literal["on", "off"] = "on"
    certificate: CertificateFile = ""
    private_key: str = ""
    algorithm: Literal["es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519"] = "es256"

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, values: Any) -> Any:
        return {"marking": values} if isinstance(values, str) else values

    @model_validator(mode="after")
    def _certificate_and_key(self) -> ProvenanceSettings:
        if bool(self.certificate) != bool(self.private_key):
            raise ValueError("certificate and private_key belong together: give both, or neither")
        return self


class CacheSettings(Settings):
    """The result cache. ``store`` None: a file in the state directory. ``ttl`` in seconds."""

    enabled: bool = False
    store: StateLocation | None = None
    threshold: Annotated[Number, Field(ge=0.5, le=1)] = 0.765
    ttl: Annotated[Seconds, Field(ge=1, le=366 * 86_400)] = 86_400.0
    max_bytes: Bytes = 1024**3
    max_entries: Annotated[Whole, Field(ge=1, le=10_000_000)] = 100_000
    scope: Literal["key", "shared"] = "key"
    similar_when_shared: bool = False
    direct_keys: bool = False


class LogSettings(Settings):
    """The least level that is logged."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class AliasTarget(Settings):
    """One target of an alias. In the file ``model`` may name another alias; once loaded it is ``provider/model``."""

    model: Annotated[str, Field(min_length=1, max_length=256)]
    weight: Annotated[Number, Field(ge=0, le=1_000_000)] = 1.0

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, values: Any) -> Any:
        return {"model": values} if isinstance(values, str) else values

    @property
    def target(self) -> Target:
        """The provider and model; ValueError where the model is still an alias."""
        target = parse_target(self.model)
        if target is None:
            raise ValueError(f"{self.model!r} is not provider/model")
        return target


class AliasSettings(Settings):
    """The targets that a name stands for, and the order in which they are tried."""

    targets: Annotated[tuple[AliasTarget, ...], Field(min_length=1, max_length=MOST_TARGETS)]
    policy: AliasPolicy = AliasPolicy.ORDER

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, values: Any) -> Any:
        if isinstance(values, str):
            return {"targets": [values]}
        return {"targets": values} if isinstance(values, list) else values

    @property
    def weighted_targets(self) -> tuple[WeightedTarget, ...]:
        """The targets as ``routing.route.weighted_order`` takes them."""
        return tuple(WeightedTarget(target.target, target.weight) for target in self.targets)


class Config(Settings):
    """Everything the gateway is told, checked and complete. Made by ``load``.

    Attributes:
        catalog: A file whose facts of providers and models go before the ones that are shipped. Empty: none.
        default_route: ``provider/model`` or an alias: what a request without a model gets.
        aliases: The shipped and the configured ones, with aliases of aliases resolved, so that every target
            is ``provider/model``. A target's provider may lack a key; then ``warnings`` says so.
        providers: Those in the file (disabled ones too) and those found by their usual environment variables,
            without the embedded engine.
        fall_back_when_rejected: Whether the next target is tried after a provider refused the content.
        require_auth: Whether a credential is needed. None: as soon as there is any, and on every address that others
            can reach, unless ``allow_unauthenticated`` says that nobody needs to be known there.
        state: Where keys, spending and rates are kept. None: in a file in the state directory.
        on_store_failure: What becomes of requests whose limits cannot be checked because the store is away.
        allowed_image_url_origins: Exempt from the rules for hostile URLs: ``http://127.0.0.1:9000``.
    """

    listen: ListenSettings = ListenSettings()
    limits: LimitSettings = LimitSettings()
    catalog: str = ""
    default_route: Annotated[str, Field(min_length=1, max_length=256)] = "local/vary"
    aliases: Frozen[str, AliasSettings] = Field(default_factory=empty)
    default_prompt: Annotated[str, Field(min_length=1, max_length=32_000)] = DEFAULT_PROMPT
    fall_back_when_rejected: bool = False
    providers: Frozen[ProviderName, ProviderSettings] = Field(default_factory=empty)
    retries: RetrySettings = RetrySettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    outbound: OutboundSettings = OutboundSettings()
    breaker: BreakerSettings = BreakerSettings()
    drain: DrainSettings = DrainSettings()
    engine: EngineSettings = EngineSettings()
    results: ResultSettings = ResultSettings()
    provenance: ProvenanceSettings = ProvenanceSettings()
    cache: CacheSettings = CacheSettings()
    state_directory: Annotated[str, Field(min_length=1)] = ".gateway"
    keys: tuple[VirtualKeySettings, ...] = ()
    teams: Frozen[Name, TeamSettings] = Field(default_factory=empty)
    tokens: tuple[TokenSettings, ...] = ()
    require_auth: bool | None = None
    allow_unauthenticated: bool = False
    state: StateLocation | None = None
    on_store_failure: Literal["refuse", "allow"] = "refuse"
    allow_direct_keys: bool = False
    allow_raw: bool = False
    allowed_image_url_origins: tuple[Origin, ...] = ()
    log: LogSettings = LogSettings()

    _document: Document = PrivateAttr(default_factory=lambda: Document(""))
    _warnings: tuple[str, ...] = PrivateAttr(default=())
    _entries: Mapping[str, ProviderEntry] = PrivateAttr(default_factory=dict)

    @property
    def document(self) -> Document:
        """The document as read, with the path of every value."""
        return self._document

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about settings that work, but perhaps not as meant."""
        return self._warnings

    @property
    def entries(self) -> Mapping[str, ProviderEntry]:
        """The types of provider that there are: the catalogue, with the operator's file laid over it."""
        return self._entries or load_catalog()

    @property
    def state_path(self) -> Path:
        """The directory for what outlives a restart, absolute. It need not exist yet."""
        return Path(self.state_directory).expanduser().absolute()

    @property
    def state_location(self) -> Path | str:
        """The store of keys, spending and rates: a file, or the URL of a Redis server."""
        location = self.state.get_secret_value() if self.state else "governance.sqlite3"
        return location if "://" in location else self.state_path / Path(location).expanduser()

    @property
    def cache_location(self) -> Path | str:
        """The store of the result cache: a file, or the URL of a Redis server."""
        location = self.cache.store.get_secret_value() if self.cache.store else "cache.sqlite3"
        return location if "://" in location else self.state_path / Path(location).expanduser()

    @property
    def only_loopback(self) -> bool:
        """Whether nothing but this machine can reach the gateway."""
        return self.listen.grpc.is_loopback and self.listen.http.is_loopback

    @property
    def access(self) -> AccessSettings:
        """The configured credentials, as governance takes them."""
        required = self.require_auth
        if required is None and not self.only_loopback and not self.allow_unauthenticated:
            required = True
        return AccessSettings(
            keys=tuple(each.key for each in self.keys),
            tokens=tuple(each.token for each in self.tokens),
            teams={name: each.team(name) for name, each in self.teams.items()},
            required=required,
            allow_direct_keys=self.allow_direct_keys,
        )

    @property
    def drain_s(self) -> float:
        """The seconds that requests under way are given when the service ends."""
        return self.limits.request_timeout if self.drain.seconds is None else self.drain.seconds

    @property
    def engine_cache_path(self) -> Path:
        """The directory for compiled kernels, absolute. It need not exist yet."""
        return self.state_path / Path(self.engine.cache_directory).expanduser()

    @property
    def results_location(self) -> Path | str:
        """The store of results: an absolute directory, or the URL of an object store."""
        store = self.results.store
        if store.startswith("file://"):
            return Path(unquote(urlsplit(store).path))
        return store if "://" in store else self.state_path / Path(store).expanduser()

"""From a configuration to providers that can be called."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from fake_backends import LIMITS, FakeBackend

from service.catalog import catalog
from service.catalog.profile import Price, Profile
from service.composition.directory import RETIRED_NAMES, make_directory, model_warnings, sunset_warnings
from service.composition.secrets import SecretFiles
from service.composition.transport import Transport, opened_transport
from service.concurrency.pools import WorkerPool
from service.config import Config, load
from service.core.errors import ErrorKind, GatewayError
from service.core.values import Target
from service.gateway.backends.local import LocalBackend
from service.gateway.directory import Directory, Provider
from service.providers.registry import TRANSLATORS
from service.routing.ordering import AliasPolicy

Wired = Callable[..., Directory]


@pytest.fixture
def configured(tmp_path: Path) -> Callable[..., Config]:
    """Loads a configuration from its text and an environment."""

    def make(text: str = "", **environment: str) -> Config:
        file = tmp_path / "gateway.yaml"
        file.write_text(text, encoding="utf-8")
        return load(file, environment)

    return make


@pytest.fixture
async def transport(configured: Callable[..., Config]) -> AsyncIterator[Transport]:
    async with opened_transport(configured()) as transport:
        yield transport


@pytest.fixture
def local() -> Iterator[LocalBackend]:
    workers = WorkerPool(1)
    yield LocalBackend(workers, LIMITS)
    workers.close()


@pytest.fixture
def wired(configured: Callable[..., Config], transport: Transport, local: LocalBackend) -> Wired:
    def make(text: str = "", **environment: str) -> Directory:
        return make_directory(configured(text, **environment), local, transport.executor, SecretFiles())

    return make


def route(names: Directory, model: str) -> list[str]:
    return [str(target) for target in names.route(model, ())]


def refusal(names: Directory, model: str) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        names.route(model, ())
    return caught.value


def usable(provider: Provider, *, direct_key: bool = False) -> bool:
    return provider.backend.unavailable(direct_key=direct_key) is None


async def test_without_any_configuration_there_is_the_engine(wired: Wired) -> None:
    names = wired()
    assert list(names.providers) == ["local"]
    for model in ("", "dall-e-2", *RETIRED_NAMES):
        assert route(names, model) == ["local/vary"]


async def test_a_key_in_the_environment_adds_its_provider(wired: Wired) -> None:
    names = wired(OPENAI_API_KEY="sk-1")
    assert list(names.providers) == ["local", "openai"]
    assert usable(names.providers["openai"])
    assert route(names, "openai/gpt-image-2") == ["openai/gpt-image-2"]


async def test_a_retired_name_that_a_provider_still_has_is_that_model(wired: Wired) -> None:
    names = wired(OPENAI_API_KEY="sk-1")
    for name in RETIRED_NAMES:
        profile = names.providers["openai"].profiles.get(name)
        served = profile is not None and (profile.sunset is None or profile.sunset > datetime.now(UTC).date())
        assert route(names, name) == [f"openai/{name}" if served else "openai/gpt-image-2"]


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        ("", {}, "local/vary"),
        ("", {"OPENAI_API_KEY": "sk-1"}, "openai/gpt-image-2"),
        ("default_route: local/relight", {"OPENAI_API_KEY": "sk-1"}, "local/relight"),
        # Of several the first of the file, then the first of the catalogue.
        ("", {"FAL_KEY": "k:1", "OPENAI_API_KEY": "sk-1"}, "openai/gpt-image-2"),
        ("providers: {fal: {keys: ['k:1']}}", {"OPENAI_API_KEY": "sk-1"}, None),
        ("providers: {openai: {keys: [sk-1], models: {gpt-image-9: {}}}}", {}, "openai/gpt-image-9"),
        ("providers: {openai: {keys: [sk-1], enabled: false}}", {}, "local/vary"),
    ],
)
async def test_the_default_route_prefers_a_configured_provider(
    wired: Wired, text: str, environment: dict[str, str], expected: str | None
) -> None:
    names = wired(text, **environment)
    expected = expected or f"fal/{catalog.load()['fal'].default_model}"
    for model in ("", "dall-e-2"):
        assert route(names, model) == [expected]
    assert names.default_route == expected


async def test_a_provider_without_a_key_says_which(wired: Wired) -> None:
    error = refusal(wired(), "openai/gpt-image-2")
    assert error.kind is ErrorKind.NOT_FOUND
    assert "OPENAI_API_KEY" in error.message


async def test_facts_of_the_file_change_those_of_the_catalog(wired: Wired) -> None:
    names = wired(
        """
        providers:
          openai:
            keys: [sk-1]
            concurrency: 3
            models:
              gpt-image-2: {max_n: 2, price: {per_image: 0.5}}
              brand-new: {max_n: 7}
        """
    )
    openai, shipped = names.providers["openai"], catalog.load()["openai"].models["gpt-image-2"]
    changed = openai.profiles["gpt-image-2"]
    assert (changed.max_n, changed.sizes) == (2, shipped.sizes)
    assert changed.price is not None
    assert changed.price.per_image == 0.5
    assert openai.profiles["brand-new"].max_n == 7
    assert openai.concurrency == 3


async def test_aliases_keep_order_and_weights(wired: Wired) -> None:
    names = wired(
        """
        default_route: fast
        aliases:
          fast: [openai/gpt-image-2, local/vary]
          drawn: {policy: weighted, targets: [{model: local/vary, weight: 3}, local/relight]}
        """,
        OPENAI_API_KEY="sk-1",
    )
    assert route(names, "") == route(names, "dall-e-2") == ["openai/gpt-image-2", "local/vary"]
    assert names.aliases["drawn"].policy is AliasPolicy.WEIGHTED
    assert [weighted.weight for weighted in names.aliases["drawn"].targets] == [3.0, 1.0]


async def test_an_alias_may_lead_to_a_provider_that_is_not_there_yet(wired: Wired) -> None:
    names = wired("aliases: {fast: [openai/gpt-image-2, local/vary]}")
    assert route(names, "fast") == ["openai/gpt-image-2", "local/vary"]
    with pytest.raises(GatewayError, match="OPENAI_API_KEY") as caught:
        names.provider(Target("openai", "gpt-image-2"))
    assert caught.value.kind is ErrorKind.UNAVAILABLE


async def test_what_may_be_shown_raw_is_said_for_all_or_for_one(wired: Wired) -> None:
    names = wired(
        """
        allow_raw: true
        providers: {openai: {keys: [sk-1], allow_raw: false}, fal: {keys: [k]}}
        """
    )
    assert [names.providers[name].allow_raw for name in ("openai", "fal")] == [False, True]


async def test_what_is_always_shown_raw_still_has_to_be_allowed(wired: Wired) -> None:
    names = wired(
        """
        allow_raw: true
        providers: {openai: {keys: [k], always_raw: true, allow_raw: false}, fal: {keys: [k], always_raw: true}}
        """
    )
    assert [names.providers[name].always_raw for name in ("openai", "fal")] == [False, True]


async def test_a_server_of_the_operators_own_may_need_no_key(wired: Wired) -> None:
    names = wired("providers: {openai: {base_url: 'http://127.0.0.1:9000/v1'}, fal: {}}")
    assert [usable(names.providers[name]) for name in ("openai", "fal")] == [True, False]


class TestAServerThatSpeaksAVendorsFormat:
    async def test_has_none_of_the_vendors_models_prices_and_ends(self, wired: Wired) -> None:
        names = wired(
            """
            providers:
              mine:
                type: openai
                base_url: http://127.0.0.1:9000/v1
                models: {gpt-image-2: {max_n: 4}, priced: {price: {per_image: 0.02}}}
            """
        )
        mine = names.providers["mine"]
        assert list(mine.profiles) == ["gpt-image-2", "priced"]
        assert mine.profiles["gpt-image-2"].price is None
        assert mine.profiles["gpt-image-2"].max_n == 4
        assert mine.profiles["priced"].price == Price(per_image=0.02)
        assert not sunset_warnings(names, date(2030, 1, 1))
        assert refusal(names, "mine/gpt-image-1").kind is ErrorKind.NOT_FOUND

    async def test_takes_any_name_as_long_as_none_is_given_and_knows_no_price(self, wired: Wired) -> None:
        names = wired("providers: {openai: {base_url: 'http://127.0.0.1:9000/v1'}}")
        assert not names.providers["openai"].profiles
        assert names.profile(Target("openai", "gpt-image-2")).price is None

    async def test_is_the_vendor_where_the_operator_says_so_or_the_address_is_the_vendors(self, wired: Wired) -> None:
        for said in (
            "base_url: 'http://127.0.0.1:9/v1', inherit_catalog: true",
            "base_url: 'https://eu.api.openai.com'",
        ):
            names = wired(f"providers: {{openai: {{{said}, keys: [k]}}}}")
            assert names.providers["openai"].profiles == catalog.load()["openai"].models

    async def test_that_its_users_run_is_at_an_address_of_theirs(self, wired: Wired) -> None:
        names = wired("providers: {gpu: {type: vllm-omni, base_url: 'http://gpu.test:8000/v1'}}")
        assert names.providers["gpu"].profiles == catalog.load()["vllm-omni"].models
        names = wired(
            """
            providers:
              proxy: {type: vllm-omni, base_url: 'http://proxy.test/v1', models: {flux: {free: false}}}
            """
        )
        proxy = names.providers["proxy"]
        assert list(proxy.profiles) == ["flux"]
        assert proxy.profiles["flux"].price is None

    async def test_can_be_told_of_in_a_file_of_facts(self, wired: Wired, tmp_path: Path) -> None:
        facts = tmp_path / "facts.yaml"
        facts.write_text("openai: {models: {gpt-image-9: {price: {per_image: 9}}}}")
        names = wired(f"catalog: {facts}", OPENAI_API_KEY="sk-1")
        assert names.providers["openai"].profiles["gpt-image-9"].price == Price(per_image=9)


async def test_a_fixed_version_has_the_facts_of_its_model(wired: Wired) -> None:
    names = wired(REPLICATE_API_TOKEN="r8-1")
    fixed = names.profile(Target("replicate", "black-forest-labs/flux-redux-dev:73001d65"))
    assert fixed == names.profile(Target("replicate", "black-forest-labs/flux-redux-dev"))


class TestDirectKeys:
    async def test_open_the_whole_catalog_to_those_who_bring_one(self, wired: Wired) -> None:
        names = wired("allow_direct_keys: true")
        fal = names.providers["fal"]
        assert not usable(fal)
        assert usable(fal, direct_key=True)

    async def test_leave_off_what_is_switched_off(self, wired: Wired) -> None:
        names = wired("allow_direct_keys: true\nproviders: {fal: {enabled: false}}")
        assert "fal" not in names.providers
        assert "switched off" in refusal(names, "fal/fal-ai/flux/dev").message


async def test_the_engine_can_be_switched_off(wired: Wired) -> None:
    names = wired("engine: {enabled: false}\ndefault_route: openai/gpt-image-2", OPENAI_API_KEY="sk-1")
    assert "local" not in names.providers
    assert "engine.enabled" in refusal(names, "local/vary").message


@pytest.mark.parametrize("name", sorted(set(catalog.load()) - {"local"}))
def test_every_provider_of_the_catalog_has_a_translator(name: str) -> None:
    assert catalog.load()[name].translator in TRANSLATORS


def test_models_are_warned_of_before_and_after_their_end() -> None:
    day = date(2026, 11, 22)
    models = {
        "gone": Profile(sunset=day),
        "going": Profile(sunset=date(2026, 12, 31)),
        "later": Profile(sunset=date(2027, 12, 31)),
        "lasting": Profile(),
    }
    names = Directory([Provider("a", FakeBackend(), models)], {}, "a/lasting", {}, lambda: 0.5)
    assert sunset_warnings(names, day) == {
        Target("a", "gone"): ("a no longer serves gone since 2026-11-22.",),
        Target("a", "going"): ("a will stop serving going on 2026-12-31.",),
    }


def test_parts_that_the_engine_lacks_are_said_of_its_models() -> None:
    local = Provider("local", FakeBackend(), {"vary": Profile(), "restyle": Profile()})
    names = Directory([local, Provider("a", FakeBackend(), {"m": Profile()})], {}, "a/m", {}, lambda: 0.5)
    missing = "numba is not installed: variations take two to three times as long."
    assert model_warnings(names, date(2026, 11, 23), (missing,)) == {
        Target("local", "vary"): (missing,),
        Target("local", "restyle"): (missing,),
    }
    assert model_warnings(names, date(2026, 11, 23)) == {}


async def test_secrets_stay_out_of_reprs(wired: Wired) -> None:
    names = wired("providers: {openai: {keys: [sk-very-secret], headers: {x-proxy: hidden-too}}}")
    for shown in (repr(names.providers["openai"]), repr(vars(names.providers["openai"].backend))):
        assert "sk-very-secret" not in shown
        assert "hidden-too" not in shown


class TestTransport:
    async def test_callers_cannot_reach_what_is_private(self, transport: Transport) -> None:
        with pytest.raises(GatewayError) as caught:
            await transport.fetch_for_caller("https://127.0.0.1/x.png")
        assert (caught.value.kind, caught.value.param) == (ErrorKind.INVALID_REQUEST, "image_url")

    async def test_a_data_url_needs_no_network(self, transport: Transport) -> None:
        assert await transport.fetch_for_caller("data:image/png;base64,aGVsbG8=") == b"hello"

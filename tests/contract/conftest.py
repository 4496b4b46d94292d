"""Finds the providers' cases and gives each test one of them."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from provider_case import BASE_URL, ProviderCase

from service.catalog import catalog
from service.catalog.profile import Profile
from service.providers.base import Endpoint, Translator
from service.providers.registry import TRANSLATORS

_CASES = Path(__file__).parents[1] / "support" / "provider_cases"


def load_cases() -> tuple[ProviderCase, ...]:
    """The cases of every file in tests/support/provider_cases, by name."""
    modules = [importlib.import_module(f"provider_cases.{path.stem}") for path in sorted(_CASES.glob("[a-z]*.py"))]
    return tuple(case for module in modules for case in module.CASES)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", load_cases(), ids=lambda case: case.name)


@pytest.fixture
def cases() -> tuple[ProviderCase, ...]:
    return load_cases()


@pytest.fixture
def translator(case: ProviderCase) -> Translator:
    return TRANSLATORS[case.translator]


@pytest.fixture
def endpoint(case: ProviderCase) -> Endpoint:
    options = {**catalog.load()[case.provider].options, **case.options}
    return Endpoint(case.provider, BASE_URL, trusted_hosts=case.trusted_hosts, options=options)


@pytest.fixture
def profile(case: ProviderCase) -> Profile:
    return catalog.profile(catalog.load()[case.provider], case.call.model)

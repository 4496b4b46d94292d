"""The checks that every request passes, whichever encoding it came in."""

from __future__ import annotations

from typing import Any

import pytest

from service.api.validation import SIZES, Fields, checked, fallback_name
from service.core.errors import ErrorKind, GatewayError
from service.core.values import Fit, ImageFormat, ResponseFormat, Size, VariationRequest


def check(**fields: Any) -> VariationRequest:
    return checked(Fields(**{"image": b"x", **fields}))


def refusal(**fields: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        check(**fields)
    assert caught.value.kind is ErrorKind.INVALID_REQUEST
    assert caught.value.param in caught.value.message
    return caught.value


def test_what_is_left_out_gets_its_default() -> None:
    assert check() == VariationRequest(
        image=b"x", n=1, size=None, response_format=ResponseFormat.URL, output_format=ImageFormat.PNG
    )


def test_the_image_stays_out_of_reprs() -> None:
    assert "secret" not in repr(Fields(image=b"secret"))
    assert "secret" not in repr(check(image=b"secret"))


class TestImage:
    def test_is_required(self) -> None:
        error = refusal(image=b"")
        assert (error.code, error.param) == ("missing_image", "image")

    def test_may_not_be_empty(self) -> None:
        assert refusal(image=b"", image_given=True).code == "invalid_image"

    def test_is_given_in_one_way(self) -> None:
        assert refusal(image_url="https://example.org/x.png").param == "image_url"

    def test_may_be_a_url(self) -> None:
        assert check(image=b"", image_url="https://example.org/x.png").image_url == "https://example.org/x.png"

    @pytest.mark.parametrize("scheme", ["data:", "DATA:"])
    def test_may_be_a_long_data_url(self, scheme: str) -> None:
        url = f"{scheme}image/png;base64," + "A" * 100_000
        assert check(image=b"", image_url=url).image_url == url

    def test_may_not_be_an_endless_url(self) -> None:
        assert refusal(image=b"", image_url="https://example.org/" + "x" * 10_000).param == "image_url"


@pytest.mark.parametrize("n", [1, 10])
def test_n_within_its_range(n: int) -> None:
    assert check(n=n).n == n


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 0), ("n", 11), ("n", -1), ("n", 2**40),
        ("seed", -1), ("seed", 2**32),
        ("strength", -0.01), ("strength", 1.01), ("strength", float("nan")), ("strength", float("inf")),
        ("size", "1024X1024"), ("size", "1x1"), ("size", "1024x1024 "), ("size", "AUTO"), ("size", "x" * 10_000),
        ("response_format", "base64"), ("response_format", "URL"),
        ("output_format", "gif"), ("output_format", "PNG"),
        ("model", "m" * 257), ("model", "a\nb"), ("model", "a\x7fb"), ("model", "a\x85b"), ("model", "\ud800"),
        ("prompt", "p" * 32_001), ("prompt", "nul\x00"), ("prompt", "\udfff"),
        ("user", "u" * 257), ("user", "a\tb"),
        ("output_compression", -1), ("output_compression", 101),
        ("fit", "Cover"), ("fit", "fill"), ("fit_ground", "white"), ("fit_ground", "#fff"), ("fit_ground", "#ffffff "),
        ("quality", "q" * 65), ("background", "\x1b[31m"),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused_by_name(field: str, value: Any) -> None:
    error = refusal(**{field: value})
    assert (error.param, error.code) == (field, f"invalid_{field}")
    assert len(error.message) < 300


@pytest.mark.parametrize("text", SIZES)
def test_sizes(text: str) -> None:
    assert str(check(size=text).size) == text


def test_auto_is_no_size() -> None:
    assert check(size="auto").size is None
    assert check(size="256x256").size == Size(256, 256)


def test_a_result_may_be_contained_on_a_ground() -> None:
    assert check().fit is Fit.COVER
    made = check(fit="contain", fit_ground="#Ff8000")
    assert (made.fit, made.fit_ground, made.warnings) == (Fit.CONTAIN, (255, 128, 0), ())
    assert check(fit="contain", fit_ground="blur").fit_ground is None


def test_a_ground_that_nothing_lies_on_is_told() -> None:
    made = check(fit_ground="#ffffff")
    assert made.fit_ground is None
    assert "fit_ground was not used" in made.warnings[0]


@pytest.mark.parametrize(("output_format", "kept"), [("jpeg", 0), ("webp", 0), ("png", None), ("", None)])
def test_output_compression_is_for_formats_that_lose_something(output_format: str, kept: int | None) -> None:
    made = check(output_format=output_format, output_compression=0)
    assert made.output_compression == kept
    assert bool(made.warnings) == (kept is None)


def test_a_transparent_background_needs_a_format_that_has_one() -> None:
    error = refusal(background="transparent", output_format="jpeg")
    assert (error.code, error.param) == ("invalid_output_format", "output_format")
    assert check(background="transparent", output_format="webp").background == "transparent"


def test_a_prompt_may_have_lines_and_any_script() -> None:
    prompt = "Zeile eins\r\n\tzwei 中文 👩\u200d🎨\u3000"
    assert check(prompt=prompt).prompt == prompt


class TestFallbacks:
    def test_are_at_most_ten(self) -> None:
        assert len(check(fallbacks=["a/b"] * 10).fallbacks) == 10
        assert refusal(fallbacks=["a/b"] * 11).param == "fallbacks"

    @pytest.mark.parametrize(
        ("entry", "name"),
        [
            ("a/b", "a/b"),
            (" a/b ", "a/b"),
            ({"model": "fast"}, "fast"),
            ({"provider": "", "model": "a/b"}, "a/b"),
            ({"provider": "a", "model": "b"}, "a/b"),
            ({"provider": "a", "model": "a/b"}, "a/b"),
            ({"provider": "fal", "model": "fal-ai/flux"}, "fal/fal-ai/flux"),
        ],
    )
    def test_have_one_name_whatever_their_form(self, entry: object, name: str) -> None:
        assert fallback_name("fallbacks[0]", entry) == name


class TestProviderOptions:
    def test_are_passed_on(self) -> None:
        options = {"fal": {"steps": 4, "loras": [{"scale": 0.5}], "none": None, "safe": True}}
        assert check(provider_options=options).provider_options == options

    @pytest.mark.parametrize(
        "options",
        [
            {"fal": 1},
            {"\ud800": {}, "x": 1},
            {"中" * 5000: 1},
            {"fal": {"x": float("nan")}},
            {"fal": {"x": [float("inf")]}},
            {"fal": {"x": 2**64}},
            {"fal": {"x": "\ud800"}},
            {"fal": {"\udfff": 1}},
        ],
    )
    def test_that_are_no_json_objects_are_refused(self, options: dict[str, Any]) -> None:
        error = refusal(provider_options=options)
        assert error.param == "provider_options"
        assert len(error.message) < 300
        error.message.encode()

    def test_may_not_be_bottomless(self) -> None:
        deep: dict[str, Any] = {}
        for _ in range(500):
            deep = {"x": deep}
        assert "deep" in refusal(provider_options={"fal": deep}).message

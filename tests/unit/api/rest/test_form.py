"""Multipart bodies as clients write them, and as nobody should."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.rest.body import whole_body
from service.api.rest.form import parse_form
from service.api.rest.multipart import MOST_PARTS
from service.api.validation import MOST_TEXT_BYTES, Fields, checked
from service.core.errors import ErrorKind, GatewayError

BOUNDARY = "----form"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def body(*parts: tuple[str, str | bytes], end: bytes = b"--\r\n") -> bytes:
    """A well-formed body with these parts; those named image are files."""
    written = bytearray()
    for name, value in parts:
        data = value.encode() if isinstance(value, str) else value
        filename = '; filename="cat.png"' if name.startswith("image") and name != "image_url" else ""
        written += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'.encode()
        written += data + b"\r\n"
    return bytes(written) + f"--{BOUNDARY}".encode() + end


def parsed(*parts: tuple[str, str | bytes]) -> Fields:
    return parse_form(whole_body(CONTENT_TYPE, body(*parts)))


def refusal(*parts: tuple[str, str | bytes]) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        parsed(*parts)
    return caught.value


class TestFields:
    def test_all_of_them(self) -> None:
        fields = parsed(
            ("model", "local/vary"),
            ("image", b"\x89PNG\x00\xff"),
            ("n", "3"),
            ("size", "1024x1024"),
            ("response_format", "b64_json"),
            ("user", "u-1"),
            ("prompt", "grün\n§"),
            ("strength", "0.25"),
            ("seed", "4294967295"),
            ("output_compression", "0"),
            ("fit", "contain"),
            ("fit_ground", "#ffffff"),
            ("output_format", "webp"),
            ("quality", "high"),
            ("background", "auto"),
            ("provider_options", '{"fal": {"steps": 4}}'),
        )
        assert fields == Fields(
            model="local/vary",
            image=b"\x89PNG\x00\xff",
            image_given=True,
            n=3,
            size="1024x1024",
            response_format="b64_json",
            user="u-1",
            fallbacks=[],
            prompt="grün\n§",
            strength=0.25,
            seed=4294967295,
            output_compression=0,
            fit="contain",
            fit_ground="#ffffff",
            output_format="webp",
            quality="high",
            background="auto",
            provider_options={"fal": {"steps": 4}},
            warnings=[],
        )

    def test_none_but_the_image(self) -> None:
        fields = parsed(("image[]", b"png"))
        assert (fields.image, fields.n, fields.seed, fields.strength) == (b"png", None, None, None)

    def test_a_data_url_may_be_longer_than_other_text(self) -> None:
        url = "data:image/png;base64," + "A" * MOST_TEXT_BYTES
        assert parsed(("image_url", url)).image_url == url

    def test_of_several_images_the_first_is_used_and_the_rest_are_told(self) -> None:
        fields = parsed(("image", b"one"), ("image[]", b"two"), ("image", b"three"))
        assert fields.image == b"one"
        assert fields.warnings == ["3 images were given; the first was used and the others were ignored."]

    def test_unknown_ones_are_told(self) -> None:
        fields = parsed(("image", b"x"), ("mask", b"y"), ("moderation", "low"), ("mask", b"z"))
        assert fields.warnings == ["Unknown fields were ignored: 'mask', 'moderation'."]

    @pytest.mark.parametrize("name", ["model", "n", "seed", "prompt", "size", "provider_options"])
    def test_single_ones_may_not_repeat(self, name: str) -> None:
        error = refusal((name, "1"), ("image", b"x"), (name, "1"))
        assert (error.kind, error.code, error.param) == (ErrorKind.INVALID_REQUEST, "duplicate_field", name)

    def test_text_must_be_utf8(self) -> None:
        assert (refusal(("prompt", b"\xff\xfe")).param, refusal(("prompt", b"\xff")).code) == (
            "prompt",
            "invalid_prompt",
        )

    def test_everything_but_the_image_has_a_limit(self) -> None:
        half = "x" * (MOST_TEXT_BYTES // 2 + 1)
        assert refusal(("prompt", half), ("quality", half)).kind is ErrorKind.REQUEST_TOO_LARGE
        assert parsed(("image", bytes(4 * MOST_TEXT_BYTES)), ("mask", bytes(MOST_TEXT_BYTES + 1))).image


class TestNumbers:
    @pytest.mark.parametrize("name", ["n", "seed", "strength"])
    @pytest.mark.parametrize(
        "text",
        [" ", " 3", "3 ", "3\n", "10abc", "abc", "1e1", "1E1", "NaN", "nan", "Infinity", "-inf", "0x10", "+3", "03",
         "1_000", "１", "٣", "²", "1,5", ".5", "5.", "--1", "true", "null", "9" * 400],
    )  # fmt: skip
    def test_must_be_written_plainly(self, name: str, text: str) -> None:
        error = refusal(("image", b"x"), (name, text))
        assert (error.kind, error.param, error.code) == (ErrorKind.INVALID_REQUEST, name, f"invalid_{name}")
        assert len(error.message) < 200

    @pytest.mark.parametrize("text", ["1.0", "1.5", "-0"])
    @pytest.mark.parametrize("name", ["n", "seed"])
    def test_whole_ones_take_no_fraction(self, name: str, text: str) -> None:
        assert refusal((name, text)).param == name

    @pytest.mark.parametrize(("text", "number"), [("0", 0.0), ("1", 1.0), ("0.70", 0.7), ("-1", -1.0)])
    def test_others_do(self, text: str, number: float) -> None:
        assert parsed(("image", b"x"), ("strength", text)).strength == number

    @given(st.integers(-(10**18), 10**18))
    def test_any_whole_one_is_what_it_says(self, number: int) -> None:
        assert parsed(("image", b"x"), ("seed", str(number))).seed == number


def fallbacks(*parts: tuple[str, str]) -> list[str]:
    return list(parsed(("image", b"x"), *parts).fallbacks)


class TestFallbacks:
    @pytest.mark.parametrize(
        "parts",
        [
            [("fallbacks", "openai/a"), ("fallbacks", "fal/b")],
            [("fallbacks[]", "openai/a"), ("fallbacks[]", "fal/b")],
            [("fallbacks", '["openai/a", "fal/b"]')],
            [("fallbacks", ' [{"provider": "openai", "model": "a"}, {"model": "fal/b"}] ')],
            [("fallbacks", '{"provider": "openai", "model": "a"}'), ("fallbacks", '{"model": "fal/b"}')],
            [("fallbacks[]", '["openai/a", {"provider": "fal", "model": "b"}]')],
            [("fallbacks[][provider]", "openai"), ("fallbacks[][model]", "a"), ("fallbacks[][provider]", "fal"),
             ("fallbacks[][model]", "b")],
            [("fallbacks[][provider]", "openai"), ("fallbacks[][provider]", "fal"), ("fallbacks[][model]", "a"),
             ("fallbacks[][model]", "b")],
            [("fallbacks[][model]", "openai/a"), ("fallbacks[][model]", "fal/b")],
            [("fallbacks[1][model]", "b"), ("fallbacks[0][provider]", "openai"), ("fallbacks[0][model]", "openai/a"),
             ("fallbacks[1][provider]", "fal")],
            [("fallbacks[0]", "openai/a"), ("fallbacks[7]", "fal/b")],
            [("fallbacks[0]", "openai/a"), ("fallbacks[1][model]", "fal/b")],
        ],
    )  # fmt: skip
    def test_of_every_shape_mean_the_same(self, parts: list[tuple[str, str]]) -> None:
        assert fallbacks(*parts) == ["openai/a", "fal/b"]

    def test_may_name_an_alias(self) -> None:
        assert fallbacks(("fallbacks", "fast"), ("fallbacks", '{"model": "cheap"}')) == ["fast", "cheap"]

    @pytest.mark.parametrize(
        ("parts", "param"),
        [
            ([("fallbacks", "")], "fallbacks[0]"),
            ([("fallbacks", "a/b"), ("fallbacks", "  ")], "fallbacks[1]"),
            ([("fallbacks", "[1]")], "fallbacks[0]"),
            ([("fallbacks", '["a/b", null]')], "fallbacks[1]"),
            ([("fallbacks", '["a/b", ["c/d"]]')], "fallbacks[1]"),
            ([("fallbacks", "[NaN]")], "fallbacks[0]"),
            ([("fallbacks", '["a/b"')], "fallbacks[0]"),
            ([("fallbacks", "[" * 100_000)], "fallbacks[0]"),
            ([("fallbacks", '{"provider": "openai"}')], "fallbacks[0]"),
            ([("fallbacks", '{"model": 3}')], "fallbacks[0]"),
            ([("fallbacks", '{"provider": 3, "model": "m"}')], "fallbacks[0]"),
            ([("fallbacks", '{"model": "m", "weight": 1}')], "fallbacks[0]"),
            ([("fallbacks", r'["a/\ud800"]')], "fallbacks[0]"),
            ([("fallbacks", "a/b\x07")], "fallbacks[0]"),
            ([("fallbacks", "a/" + "b" * 300)], "fallbacks[0]"),
            ([("fallbacks[][provider]", "openai")], "fallbacks"),
            ([("fallbacks[][provider]", "openai"), ("fallbacks[][model]", "a"), ("fallbacks[][model]", "b")],
             "fallbacks"),
            ([("fallbacks[][weight]", "1")], "fallbacks"),
            ([("fallbacks[0][weight]", "1")], "fallbacks[0]"),
            ([("fallbacks[2][provider]", "openai")], "fallbacks[2]"),
            ([("fallbacks[0]", "a/b"), ("fallbacks[0][model]", "a/b")], "fallbacks[0]"),
            # Forms that nobody reads, but that were surely meant as fallbacks: none is dropped silently.
            ([("fallbacks[x]", "a/b")], "fallbacks"),
            ([("fallbacks[1000]", "a/b")], "fallbacks"),
            ([("fallbacks[٣]", "a/b")], "fallbacks"),
            ([("fallbacks.0.model", "a/b")], "fallbacks"),
            ([("fallbacks[0][model][x]", "a/b")], "fallbacks"),
        ],
    )  # fmt: skip
    def test_that_cannot_be_understood_are_refused_by_name(self, parts: list[tuple[str, str]], param: str) -> None:
        error = refusal(("image", b"x"), *parts)
        assert (error.kind, error.code, error.param) == (ErrorKind.INVALID_REQUEST, "invalid_fallbacks", param)

    def test_may_not_give_one_place_twice(self) -> None:
        error = refusal(("fallbacks[0][model]", "a/b"), ("fallbacks[00][model]", "c/d"))
        assert error.code == "duplicate_field"


class TestProviderOptions:
    def test_in_brackets_keep_their_types(self) -> None:
        fields = parsed(
            ("image", b"x"),
            ("provider_options[fal][steps]", "4"),
            ("provider_options[fal][guidance]", "3.5"),
            ("provider_options[fal][safe]", "false"),
            ("provider_options[fal][name]", "007"),
            ("provider_options[fal][none]", "null"),
            ("provider_options[fal][list]", "[1]"),
            ("provider_options[fal][deep][er]", "NaN"),
            ("provider_options[openai][moderation]", "low"),
        )
        assert fields.provider_options == {
            "fal": {"steps": 4, "guidance": 3.5, "safe": False, "name": "007", "none": "null", "list": "[1]",
                    "deep": {"er": "NaN"}},
            "openai": {"moderation": "low"},
        }  # fmt: skip

    @pytest.mark.parametrize(
        "parts",
        [
            [("provider_options", "{")],
            [("provider_options", "[]")],
            [("provider_options", '"x"')],
            [("provider_options", '{"fal": {"x": NaN}}')],
            [("provider_options", '{"fal": {"x": ' + "9" * 5000 + "}}")],
            [("provider_options", "[" * 100_000)],
            [("provider_options", "{}"), ("provider_options[fal][x]", "1")],
            [("provider_options[fal]", "1"), ("provider_options[fal][x]", "1")],
            [("provider_options[fal][x]", "1"), ("provider_options[fal]", "1")],
            [("provider_options[fal][x]", "1"), ("provider_options[fal][x]", "1")],
            [("provider_options[fal][]", "1")],
            [("provider_options.fal.x", "1")],
            [("provider_options" + "[a]" * 9, "1")],
        ],
    )
    def test_that_make_no_sense_are_refused(self, parts: list[tuple[str, str]]) -> None:
        if parts == [("provider_options", "{}"), ("provider_options[fal][x]", "1")]:
            assert "both as JSON and in brackets" in refusal(*parts).message
        error = refusal(("image", b"x"), *parts)
        assert (error.kind, error.param) == (ErrorKind.INVALID_REQUEST, "provider_options")


class TestHostileBodies:
    @pytest.mark.parametrize(
        ("content_type", "kind"),
        [
            ("", ErrorKind.UNSUPPORTED_MEDIA_TYPE),
            ("application/json", ErrorKind.UNSUPPORTED_MEDIA_TYPE),
            ("multipart/mixed; boundary=b", ErrorKind.UNSUPPORTED_MEDIA_TYPE),
            ("multipart/form-data", ErrorKind.INVALID_REQUEST),
            ("multipart/form-data; boundary=", ErrorKind.INVALID_REQUEST),
            ('multipart/form-data; boundary="a\nb"', ErrorKind.INVALID_REQUEST),
            (f"multipart/form-data; boundary={'b' * 300}", ErrorKind.INVALID_REQUEST),
            ("multipart/form-data; boundary=grün", ErrorKind.INVALID_REQUEST),
        ],
    )
    def test_the_content_type_must_be_right(self, content_type: str, kind: ErrorKind) -> None:
        with pytest.raises(GatewayError) as caught:
            parse_form(whole_body(content_type, body(("image", b"x"))))
        assert caught.value.kind is kind

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"hello",
            body(("image", b"x"))[:-10],
            body(*[("x", "y")] * (MOST_PARTS + 1)),
            f"--{BOUNDARY}\r\nContent-Type: image/png\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode(),
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{"n" * 9000}"\r\n\r\nx\r\n--{BOUNDARY}--'.encode(),
        ],
    )
    def test_a_body_that_cannot_be_read_is_refused(self, data: bytes) -> None:
        with pytest.raises(GatewayError) as caught:
            parse_form(whole_body(CONTENT_TYPE, data))
        assert (caught.value.kind, caught.value.code) == (ErrorKind.INVALID_REQUEST, "malformed_multipart")

    def test_a_refusal_holds_nothing_of_the_parsers_insides(self) -> None:
        head = b'Content-Disposition: form-data; name="\xff"'
        with pytest.raises(GatewayError) as caught:
            parse_form(whole_body(CONTENT_TYPE, b"--" + BOUNDARY.encode() + b"\r\n" + head + b"\r\n\r\nx\r\n"))
        assert "Error(" not in caught.value.message

    @given(st.binary(max_size=2000))
    def test_any_bytes_are_parsed_or_refused(self, data: bytes) -> None:
        _parsed_or_refused(CONTENT_TYPE, data)

    @given(st.text(max_size=200))
    def test_any_content_type_is_understood_or_refused(self, content_type: str) -> None:
        _parsed_or_refused(content_type, body(("image", b"x")))

    @settings(max_examples=300)
    @given(st.data())
    def test_damage_to_a_good_body_is_survived(self, data: st.DataObject) -> None:
        damaged = bytearray(
            body(
                ("image", b"\x89PNG"),
                ("n", "2"),
                ("fallbacks[0][model]", "a/b"),
                ("provider_options", '{"fal": {"x": [1, 2]}}'),
                ("provider_options[fal][y]", "1"),
            )
        )
        for _ in range(data.draw(st.integers(1, 5))):
            place = data.draw(st.integers(0, len(damaged) - 1))
            damaged[place : place + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
        _parsed_or_refused(CONTENT_TYPE, bytes(damaged))

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(
                    ["fallbacks", "fallbacks[]", "fallbacks[][model]", "fallbacks[][provider]", "fallbacks[0][model]",
                     "fallbacks[0]", "provider_options", "provider_options[a]", "provider_options[a][b]", "n", "seed",
                     "strength", "image"]
                ),
                st.one_of(
                    st.text(max_size=30),
                    st.recursive(
                        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
                        max_leaves=8,
                    ).map(json.dumps),
                ),
            ),
            max_size=6,
        )
    )  # fmt: skip
    def test_any_fields_are_parsed_or_refused(self, parts: list[tuple[str, str]]) -> None:
        safe: Iterable[tuple[str, bytes]] = ((name, text.encode("utf-8", "replace")) for name, text in parts)
        _parsed_or_refused(CONTENT_TYPE, body(*safe))


def _parsed_or_refused(content_type: str, data: bytes) -> None:
    refused: GatewayError | None = None
    try:
        parse_form(whole_body(content_type, data))
    except GatewayError as error:
        refused = error
    if refused is not None:
        assert refused.kind in (ErrorKind.INVALID_REQUEST, ErrorKind.UNSUPPORTED_MEDIA_TYPE)
        # It goes into headers.
        assert len(refused.message) < 1000
        assert len(refused.param) < 100
        assert refused.code.replace("_", "").isalnum() or not refused.code


class TestFormsOfRealClients:
    """Forms as clients, proxies and people write them, against the letter of the standards or beside it."""

    @pytest.mark.parametrize("boundary", ["a=b:c/d?e", "----=_Part_1_2", '"quoted; b"', "x  "])
    def test_a_boundary_of_any_characters_is_taken(self, boundary: str) -> None:
        bare = boundary.strip('" ')
        form = f'--{bare}\r\nContent-Disposition: form-data; name="n"\r\n\r\n2\r\n--{bare}--\r\n'.encode()
        content_type = f"Multipart/Form-Data; charset=utf-8; Boundary={boundary}"
        assert parse_form(whole_body(content_type, form)).n == 2

    @pytest.mark.parametrize(
        "head",
        [
            b'content-disposition: form-data; name="image"; filename="\xff\xfe.png"',
            b'Content-Disposition: form-data; name="image"; filename="\xb2\xe2.png"\r\nContent-Type: image/png',
            b'Content-Disposition: form-data;\r\n  name="image";\r\n\tfilename="a.png"',
            b"Content-Disposition: form-data; name=image; filename*=UTF-8''%e2%82%ac.png",
            b'Content-Type: image/png\r\nContent-Disposition: form-data; filename="n=1; name=x.png"; name="image"',
        ],
    )
    def test_a_parts_header_is_read_however_it_is_written(self, head: bytes) -> None:
        form = b"preamble\r\n--b \t\r\n" + head + b"\r\n\r\n\x89PNG\r\n--b-- \r\nepilogue"
        assert parse_form(whole_body("multipart/form-data; boundary=b", form)).image == b"\x89PNG"

    def test_an_empty_part_is_empty(self) -> None:
        form = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n\r\n--b--'
        assert parse_form(whole_body("multipart/form-data; boundary=b", form)).prompt == ""

    @pytest.mark.parametrize("name", ["n", "seed", "strength", "provider_options"])
    def test_empty_text_means_absent(self, name: str) -> None:
        fields = parsed(("image", b"x"), (name, ""))
        assert (fields.n, fields.seed, fields.strength, fields.provider_options) == (None, None, None, {})

    @pytest.mark.parametrize("name", ["image", "image[]", "image[0]", "image[1]"])
    def test_an_image_may_be_one_of_a_list(self, name: str) -> None:
        assert parsed((name, b"\x89PNG")).image == b"\x89PNG"

    @pytest.mark.parametrize("name", ["images", "images[]", "file", "img", "input_image"])
    def test_an_image_by_another_name_is_told_the_right_one(self, name: str) -> None:
        with pytest.raises(GatewayError) as caught:
            checked(parsed((name, b"\x89PNG")))
        assert caught.value.code == "missing_image"
        assert f"{name!r} is not read: name it image." in caught.value.message

    @pytest.mark.parametrize(
        ("text", "advice"),
        [
            ("photo.png", "-F image=@path, with the @"),
            ("/home/me/my photo.png", "-F image=@path, with the @"),
            ("https://example.org/a.png", "give the URL as image_url"),
            ("data:image/png;base64,iVBORw0KGgo=", "give the URL as image_url"),
            ("iVBORw0KGgo" * 20, "give it as image_url, as data:image/png;base64,…"),
        ],
    )
    def test_text_instead_of_a_file_is_told_what_to_do(self, text: str, advice: str) -> None:
        form = f'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n{text}\r\n--b--'.encode()
        with pytest.raises(GatewayError) as caught:
            parse_form(whole_body("multipart/form-data; boundary=b", form))
        assert (caught.value.param, caught.value.code) == ("image", "invalid_image")
        assert advice in caught.value.message

    @pytest.mark.parametrize(("charset", "data"), [("iso-8859-1", b"gr\xfcn"), ("Shift_JIS", "猫".encode("shift_jis"))])
    def test_a_declared_charset_is_honoured(self, charset: str, data: bytes) -> None:
        assert parse_form(whole_body(CONTENT_TYPE, with_charset(charset, data))).prompt == data.decode(charset)

    @pytest.mark.parametrize("charset", ["zlib", "idna", "punycode", "unicode_escape", "nonsense", "utf-7", "x" * 900])
    def test_a_charset_that_is_none_of_texts_is_refused(self, charset: str) -> None:
        with pytest.raises(GatewayError) as caught:
            parse_form(whole_body(CONTENT_TYPE, with_charset(charset, b"a")))
        assert caught.value.code == "invalid_prompt"

    def test_unknown_names_are_told_with_the_nearest(self) -> None:
        assert parsed(("image", b"x"), ("sieze", "1"), ("zzz", "1")).warnings == [
            "Unknown fields were ignored: 'sieze' (did you mean size?), 'zzz'."
        ]


def with_charset(charset: str, data: bytes) -> bytes:
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="prompt"\r\nContent-Type: text/plain; charset={charset}'
    )
    return head.encode() + b"\r\n\r\n" + data + f"\r\n--{BOUNDARY}--".encode()

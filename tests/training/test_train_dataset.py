from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fracture import read
from fracture.data.records import AnnotatedSet
from fracture.errors import UnreadableFileError
from fracture.models import build_model
from fracture.preprocess import prepare
from fracture.training.cache import FilmCache
from fracture.training.config import MemberConfig
from fracture.training.dataset import Films, collate, evaluation_batches
from fracture.training.loss import Counts, JointLoss
from fracture.training.stage import Step, training_steps

Build = Callable[..., MemberConfig]
Part = Callable[..., Films]


@pytest.fixture
def small(small: Build) -> Build:
    """At the films' own size."""
    return partial(small, preprocess={"size": 96})


def content(step: Step) -> list[tuple[str, bytes, bytes]]:
    return [
        (film.source, planes.numpy().tobytes(), target.numpy().tobytes())
        for batch in step.batches
        for film, planes, target in zip(batch.films, batch.planes, batch.targets.map, strict=True)
    ]


@pytest.mark.parametrize("inputs", [["raw"], ["lcn"], ["raw", "lcn"]])
def test_without_augmentation_training_sees_what_inference_sees(
    small: Build, films_of: Part, drawn: AnnotatedSet, inputs: list[str]
) -> None:
    config = small(model={"inputs": inputs}, augmentation={"enabled": False})
    films = films_of(config)
    for index in (0, 1, 5):
        film = films.part[index]
        expected = prepare(read(drawn.image_path(film)), config.preprocess)
        for example in (films.plain(index), films.augmented(index, epoch=3, place=7)):
            # The cache rounds to 1/65535; a local contrast normalization divides by the local contrast.
            tolerance = 2e-5 if inputs == ["raw"] else 2e-3
            np.testing.assert_allclose(example.planes, expected.planes, atol=tolerance)
            np.testing.assert_array_equal(example.mask, expected.mask)
            assert example.geometry == expected.geometry


def test_the_target_is_the_covered_share_of_each_cell(small: Build, films_of: Part) -> None:
    films = films_of(small(augmentation={"enabled": False}))
    index = next(i for i, film in enumerate(films.part) if film.fractured)
    film, target = films.part[index], films.plain(index).target
    (x0, y0, x1, y1) = film.boxes[0]
    assert target.sum() * 64 == pytest.approx((x1 - x0) * (y1 - y0))
    assert films.plain(next(i for i, f in enumerate(films.part) if not f.fractured)).target.sum() == 0


def test_an_epoch_depends_on_seed_and_epoch_alone(small: Build, films_of: Part) -> None:
    def epoch(config: MemberConfig, number: int, **options: int) -> list[list[tuple[str, bytes, bytes]]]:
        steps = training_steps(films_of(config), number, batch=8, micro_batch=4, **options)
        return [content(step) for step in steps]

    first = epoch(small(), 0, workers=0)
    assert epoch(small(), 0, workers=3) == first
    assert epoch(small(), 0, workers=1, start=2) == first[2:]
    assert epoch(small(), 1, workers=0) != first
    assert epoch(small(seed=6), 0, workers=0) != first
    assert len(first) == 3
    assert sum(len(step) for step in first) == len(films_of(small()))


def test_processes_share_the_films_of_each_step(small: Build, films_of: Part) -> None:
    films = films_of(small())
    whole = [content(s) for s in training_steps(films, 0, batch=8, micro_batch=8)]
    shares = [
        [content(s) for s in training_steps(films, 0, batch=8, micro_batch=4, rank=rank, world=2)] for rank in (0, 1)
    ]
    for step, first, second in zip(whole, *shares, strict=True):
        # Padding differs with the company of a film; names and number of films do not.
        assert sorted(name for name, *_ in step) == sorted(name for name, *_ in first + second)
        assert abs(len(first) - len(second)) <= 1


def test_padding_is_outside_the_mask_and_without_a_say(small: Build, films_of: Part) -> None:
    films = films_of(small())
    tall = next(i for i, f in enumerate(films.part) if f.height > f.width)
    wide = next(i for i, f in enumerate(films.part) if f.height < f.width)
    batch = collate([films.plain(tall), films.plain(wide)], films.regions)
    assert batch.planes.shape == (2, 1, 96, 96)
    assert batch.mask.shape == (2, 1, 96, 96)
    assert not batch.mask[0, 0, :, 64:].any()
    assert batch.mask[0, 0, :, :64].all()
    assert batch.planes[0, :, :, 64:].abs().max() == 0
    assert batch.targets.valid[0, 0].sum() == 12 * 8
    assert batch.targets.valid[1, 0].sum() == 8 * 12
    assert batch.targets.regions.tolist() == [[0.0, 1.0], [1.0, 0.0]]  # ankle, wrist


def test_little_is_padded(small: Build, films_of: Part) -> None:
    films = films_of(small(augmentation={"enabled": False}))
    for step in training_steps(films, 0, batch=8, micro_batch=4):
        assert sum(not batch.mask.all() for batch in step.batches) <= 1


def test_evaluation_sees_every_film_once(small: Build, films_of: Part) -> None:
    films = films_of(small(), "validation")
    seen: list[str] = []
    for rank in (0, 1):
        for batch in evaluation_batches(films, micro_batch=3, rank=rank, world=2):
            assert batch.mask.all()  # one shape per batch
            seen += [film.source for film in batch.films]
    assert sorted(seen) == sorted(film.source for film in films.part)


def test_an_unreadable_film_is_raised_or_skipped(small: Build, drawn: AnnotatedSet, tmp_path: Path) -> None:
    config = small()
    gone = drawn[3]
    part = AnnotatedSet(drawn.films[:8], "copy", tmp_path)
    for film in part:
        if film != gone:
            (tmp_path / film.source).write_bytes(drawn.image_path(film).read_bytes())
    films = Films(part, FilmCache(tmp_path / "cache", config.preprocess), config, ())
    with pytest.raises(UnreadableFileError, match=gone.source):
        list(training_steps(films, 0, batch=4, micro_batch=4))
    # Natural order: every film once.
    natural = Films(
        part, films.cache, config.replace({"sampling": {"balanced_epochs": 0}, "data": {"on_unreadable": "skip"}}), ()
    )
    steps = list(training_steps(natural, 0, batch=4, micro_batch=4))
    assert [fault.source for step in steps for fault in step.faults] == [gone.source]
    assert sum(len(step.sources) for step in steps) == 7
    assert torch.isfinite(steps[0].batches[0].planes).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"augmentation": {"enabled": False}},
        {},
        {"crops": {"epochs": 1, "size": 64}},
        {"windows": {"size": 64, "long_side": [64, 96], "stored": 96}},
    ],
    ids=["as in use", "whole, augmented", "parts", "windows"],
)
def test_a_pyramid_is_taught_boxes_where_the_map_has_fractures(
    films_of: Part, small: Build, changes: dict[str, Any]
) -> None:
    """However a film is presented, its boxes lie around the cells that its map calls fractured, and no others."""
    config = small(model={"pyramid": True, "stages": 3, "output_stride": 16, "map_skip": False}, **changes)
    films = films_of(config)
    made = [films.augmented(index, epoch=0, place=place) for place in range(3) for index in range(len(films))]
    shown = 0
    for one in made:
        around = np.concatenate(one.boxes)
        rows, columns = np.nonzero(one.target > 0.5)
        for x, y in zip(columns * 8 + 4, rows * 8 + 4, strict=True):
            assert any(x0 - 8 <= x <= x1 + 8 and y0 - 8 <= y <= y1 + 8 for x0, y0, x1, y1 in around)
        for x0, y0, x1, y1 in one.boxes[0]:
            assert 0 <= x0 < x1 <= one.mask.shape[1]
            assert 0 <= y0 < y1 <= one.mask.shape[0]
            assert one.film.fractured
            assert one.target[int(y0) // 8 : int(y1 - 1e-3) // 8 + 1, int(x0) // 8 : int(x1 - 1e-3) // 8 + 1].any()
        shown += len(one.boxes[0])
    assert shown > 10
    if not config.windows.size and not config.augmentation.enabled:
        one = next(example for example in made if example.film.boxes)
        corners = np.asarray(one.film.boxes, np.float64).reshape(-1, 2)
        np.testing.assert_allclose(
            np.concatenate(one.boxes).reshape(-1, 2), one.geometry.to_network(corners), atol=1e-3
        )
    batch = collate(made, films.regions)
    model = build_model(config.model.replace(regions=films.regions))
    terms = JointLoss.for_model(model.spec, config.loss)(
        model(batch.planes, batch.mask), batch.targets, Counts.of([batch.targets])
    )
    assert float(terms.quality) > 0
    assert float(terms.box) > 0


def test_a_fracture_somewhere_is_ignored_by_the_cells_alone(films_of: Part, small: Build) -> None:
    """A whole film is fractured wherever the fracture is; a window of it may show none."""
    for changes, judged in (({}, 1.0), ({"windows": {"size": 64, "long_side": [64, 96], "stored": 96}}, 0.0)):
        films = films_of(small(**changes))
        fractured = [replace(f, boxes=(), polygons=(), localized=False) for f in films.part if f.fractured]
        films.part = AnnotatedSet(tuple(fractured), films.part.name, films.part.root)
        batch = collate([films.augmented(0, epoch=0, place=0)], films.regions)
        assert batch.targets.cells is not None
        height, width = batch.mask.shape[2:]
        assert batch.targets.cells.boxes[0].shape == (0, 4)
        assert batch.targets.cells.ignored[0].tolist() == [[0.0, 0.0, width, height]]
        assert batch.targets.fractured.tolist() == [1.0]
        assert batch.targets.judged.tolist() == [judged]

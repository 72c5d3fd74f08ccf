"""Folders of real films with painted damage: for training elsewhere, for tests, for readers to practice on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from fracture.data.records import AnnotatedSet
from fracture.errors import DataError
from fracture.io.reading import read
from fracture.joints.frames import direction
from fracture.joints.layout import Point, columns_of, unit_length
from fracture.joints.records import limbs_of
from fracture.simulate.dataset import Summary, check_folder
from fracture.simulate.hands import JointFilm, draw_lesions, write_joint_films
from fracture.simulate.joints import Joint, paint_joints


def joint_at(points: Mapping[str, Point], name: str) -> Joint:
    """A film's joint, one of ``points``, as the painter takes it."""
    return Joint(name, points[name], direction(points, name), unit_length(points))


def write_painted(
    annotated: AnnotatedSet,
    directory: str | os.PathLike[str],
    n: int,
    *,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Summary:
    """Write ``n`` films with lesions at the joints that the challenge scores; each film in turn, each time others.

    Args:
        annotated: Of :func:`fracture.joints.records.read_landmarks`.
        directory: The folder, made where it does not exist; one that already holds ``annotations.json`` is refused.
        n: Number of films.
        seed: A non-negative integer.
        progress: Called with (films done, n) after each film.

    Raises:
        ConfigurationError: A setting that does not exist, or a folder that already holds a data set.
        DataError: No film with points.
        InputError: A film cannot be read.
    """
    films = [film for film in annotated if limbs_of(film)]
    if not films:
        raise DataError(f"{annotated.name}: no film with points of a hand or forefoot")
    folder = check_folder(directory, n, seed)

    def made() -> Iterator[JointFilm]:
        for index in range(n):
            film = films[index % len(films)]
            pixels, limbs = read(annotated.image_path(film)).pixels, []
            for number, limb in enumerate(limbs_of(film)):
                most = {(c.point, c.damage): c.maximum for c in columns_of(limb.kind) if c.point in limb.points}
                scored = {name: (most.get((name, "narrowing"), 0), most.get((name, "erosion"), 0)) for name, _ in most}
                rng = np.random.default_rng([seed, index, number])
                lesions = draw_lesions(rng, scored)
                joints = {name: joint_at(limb.points, name) for name in lesions}
                pixels = paint_joints(pixels, joints, lesions, int(rng.integers(2**31)))
                limbs.append((limb.kind, limb.points, lesions))
            yield JointFilm(pixels, limbs, {"group": film.group, "painted_into": film.source})

    return write_joint_films(folder, made(), n, progress=progress)

"""Folders of real films with painted damage: for training elsewhere, for tests, for readers to practice on."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

from fracture.data.records import AnnotatedSet
from fracture.errors import DataError
from fracture.io.reading import read
from fracture.joints.records import limbs_of
from fracture.simulate.dataset import KeypointFilm, Summary
from fracture.simulate.hands import draw_lesions, joint_film, write_joints
from fracture.simulate.joints import Joint, paint_joints


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

    def made(index: int) -> KeypointFilm:
        film = films[index % len(films)]
        pixels, limbs = read(annotated.image_path(film)).pixels, []
        for number, limb in enumerate(limbs_of(film)):
            rng = np.random.default_rng([seed, index, number])
            lesions = draw_lesions(rng, limb.kind, limb.points)
            joints = [Joint.of(limb.points, name) for name in lesions]
            pixels = paint_joints(pixels, joints, lesions, int(rng.integers(2**31)))
            limbs.append((limb.kind, limb.points, lesions))
        return joint_film(pixels, limbs, {"group": film.group, "painted_into": film.source})

    return write_joints(directory, n, seed=seed, draw=made, progress=progress)

"""What a user's code may take for granted after asking a result for ``ok``; mypy checks this file with the library."""

from __future__ import annotations

from typing import assert_type

from fracture.hip.prediction import HipFilm
from fracture.limb.prediction import Prediction
from fracture.wing.result import Failure


def limb(result: Prediction | Failure) -> float | str:
    if result.ok:
        assert_type(result, Prediction)
        assert_type(result.error, None)
        return result.probability
    assert_type(result, Failure)
    return result.error.what


def hips(film: HipFilm | Failure) -> list[str | None]:
    if not film.ok:
        raise film.error
    assert_type(film, HipFilm)
    return [hip.label for hip in film.hips]

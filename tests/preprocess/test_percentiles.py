"""Percentiles of values in order are numpy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from fracture.preprocess.percentiles import percentile_of


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.floats(0, 100))
def test_a_percentile_is_numpy_s(values: list[float], percent: float) -> None:
    ordered = np.sort(np.array(values))
    assert percentile_of(ordered, percent) == pytest.approx(np.percentile(ordered, percent), rel=1e-9, abs=1e-9)

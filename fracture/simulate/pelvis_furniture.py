"""Side letters on a pelvic film, always on their own side."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_WORDS = ("", "", "", "AP", "AP", "SUPINE", "PELVIS", "W")


def letters(
    shape: tuple[int, ...], spacing: float, rng: np.random.Generator, envelope: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Optical thickness of lead letters, float32 (height, width): R at the film's left edge or L at its right, at
    times in a ring or with a word below; one film in seven has none."""
    canvas = np.zeros(shape, np.uint8)
    height, width = int(shape[0]), int(shape[1])
    right_hand = bool(rng.random() < 0.5)
    place = rng.random(4)
    word = _WORDS[int(rng.integers(len(_WORDS)))]
    size = float(np.clip(rng.uniform(9.0, 15.0) / spacing, 9.0, 0.08 * min(height, width)))
    ring, thin = bool(rng.random() < 0.15), bool(rng.random() < 0.35)
    if rng.random() < 1.0 / 7.0:
        return np.zeros(shape, np.float32)
    best = (np.inf, 0)
    for step in range(7):  # where it covers least of the patient, among heights near the drawn one
        y = int(height * (0.1 + (0.75 * place[0] + 0.12 * step) % 0.8))
        x = width * (0.06 + 0.1 * place[1])
        x = width - x if right_hand else x
        r = int(size)
        window = envelope[max(0, y - r) : y + r, max(0, int(x) - r) : int(x) + r]
        best = min(best, (max(float(window.mean()) if window.size else 0.0, 30.0), y))
    y = best[1]
    _write(canvas, "L" if right_hand else "R", (x, y), size, thin)
    if ring:
        center = (int(x * 8), int(y * 8))
        cv2.circle(canvas, center, int(size * 7.5), 255, max(1, int(size * 0.1)), cv2.LINE_AA, 3)
    elif word:
        length = size * 0.45 * len(word)
        at = float(np.clip(x, 0.6 * length, width - 0.6 * length))
        _write(canvas, word, (at, y + 1.5 * size), 0.55 * size, True)
    return canvas.astype(np.float32) * np.float32(6.0 / 255.0)


def _write(canvas: NDArray[np.uint8], text: str, at: tuple[float, float], size: float, thin: bool) -> None:
    """Text of a height in pixels, centered."""
    scale = size / 21.0
    stroke = max(1, round(size * (0.1 if thin else 0.17)))
    (w, h), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, stroke)
    start = (int(at[0] - w / 2), int(at[1] + h / 2))
    cv2.putText(canvas, text, start, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, stroke, cv2.LINE_AA)

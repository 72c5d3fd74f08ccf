"""A second JPEG decoder for the tests: sequential Huffman, one component, 8 or 12 bits, in float64.

Written from ISO/IEC 10918-1 (Annexes A, C, F) and slow; it shares nothing with the decoders that the library uses.
"""

from __future__ import annotations

import numpy as np
from scipy.fft import idctn

_ZIGZAG = sorted(range(64), key=lambda k: (k // 8 + k % 8, k // 8 if (k // 8 + k % 8) % 2 else k % 8))


def decode(data: bytes, block_rows: int | None = None) -> np.ndarray:
    """Decode the first ``block_rows`` rows of 8 x 8 blocks (all by default) to integers."""
    steps: dict[int, np.ndarray] = {}
    codes: dict[int, dict[tuple[int, int], int]] = {}
    at = 2
    while True:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + length]
        if marker == 0xDB:
            while body:
                size = 128 if body[0] >> 4 else 64
                steps[body[0] & 15] = np.frombuffer(body[1 : 1 + size], ">u2" if size == 128 else "u1").astype(float)
                body = body[1 + size :]
        elif marker == 0xC4:
            while body:
                codes[body[0]], used = _codes(body)
                body = body[used:]
        elif marker in (0xC0, 0xC1):
            precision, height, width = body[0], int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            quantizer = body[8]
        elif marker == 0xDA:
            dc, ac = codes[body[2] >> 4], codes[0x10 | (body[2] & 15)]
            break
        at += 2 + length
    rows, columns = -(-height // 8), -(-width // 8)
    rows = rows if block_rows is None else min(rows, block_rows)
    bits = _Bits(data[at + 2 + length :].replace(b"\xff\x00", b"\xff"))
    blocks = np.zeros((rows * columns, 64))
    previous = 0
    for block in blocks:
        previous = _block(bits, dc, ac, previous, block)
    square = np.zeros_like(blocks)
    square[:, _ZIGZAG] = blocks * steps[quantizer]
    values = idctn(square.reshape(-1, 8, 8), axes=(1, 2), norm="ortho") + (1 << (precision - 1))
    plane = values.reshape(rows, columns, 8, 8).swapaxes(1, 2).reshape(8 * rows, 8 * columns)
    return np.clip(np.rint(plane), 0, (1 << precision) - 1).astype(np.int64)[: min(height, 8 * rows), :width]


def _codes(body: bytes) -> tuple[dict[tuple[int, int], int], int]:
    table, code, at = {}, 0, 17
    for size, count in enumerate(body[1:17], start=1):
        for _ in range(count):
            table[size, code] = body[at]
            code, at = code + 1, at + 1
        code *= 2
    return table, at


class _Bits:
    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.word, self.count = data, 0, 0, 0

    def take(self, count: int) -> int:
        while self.count < count:
            self.word = (self.word << 8) | self.data[self.at]
            self.at, self.count = self.at + 1, self.count + 8
        self.count -= count
        value = self.word >> self.count
        self.word &= (1 << self.count) - 1
        return value

    def symbol(self, table: dict[tuple[int, int], int]) -> int:
        code = size = 0
        while (size, code) not in table:
            code, size = (code << 1) | self.take(1), size + 1
        return table[size, code]

    def signed(self, size: int) -> int:
        value = self.take(size) if size else 0
        return value if not size or value >> (size - 1) else value - (1 << size) + 1


def _block(
    bits: _Bits, dc: dict[tuple[int, int], int], ac: dict[tuple[int, int], int], previous: int, out: np.ndarray
) -> int:
    out[0] = previous + bits.signed(bits.symbol(dc))
    k = 1
    while k < 64:
        run, size = divmod(bits.symbol(ac), 16)
        if size == 0 and run != 15:
            break
        k += run
        if size:
            out[k] = bits.signed(size)
        k += 1
    return int(out[0])

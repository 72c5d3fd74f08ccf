"""A bounded walk over an encoded data set that copies what the reader wants and passes over the rest.

pydicom parses whatever a file holds: 100 million values, items within items, each as an object of its own, so that
100 KB of gzip cost gigabytes. Here elements are looked at in a limited number of steps and a limited depth, and what
comes out is a small data set of the wanted attributes for pydicom to convert, and where the pixels lie. Delimiters
that are missing at the end, which other readers forgive, are forgiven.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

MAX_STEPS = 200_000
"""Limit of the elements, items and delimiters looked at (our choice: some 0.3 s; a radiograph has a few hundred)."""

MAX_KEPT = 1000
"""Limit of the elements and items that are copied (our choice; at most some 50 are wanted)."""

MAX_DEPTH = 16
"""Limit of sequences within sequences (our choice; no defined object goes beyond 8)."""

MAX_VALUE = 1 << 14
"""Limit of a value's bytes, tables apart: a thousand windows (our choice)."""

MAX_TABLE = 1 << 17
"""Limit of a table's bytes: 65,536 entries of 16 bits, which the standard allows at most."""

LONG_VRS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
VRS = frozenset(
    (
        *LONG_VRS,
        *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH"),
        *(b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"),
    )
)
UNDEFINED = 0xFFFFFFFF
PIXEL_DATA = 0x7FE00010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD


class TooMuch(Exception):  # noqa: N818 - it says why, and never leaves this package
    """The walk reached one of its limits; the text says which."""


@dataclass(frozen=True, slots=True)
class Element:
    """The header of one element: its tag, VR (``b""`` if implicit), value length, and where its value begins."""

    tag: int
    vr: bytes
    length: int
    value: int


@dataclass(slots=True)
class Found:
    """What a walk brought back.

    Attributes:
        kept: The wanted elements, encoded as they were, sequences with undefined lengths.
        pixels: Where the value of Pixel Data begins and ends; ``None`` where there is none.
        pixel_vr: Its VR, ``b""`` where implicit.
        present: Tags of the elements at top level that hold other pixels (floating point).
        oversized: Tags of wanted elements whose value is longer than any legal one; they were left out.
        truncated: The data end within an element.
    """

    kept: bytearray = field(default_factory=bytearray)
    pixels: tuple[int, int] | None = None
    pixel_vr: bytes = b""
    present: set[int] = field(default_factory=set)
    oversized: list[int] = field(default_factory=list)
    truncated: bool = False


def element_at(data: bytes, at: int, *, implicit: bool, big: bool) -> Element:
    """The element header at an offset; ``struct.error`` where the data end within it."""
    order = ">" if big else "<"
    group, number = struct.unpack_from(f"{order}HH", data, at)
    tag = group << 16 | number
    if not implicit and group != 0xFFFE:
        vr = bytes(data[at + 4 : at + 6])
        if vr in LONG_VRS:
            return Element(tag, vr, struct.unpack_from(f"{order}I", data, at + 8)[0], at + 12)
        if vr.isalpha() and vr.isupper():
            return Element(tag, vr, struct.unpack_from(f"{order}H", data, at + 6)[0], at + 8)
        # No VR at all: some writers change to implicit elements within an explicit data set.
    return Element(tag, b"", struct.unpack_from(f"{order}I", data, at + 4)[0], at + 8)


def walk(
    data: bytes,
    start: int,
    wanted: Collection[int],
    nested: Mapping[int, Collection[int]],
    tables: Collection[int],
    *,
    implicit: bool,
    big: bool,
    most: int = MAX_KEPT,
) -> Found:
    """Walk over a data set up to its pixels.

    Args:
        data: The file.
        start: Where the data set begins.
        wanted: Tags to copy at top level.
        nested: Sequences to go into, and the tags to copy from their items.
        tables: Tags whose value may be as long as a table.
        implicit: The data set has no VRs.
        big: Big endian.
        most: Limit of the elements and items that are copied.

    Raises:
        TooMuch: A limit was reached.
    """
    walker = _Walker(data, nested, tables, implicit, big, most)
    walker.elements(start, len(data), wanted, depth=0)
    return walker.found


class _Walker:
    def __init__(
        self,
        data: bytes,
        nested: Mapping[int, Collection[int]],
        tables: Collection[int],
        implicit: bool,
        big: bool,
        most: int,
    ) -> None:
        self.data, self.nested, self.tables = data, nested, tables
        self.implicit, self.big, self.most = implicit, big, most
        self.steps = self.copied = 0
        self.found = Found()

    def header(self, at: int, end: int) -> Element | None:
        """The next element; ``None`` at the end."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise TooMuch(f"more than {MAX_STEPS} elements and items")
        if at + 8 > end:
            self.found.truncated |= at < end and bool(self.data[at:end].strip(b"\0"))
            return None
        try:
            return element_at(self.data, at, implicit=self.implicit, big=self.big)
        except struct.error:
            self.found.truncated = True
            return None

    def keep(self, *parts: bytes) -> None:
        self.copied += 1
        if self.copied > self.most:
            raise TooMuch(f"more than {self.most} items and values of what is read")
        for part in parts:
            self.found.kept += part

    def elements(self, at: int, end: int, wanted: Collection[int], depth: int) -> int:
        """Elements to the end, to the end of an item, or to the pixels; returns where it stopped."""
        while (one := self.header(at, end)) is not None:
            if one.tag in (_ITEM_END, _SEQUENCE_END):
                if depth:
                    return one.value if one.tag == _ITEM_END else at
                at = one.value  # a delimiter of nothing
                continue
            if depth == 0 and one.tag >= PIXEL_DATA:
                self.pixels(one, end)
                return end
            if one.length == UNDEFINED or (one.tag in wanted and one.tag in self.nested):
                at = self.sequence(at, one, end, wanted, depth)
                continue
            stop = one.value + one.length
            if stop > end:
                self.found.truncated = True
                return end
            if depth == 0 and one.tag in _OTHER_PIXELS:
                self.found.present.add(one.tag)
            elif one.tag in wanted:
                if one.length > (MAX_TABLE if one.tag in self.tables else MAX_VALUE):
                    self.found.oversized.append(one.tag)
                else:
                    self.keep(self.data[at:stop])
            at = stop
        return end

    def pixels(self, one: Element, end: int) -> None:
        if one.tag == PIXEL_DATA:
            stop = end if one.length == UNDEFINED else min(one.value + one.length, end)
            self.found.truncated |= one.length != UNDEFINED and one.value + one.length > end
            self.found.pixels, self.found.pixel_vr = (one.value, stop), one.vr

    def sequence(self, at: int, one: Element, end: int, wanted: Collection[int], depth: int) -> int:
        """The items of a sequence, copied if it is wanted; returns where it ends."""
        if depth >= MAX_DEPTH:
            raise TooMuch(f"sequences more than {MAX_DEPTH} deep")
        inside = self.nested.get(one.tag, ()) if one.tag in wanted and one.vr in (b"", b"SQ") else ()
        if inside:
            self.keep(self.data[at : one.value - 4], b"\xff\xff\xff\xff")
        before, limit = self.implicit, end
        if one.length != UNDEFINED:
            limit = min(one.value + one.length, end)
        self.implicit |= one.vr == b"UN"  # PS3.5 6.2.2: such a value is encoded as implicit little endian
        at = self.items(one.value, limit, one.length == UNDEFINED, inside, depth)
        self.implicit = before
        if inside:
            self.keep(self.delimiter(_SEQUENCE_END, 0))
        return at

    def items(self, at: int, end: int, undefined: bool, inside: Collection[int], depth: int) -> int:
        while (item := self.header(at, end)) is not None:
            if item.tag == _SEQUENCE_END:
                return item.value if undefined else end
            if item.tag != _ITEM:  # the delimiter is missing: this element follows the sequence
                return at if undefined else end
            if inside:
                self.keep(self.delimiter(_ITEM, UNDEFINED))
            if item.length == UNDEFINED:
                at = self.elements(item.value, end, inside, depth + 1)
            else:
                at = min(item.value + item.length, end)
                self.found.truncated |= item.value + item.length > end
                if inside:
                    self.elements(item.value, at, inside, depth + 1)
            if inside:
                self.keep(self.delimiter(_ITEM_END, 0))
        return end

    def delimiter(self, tag: int, length: int) -> bytes:
        return struct.pack(">HHI" if self.big else "<HHI", tag >> 16, tag & 0xFFFF, length)


_OTHER_PIXELS = (0x7FE00008, 0x7FE00009)
"""Float Pixel Data and Double Float Pixel Data: only whether they are there matters."""

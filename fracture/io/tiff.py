"""TIFF: pages and tags within bounds, and the pixels of every layout (TIFF 6.0, BigTIFF, Adobe's supplements).

A page is read through a directory of our own making, appended to the file, that holds only the tags a decoder needs:
so neither chains of directories nor values that overlap cost anything. Pillow (libtiff) decompresses. Where the
compression does not look at pixels (none, LZW, Deflate, PackBits, LZMA, Zstandard) it is told that rows are bytes,
and what these mean (bits, sign, floating point, byte order, planes, predictor) is worked out here with NumPy, since
Pillow knows few of the layouts that TIFF allows. JPEG and fax compressions are left to Pillow whole.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fracture.errors import UnreadableFileError, UnsupportedError
from fracture.io.options import chosen_frame

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

MAX_PAGES = 4096
"""Limit of the pages of a file (our choice)."""

MAX_ENTRIES = 100_000
"""Limit of the tags of all pages of a file together (our choice; a page has some 20)."""

MAX_STRIPS = 100_000
"""Limit of the strips or tiles of a page (our choice: one row each of the tallest film, ten times over)."""

_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_BYTEWISE = (1, 5, 8, 32773, 32946, 34925, 50000)
_DECODER_TAGS = (
    *(254, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 320, 322, 323, 324, 325, 332, 338, 339),
    *(347, 512, 513, 514, 515, 519, 520, 521, 530, 531),
)


@dataclass(frozen=True, slots=True)
class Page:
    """One image file directory: where the values of its tags lie.

    Attributes:
        data: The file.
        order: ``"<"`` or ``">"``.
        entries: Per tag its type, number of values, and where they begin.
    """

    data: bytes
    order: str
    entries: dict[int, tuple[int, int, int]]

    def values(self, tag: int, default: tuple[int, ...] = (), limit: int = 16) -> tuple[int, ...]:
        """The integers of a tag.

        Raises:
            ValueError: More than ``limit``, of a type that holds no integers, or beyond the end of the file.
        """
        if tag not in self.entries:
            return default
        kind, count, at = self.entries[tag]
        form = f"{self.order}{count}{_TYPES[kind]}" if kind in _TYPES and 0 < count <= limit else ""
        if not form or at + struct.calcsize(form) > len(self.data):
            raise ValueError("tag")
        return struct.unpack_from(form, self.data, at)

    def one(self, tag: int, default: int) -> int:
        """The first integer of a tag."""
        return self.values(tag, (default,))[0]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) as stored."""
        return self.one(256, 0), self.one(257, 0)

    @property
    def orientation(self) -> int:
        """As EXIF's; 1 where the tag is missing."""
        return self.one(274, 1)

    @property
    def samples(self) -> int:
        """Samples of a pixel."""
        return self.one(277, 1)

    @property
    def bits(self) -> int:
        """Bits of each sample; ``UnsupportedError`` where they differ."""
        bits = set(self.values(258, (1,)))
        if len(bits) != 1 or not 1 <= min(bits) <= 64:
            raise UnsupportedError("a TIFF file whose samples differ in their bits", got=sorted(bits)[:4])
        return bits.pop()


def pages(data: bytes, name: str, *, limit: int = MAX_PAGES) -> list[Page]:
    """The pages of a file, those of reduced size and masks left out where there are others.

    Raises:
        UnreadableFileError: More pages or tags than the limits.
        ValueError, struct.error: The file is damaged.
    """
    order = {b"II": "<", b"MM": ">"}[bytes(data[:2])]
    big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    (at,) = struct.unpack_from(f"{order}Q", data, 8) if big else struct.unpack_from(f"{order}I", data, 4)
    found: list[Page] = []
    seen: set[int] = set()
    tags = 0
    while at and at not in seen and len(found) < limit:
        seen.add(at)
        if len(seen) > MAX_PAGES:
            raise UnreadableFileError(f"{name}: more TIFF pages than the limit", allowed=f"at most {MAX_PAGES}")
        page, at = _directory(data, at, order, big)
        tags += len(page.entries)
        if tags > MAX_ENTRIES:
            raise UnreadableFileError(f"{name}: more TIFF tags than the limit", allowed=f"at most {MAX_ENTRIES}")
        found.append(page)
    return [page for page in found if not page.one(254, 0) & 5] or found


def _directory(data: bytes, at: int, order: str, big: bool) -> tuple[Page, int]:
    count_form, entry_form, next_form, inline = ("Q", "HHQ", "Q", 8) if big else ("H", "HHI", "I", 4)
    (count,) = struct.unpack_from(order + count_form, data, at)
    if count > 1 << 16:
        raise ValueError("tags")
    at += struct.calcsize(count_form)
    step = struct.calcsize("<" + entry_form) + inline
    entries: dict[int, tuple[int, int, int]] = {}
    for k in range(count):
        tag, kind, number = struct.unpack_from(order + entry_form, data, at + k * step)
        where = at + (k + 1) * step - inline
        if kind in _TYPES and number * struct.calcsize(_TYPES[kind]) > inline:
            (where,) = struct.unpack_from(order + next_form, data, where)
        entries[tag] = (kind, number, where)
    (following,) = struct.unpack_from(order + next_form, data, at + count * step)
    return Page(data, order, entries), following


def choose_page(found: list[Page], name: str, frame: int | None) -> Page:
    """The page asked for, or the only one.

    Raises:
        MultiFrameError: Several pages and none chosen, or no such page.
    """
    if not found:
        raise ValueError("no page")
    return found[chosen_frame(name, frame, len(found))]


def exif_orientation(block: bytes) -> int:
    """The orientation in an EXIF block, which is a small TIFF file; 1 where it has none.

    Raises:
        ValueError, LookupError, struct.error, UnreadableFileError: The block is damaged.
    """
    found = pages(block, "the EXIF block", limit=1)
    return found[0].orientation if found else 1


def layout_pixels(page: Page, name: str) -> NDArray[Any] | None:
    """The samples of a page as they are stored, or ``None`` where only Pillow can decode it.

    Returns:
        (height, width, samples), signed, unsigned or floating point in the machine's byte order. Samples of other
        than 8, 16, 32 or 64 bits lie in the low bits of the next larger integer.

    Raises:
        UnsupportedError: Complex samples, or floating point of an odd size.
        ValueError, struct.error: The page is damaged.
    """
    bits, samples, planar = page.bits, page.samples, page.one(284, 1) == 2
    if page.one(259, 1) not in _BYTEWISE or page.one(262, 1) not in (0, 1, 2, 3, 4):
        return None
    form = set(page.values(339, (1,)))
    if len(form) > 1 or not form <= {1, 2, 3, 4} or (form == {3} and bits not in (16, 32, 64)) or not 1 <= samples <= 5:
        raise UnsupportedError(
            f"{name}: TIFF samples of a kind that is not read",
            got=f"{samples} samples of {bits} bits, format {sorted(form)}",
            allowed="up to 5 samples: integers, or floating point of 16, 32 or 64 bits",
            hint="save it as 16-bit gray",
        )
    kind = {1: "u", 2: "i", 3: "f", 4: "u"}[form.pop()]
    planes = [_chunks(page, samples if not planar else 1, kind, k) for k in range(samples if planar else 1)]
    return planes[0] if not planar else np.concatenate(planes, axis=2)


def _chunks(page: Page, samples: int, kind: str, plane: int) -> NDArray[Any]:
    """One plane of samples, (height, width, samples), its strips or tiles decompressed as rows of bytes."""
    (width, height), bits = page.size, page.bits
    tiled = 322 in page.entries
    chunk, rows = (page.one(322, 0), page.one(323, 0)) if tiled else (width, min(page.one(278, height), height))
    if chunk < 1 or rows < 1 or chunk > max(4 * width, 1 << 14) or (tiled and rows > max(4 * height, 1 << 14)):
        raise ValueError("chunks")
    across, down = -(-width // chunk), -(-height // rows)
    count = across * down
    offsets = page.values(324 if tiled else 273, limit=MAX_STRIPS)[plane * count : (plane + 1) * count]
    row = -(-chunk * samples * bits // 8)
    sizes = page.values(325 if tiled else 279, (rows * row,) * len(offsets), limit=MAX_STRIPS)
    sizes = sizes[plane * count : (plane + 1) * count]
    if not len(offsets) == len(sizes) == count:
        raise ValueError("chunks")
    tags: dict[int, tuple[int, ...]] = {
        256: (row * across,),
        257: (height,),
        258: (8,),
        259: (page.one(259, 1),),
        262: (1,),
        277: (1,),
    }
    tags[266] = (page.one(266, 1),)
    tags |= {322: (row,), 323: (rows,), 324: offsets, 325: sizes} if tiled else {273: offsets, 278: (rows,), 279: sizes}
    raw = np.asarray(_open(page.data, {tag: ("I", value) for tag, value in tags.items()}))
    return _samples(raw.reshape(height * across, row), page, chunk, samples, kind).reshape(
        height, across * chunk, samples
    )[:, :width]


def _samples(raw: NDArray[np.uint8], page: Page, chunk: int, samples: int, kind: str) -> NDArray[Any]:
    """Rows of bytes to rows of samples: (n, chunk, samples)."""
    bits, predictor = page.bits, page.one(317, 1)
    shape = (len(raw), chunk, samples)
    if predictor == 3 and kind == "f":  # Adobe Photoshop TIFF Technical Note 3
        size = bits // 8
        differences = raw.reshape(len(raw), -1, samples)
        bytes_ = np.cumsum(differences, axis=1, dtype=np.uint8).reshape(len(raw), size, -1)
        values = np.ascontiguousarray(bytes_.transpose(0, 2, 1)).view(f">f{size}")
        return values.astype(f"f{size}").reshape(shape)
    if bits in (8, 16, 32, 64):
        values = np.ascontiguousarray(raw).view(f"{page.order}{kind}{bits // 8}")
        values = values.astype(values.dtype.newbyteorder("="), copy=False).reshape(shape)
    else:
        values = _unpacked(raw, chunk * samples, bits, signed=kind == "i").reshape(shape)
    if predictor == 2 and kind != "f":
        values = np.cumsum(values, axis=1, dtype=values.dtype)
    return values


def _unpacked(raw: NDArray[np.uint8], count: int, bits: int, *, signed: bool) -> NDArray[Any]:
    """Samples of any number of bits, packed from the highest bit on."""
    size = next(size for size in (8, 16, 32, 64) if bits <= size)
    out = np.empty((len(raw), count), f"u{size // 8}")
    step = max(1, (1 << 20) // max(count * size, 1))
    for first in range(0, len(raw), step):
        part = np.unpackbits(raw[first : first + step], axis=1)[:, : count * bits].reshape(-1, count, bits)
        padded = np.zeros((*part.shape[:2], size), np.uint8)
        padded[..., size - bits :] = part
        if signed:
            padded[..., : size - bits] = part[..., :1]
        out[first : first + step] = np.packbits(padded, axis=2).view(f">u{size // 8}")[..., 0]
    return out.view(f"i{size // 8}") if signed else out


def pillow_image(page: Page, name: str) -> Image:
    """A page that only Pillow can decode, its orientation not applied.

    Raises:
        UnsupportedError: Pillow does not know this kind.
        ValueError, struct.error: The page is damaged.
    """
    tags = {}
    for tag in _DECODER_TAGS:
        if tag in page.entries:
            limit = MAX_STRIPS if tag in (273, 279, 324, 325) else 1 << 18 if tag in (320, 347) else 64
            kind = page.entries[tag][0]
            tags[tag] = ("B" if kind == 7 else "H" if kind == 3 else "I", page.values(tag, limit=limit))
    try:
        return _open(page.data, tags)
    except (SyntaxError, KeyError):
        raise UnsupportedError(
            f"{name}: a kind of TIFF that is not read",
            got=f"compression {page.one(259, 1)}, photometric interpretation {page.one(262, -1)}",
            hint="save it as 16-bit gray without compression",
        ) from None


def _open(data: bytes, tags: dict[int, tuple[str, tuple[int, ...]]]) -> Image:
    """The file with a directory of these tags (per tag its values and their size, B, H or I) and no other."""
    from PIL.TiffImagePlugin import TiffImageFile

    if len(data) >= 1 << 31:
        raise ValueError("large")
    start = len(data) + len(data) % 2
    body = start + 2 + 12 * len(tags) + 4
    entries, values = [], b""
    for tag in sorted(tags):
        form, numbers = tags[tag]
        packed = struct.pack(f"<{len(numbers)}{form}", *numbers)
        kind = {"B": 7, "H": 3, "I": 4}[form]
        if len(packed) > 4:
            where = struct.pack("<I", body + len(values))
            values += packed + b"\0" * (len(packed) % 2)
        else:
            where = packed.ljust(4, b"\0")
        entries.append(struct.pack("<HHI", tag, kind, len(numbers)) + where)
    directory = struct.pack("<H", len(tags)) + b"".join(entries) + bytes(4)
    whole = b"".join((struct.pack("<2sHI", b"II", 42, start), data[8:], bytes(len(data) % 2), directory, values))
    image = TiffImageFile(io.BytesIO(whole))
    image.load()
    return image

"""``read``: a path, array, PIL image, DICOM data set or file content to a ``Radiograph``."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np

from fracture import regions as region_names
from fracture.errors import PixelValueError, UnsupportedError
from fracture.io.ahead import source_name
from fracture.io.files import MAX_BYTES, open_bytes
from fracture.io.images import MAX_PIXELS, check_size, decode_image, plane_from_array, plane_from_pil, sniff
from fracture.io.options import Reading
from fracture.io.quiet import FAULTS, memory_told
from fracture.io.radiograph import Radiograph
from fracture.io.scaling import scale_plane

if TYPE_CHECKING:
    from PIL.Image import Image
    from pydicom.dataset import Dataset

    from fracture.io.scaling import Plane

    Source = str | os.PathLike[str] | bytes | IO[bytes] | np.ndarray[Any, Any] | Image | Dataset | Radiograph


def read(
    source: Source,
    *,
    region: str | Sequence[str] | None = None,
    frame: int | None = None,
    window: str | int = "auto",
    allow: Collection[str] = (),
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
    tree: region_names.RegionTree = region_names.DEFAULT_TREE,
) -> Radiograph:
    """Read one radiograph.

    The format is found by content, never by the file's name. A gzipped file is inflated through a byte cap. Nothing
    is fetched from the network.

    Args:
        source: A path (or ``file://`` address) of a DICOM, PNG, JPEG or TIFF file (each also gzipped), such a file's
            bytes, a file object opened in binary mode (``io.BytesIO`` too; read from where it stands, not closed), an
            array of shape (height, width) or (height, width, 1, 3 or 4), a PIL image, a pydicom ``Dataset``, or a
            ``Radiograph`` (returned as it is, with ``region`` applied).
        region: The anatomical region or regions shown, in any accepted spelling; goes before what DICOM says.
        frame: Frame of a multi-frame file, from 0.
        window: ``"auto"`` takes DICOM's own VOI LUT or window, else a percentile window; images and arrays are
            scaled as ``fracture.io.scaling.scale_plane`` tells. ``"raw"`` scales the full range of the stored values
            linearly, ``"percentile"`` always uses the percentile window, and an integer chooses one of a DICOM
            file's windows, from 0.
        allow: Modalities to accept beyond plain radiographs, for example ``("CT", "MR")``; ``("*",)`` for all.
        max_pixels: Limit of width times height, checked before decoding.
        max_bytes: Limit of the file's size, also once inflated.
        tree: The regions known.

    Returns:
        Pixels float32 in [0, 1], bright = dense, at native resolution, with what the file says about itself.

    Raises:
        MissingFileError: No such file; it is a ``FileNotFoundError`` too.
        UnreadableFileError: Empty, truncated, damaged, or of an unknown format.
        UnsupportedError: Well-formed, but of a kind that no permissively licensed decoder here reads.
        NotARadiographError: A CT or MR slice, a color picture, or a file without pixels.
        MultiFrameError: Several frames and none chosen, or no such frame.
        ImageSizeError: Larger than the limits, refused before decoding.
        PixelValueError: NaN or infinite pixels, or an array of the wrong dtype or shape.
        RegionError: An unknown region.
        ConfigurationError: An unknown ``window`` or a malformed limit.
    """
    options = Reading.of(region, frame, window, allow, max_pixels, max_bytes, tree)
    if isinstance(source, Radiograph):
        return replace(source, regions=options.regions, region_source="caller") if options.regions else source
    with memory_told(source_name(source)):
        return _read(source, options)


def _read(source: Source, options: Reading) -> Radiograph:
    if isinstance(source, str | os.PathLike | bytes | bytearray | memoryview):
        return _from_bytes(*open_bytes(source, options.max_bytes), options)
    if isinstance(source, np.ndarray):
        return _from_array(source, options)
    # A data set or an image can only be given by a caller who has imported its library already.
    if (pil := sys.modules.get("PIL.Image")) is not None and isinstance(source, pil.Image):
        plane = plane_from_pil(
            source, "<image>", frame=options.frame, max_pixels=options.max_pixels, max_bytes=options.max_bytes
        )
        return _finish(plane, "<image>", options)
    if (pydicom := sys.modules.get("pydicom.dataset")) is not None and isinstance(source, pydicom.Dataset):
        from fracture.io.dicom import radiograph_from_dataset

        return radiograph_from_dataset(source, "<dataset>", options)
    if hasattr(source, "read"):
        return _from_bytes(*open_bytes(cast("IO[bytes]", source), options.max_bytes), options)
    if hasattr(source, "__array__"):
        return _from_array(_array_of(source), options)
    raise UnsupportedError(
        "a source of an unknown type",
        got=type(source).__name__,
        allowed="a path, bytes, a file opened in mode 'rb', a numpy array, PIL image, pydicom Dataset or Radiograph",
    )


def _array_of(source: Any) -> np.ndarray[Any, Any]:
    """What gives itself as an array; a torch tensor leaves its graph and its device first."""
    try:
        return np.asarray(source.detach().cpu() if hasattr(source, "detach") else source)
    except FAULTS as error:  # bfloat16, for one
        raise PixelValueError(
            "<array>: the object gives no NumPy array",
            got=f"{type(source).__name__} ({error})",
            hint="convert it first: tensor.float().numpy()",
        ) from None


def _from_array(array: np.ndarray[Any, Any], options: Reading) -> Radiograph:
    if array.ndim >= 2:
        check_size("<array>", array.shape[1], array.shape[0], options.max_pixels)
    return _finish(plane_from_array(array, "<array>"), "<array>", options)


def _from_bytes(data: bytes, name: str, options: Reading) -> Radiograph:
    if sniff(data) in ("dicom", ""):
        from fracture.io.dicom import radiograph_from_bytes

        return radiograph_from_bytes(data, name, options)
    plane = decode_image(data, name, frame=options.frame, max_pixels=options.max_pixels)
    return _finish(plane, name, options)


def _finish(plane: Plane, name: str, options: Reading) -> Radiograph:
    pixels, bits, notes = scale_plane(plane, name, options.window)
    return Radiograph(
        pixels=np.ascontiguousarray(pixels),
        source=name,
        regions=options.regions,
        region_source="caller" if options.regions else None,
        bits=bits,
        warnings=tuple(notes),
    )

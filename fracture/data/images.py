"""What a film's file says about its size without decoding it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fracture.errors import UnreadableFileError
from fracture.io.quiet import FAULTS
from fracture.io.tiff import pages

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".dcm", ".dicom")

_EXIF_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)  # the EXIF orientations that swap rows and columns


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Size of an image as stored, and the EXIF orientation that a reader applies.

    Attributes:
        stored_width: Columns in the file.
        stored_height: Rows in the file.
        orientation: EXIF orientation 1 to 8; 1 where the file has none.
    """

    stored_width: int
    stored_height: int
    orientation: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the film as it is read, with the orientation applied."""
        if self.orientation in _TURNED:
            return self.stored_height, self.stored_width
        return self.stored_width, self.stored_height


def read_header(path: Path) -> ImageHeader:
    """Size and orientation of an image or DICOM file, from its header alone.

    Raises:
        UnreadableFileError: The file is missing, empty or of no known format.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with path.open("rb") as file:
            head = file.read(132)
        if head[128:] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom"):
            return _dicom_header(path)
        with Image.open(path) as image:
            if image.format == "TIFF":  # whose size Pillow gives as it is when upright
                page = pages(path.read_bytes(), path.name)[0]
                orientation = page.orientation if 1 <= page.orientation <= 8 else 1
                return ImageHeader(*page.size, orientation)
            orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
            valid = isinstance(orientation, int) and 1 <= orientation <= 8
            return ImageHeader(image.width, image.height, orientation if valid else 1)
    except FileNotFoundError:
        raise UnreadableFileError(f"{path.name}: no such file", got=path) from None
    except (*FAULTS, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise UnreadableFileError(f"{path.name}: not an image that can be read", got=error) from error


def _dicom_header(path: Path) -> ImageHeader:
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
        return ImageHeader(int(header.Columns), int(header.Rows))
    except FileNotFoundError:
        raise UnreadableFileError(f"{path.name}: no such file", got=path) from None
    except (InvalidDicomError, OSError, AttributeError, ValueError, EOFError, NotImplementedError) as error:
        raise UnreadableFileError(f"{path.name}: not a DICOM file with rows and columns") from error


def image_files(folder: Path) -> list[Path]:
    """Image and DICOM files below ``folder``, sorted by path."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())

"""Every exception that the library raises on purpose.

The tree:

    FractureError
    ├── InputError                  one input cannot be used; a batch goes on with the others
    │   ├── UnreadableFileError     empty, truncated, damaged, or of an unknown format
    │   │   └── MissingFileError    no such file; a FileNotFoundError too
    │   ├── UnsupportedError        well-formed, but a kind the reader does not decode (transfer syntax, layout)
    │   ├── NotARadiographError     CT or MR slice, color photograph, presentation state, no pixels
    │   ├── MultiFrameError         several frames and none was chosen
    │   ├── SeriesError             slices that do not make one series: gaps, two at one place, several series
    │   ├── ImageSizeError          larger (or smaller) than the declared limits, refused before decoding
    │   ├── PixelValueError         NaN or infinite pixels, wrong dtype or shape, a film that is all padding
    │   └── UnexpectedError         an error of the library itself that this input brought to light
    ├── RegionError                 an unknown anatomical region
    ├── WeightsError                weights cannot be used
    │   ├── WeightsNotFoundError    no such name or folder
    │   ├── WeightsIntegrityError   a checksum or a shape differs from what the card says
    │   └── CardError               the card is missing, malformed, or of another version
    ├── ModelError                  a model specification that cannot be built, or a tensor of the wrong shape
    ├── ConfigurationError          an unknown or contradictory setting
    │   └── OperatingPointError     an unknown operating point, or one that the weights lack (also a RegionError)
    ├── DataError                   an annotated set, split or prediction file with faults
    │   └── UnreadableDataError     such a file that cannot be read at all (an UnreadableFileError too)
    ├── EvaluationError             a statistic that is asked for where it is not defined
    ├── OutputError                 a result cannot be written: disk full, read-only, or in use by another process
    ├── TrainingError               training stopped for a reason that more training will not cure
    └── MissingDependencyError      an optional extra is not installed

Messages never hold a patient's name, id or date: only what the caller gave and what the format says.
"""

from __future__ import annotations

import contextlib
import difflib
import traceback
from collections.abc import Iterable, Iterator
from pathlib import PurePath

__all__ = [
    "CardError",
    "ConfigurationError",
    "DataError",
    "EvaluationError",
    "FractureError",
    "ImageSizeError",
    "InputError",
    "MissingDependencyError",
    "MissingFileError",
    "ModelError",
    "MultiFrameError",
    "NotARadiographError",
    "OperatingPointError",
    "OutputError",
    "PixelValueError",
    "RegionError",
    "SeriesError",
    "TrainingError",
    "UnexpectedError",
    "UnreadableDataError",
    "UnreadableFileError",
    "UnsupportedError",
    "WeightsError",
    "WeightsIntegrityError",
    "WeightsNotFoundError",
    "needing",
    "unforeseen",
]


def meant(given: object, allowed: Iterable[str]) -> str | None:
    """A hint that names the allowed word that is closest to what was given; None where none is close."""
    near = difflib.get_close_matches(str(given), list(allowed), n=1)
    return f"did you mean {near[0]!r}?" if near else None


class FractureError(Exception):
    """Base of all errors of the library: what happened, what was got, what is allowed, what to do next.

    Args:
        what: One clause that states the fault, naming the file, argument or member concerned.
        got: The offending value, shown as given.
        allowed: The allowed value or values.
        hint: What the user can do next.

    The four parts stay available as attributes; ``str(error)`` joins those that are present.
    """

    def __init__(
        self,
        what: str,
        *,
        got: object | None = None,
        allowed: object | None = None,
        hint: str | None = None,
    ) -> None:
        self.what = what
        self.got = got
        self.allowed = allowed
        self.hint = hint
        super().__init__(self._message())

    def _message(self) -> str:
        parts = [self.what]
        if self.got is not None:
            parts.append(f"got {self.got}")
        if self.allowed is not None:
            parts.append(f"allowed: {_listed(self.allowed)}")
        if self.hint is not None:
            parts.append(self.hint)
        return "; ".join(parts)

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions with keyword arguments do not pickle by default; worker processes send ours back.
        return (_rebuild, (type(self), self.what, self.got, self.allowed, self.hint), self.__dict__)


def _rebuild(kind: type[FractureError], what: str, got: object, allowed: object, hint: str | None) -> FractureError:
    return kind(what, got=got, allowed=allowed, hint=hint)


def _listed(allowed: object) -> str:
    if isinstance(allowed, str) or not isinstance(allowed, Iterable):
        return str(allowed)
    return ", ".join(str(item) for item in allowed)


class InputError(FractureError):
    """One input cannot be used. ``predict`` raises it, ``predict_many`` yields it as a ``Failure``.

    What to do: Look at the named file; a batch has gone on with the others, and the same run with ``--resume``
    tries it again.
    """


class UnreadableFileError(InputError):
    """The file is missing, empty, truncated, damaged, or of a format that the reader does not know.

    What to do: Open the file with another program; if that fails too, export or copy it again.
    """


class MissingFileError(UnreadableFileError, FileNotFoundError):
    """There is no such file. ``except FileNotFoundError`` catches it as well.

    What to do: Check the path, and the folder that the command runs in.
    """


class UnsupportedError(InputError):
    """The file is well-formed but of a kind that no permissively licensed decoder here reads.

    What to do: Convert the file to the format that the message names (for DICOM, ``gdcmconv --raw`` or
    ``dcmdjpeg``).
    """


class NotARadiographError(InputError):
    """The file holds something other than a plain radiograph.

    What to do: Leave it out; to read a CT or MR slice or a scout view anyway, pass ``--allow MODALITY``.
    """


class MultiFrameError(InputError):
    """The file holds several frames and the caller chose none.

    What to do: Choose one: ``--frame 0``, ``frame=0``.
    """


class SeriesError(InputError):
    """Slices that do not make one series: some are missing, two lie at one place, or there are several series.

    What to do: Give the files of one whole series; the message names what is missing or duplicated.
    """


class ImageSizeError(InputError):
    """The image is outside the size limits; it is refused by its declared size, before decoding.

    What to do: If the film really has that size, raise ``max_pixels``; a film below the least size holds nothing to
    see.
    """


class PixelValueError(InputError):
    """The pixels cannot be used: NaN, infinite, a wrong dtype or shape, or no image content.

    What to do: Pass uint8, uint16 or floating point in [0, 1], shape (height, width), without NaN.
    """


class UnexpectedError(InputError):
    """An error that nobody foresaw: of the library, not of the input that brought it to light.

    ``details`` holds the traceback as text. ``str(error)`` names its type and its place; what it said is there only
    if no file was being read, since a parser's error may quote the file, and with it the patient.

    What to do: Report it with ``error.details``; other inputs are not concerned.
    """

    details: str = ""


class RegionError(FractureError):
    """An anatomical region that does not exist.

    What to do: ``fracture info`` lists the regions; most spellings are taken.
    """


class WeightsError(FractureError):
    """Weights that cannot be used.

    What to do: See the kinds below.
    """


class WeightsNotFoundError(WeightsError):
    """No weights of that name or at that path.

    What to do: ``fracture info`` lists what is installed; else give the folder that holds the card.
    """


class WeightsIntegrityError(WeightsError):
    """A weight file differs from what its card says (checksum, tensor names or shapes).

    What to do: Copy or download the folder again; never edit a card's checksums by hand.
    """


class CardError(WeightsError):
    """A card that is missing, malformed, or of a format version that this library does not know.

    What to do: Use the version of the library that wrote the card, or the one that the message names.
    """


class ModelError(FractureError):
    """A model specification that cannot be built, or an input tensor of the wrong shape.

    What to do: Compare the shapes in the message with the specification in the card or recipe.
    """


class ConfigurationError(FractureError):
    """An unknown, malformed or contradictory setting.

    What to do: The message names the option, and mostly the one that was meant; ``fracture COMMAND --help`` lists
    all.
    """


class OperatingPointError(ConfigurationError, RegionError):
    """An operating point that does not exist, or that the weights do not have for a film's regions.

    It used to be a ``RegionError``, and can still be caught as one.

    What to do: ``fracture info`` lists the points of the weights; if there is none for your region,
    run ``fracture calibrate`` or ``fracture adapt``.
    """


class DataError(FractureError):
    """An annotated set, a split or a file of predictions that has faults.

    What to do: ``fracture verify-data PATH`` lists all faults of a set at once, each with its place.
    """


class UnreadableDataError(DataError, UnreadableFileError):
    """A file of annotations or predictions that is missing, empty, not text, or of an unknown kind.

    What to do: Check path and format, or name the format: ``--format coco``.
    """


class EvaluationError(FractureError):
    """A statistic that is not defined for what was given.

    What to do: The hint says what is missing, mostly films of one class or groups.
    """


class OutputError(FractureError):
    """A file cannot be written: disk full, read-only, or in use by another process; what was there is unchanged.

    What to do: Make room, choose another place, or end the process that the message names; then the same command
    with ``--resume``.
    """


class TrainingError(FractureError):
    """Training stopped for a reason that going on would not cure.

    What to do: Read the message's number (loss, step); start anew with a smaller learning rate or repaired data.
    """


class MissingDependencyError(FractureError):
    """An optional extra is not installed; the message holds the exact pip line.

    What to do: Run the pip line of the message.
    """


@contextlib.contextmanager
def needing(*extras: str) -> Iterator[None]:
    """Around imports of what an optional extra brings.

    Args:
        *extras: Any of which brings it.

    Raises:
        MissingDependencyError: It is not installed; the hint is the pip line.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        lines = (f'pip install "fracture-radiographs[{extra}]"' for extra in extras)
        raise MissingDependencyError(f"the package {error.name} is not installed", hint=" or ".join(lines)) from error


@contextlib.contextmanager
def unforeseen(source: str, *, quote: bool = True) -> Iterator[None]:
    """What nobody foresaw inside becomes an :class:`UnexpectedError` of one input.

    Errors of the library pass as they are; so does a lack of memory, which is the process's and no film's, and what
    is no ``Exception`` (``KeyboardInterrupt``, ``SystemExit``).

    Args:
        source: How results call the input.
        quote: Whether the message may say what the error said; not while a file is being parsed.
    """
    try:
        yield
    except FractureError:
        raise
    except Exception as error:
        if _no_memory(error):
            raise
        frame = traceback.extract_tb(error.__traceback__)[-1]
        said = f": {error}" if quote and str(error) else ""
        found = UnexpectedError(
            f"{source}: an error that was not foreseen",
            got=f"{type(error).__name__} in {PurePath(frame.filename).name}:{frame.lineno}{said}"[:500],
            hint="please report it, with error.details and, if it holds no patient, the film",
        )
        found.details = "".join(traceback.format_exception(error))
        raise found from error


def _no_memory(error: Exception) -> bool:
    """Python's own, torch's on any device, and OpenCV's: the latter two have no type that can be had without them."""
    name = type(error).__name__
    torn = isinstance(error, RuntimeError) and ("can't allocate memory" in str(error) or "out of memory" in str(error))
    return isinstance(error, MemoryError) or name == "OutOfMemoryError" or torn or getattr(error, "code", None) == -4

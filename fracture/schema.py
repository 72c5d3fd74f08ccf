"""The one way in which documents are checked: keys, types, ranges and lengths by pydantic, errors in the house's form.

A :class:`Record` is a frozen dataclass whose annotations are its schema. A JSON document is opened by
:func:`read_json`, which bounds what a schema cannot: bytes, depth, numbers that no float64 holds, keys given twice.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import tomllib
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model

from fracture.errors import ConfigurationError, FractureError, UnreadableFileError
from fracture.regular import read_regular

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
"""Unknown keys are errors, and so are text for a number, a number for true, NaN and infinity."""

_LARGEST_TOML = 2**20  # bytes (ours)
_DEEPEST = 32  # levels of a JSON document (ours; the deepest card has 8)
_SHOWN = 80  # characters of a wrong value that an error repeats
_MOST = 12  # faults that an error names

Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Line = Annotated[str, Field(max_length=4096)]


def _no_other_number(value: object) -> object:
    if type(value) is not int:
        raise ValueError(f"must be a whole number, not {_shown(value)}")
    return value


WHOLE = BeforeValidator(_no_other_number)
"""For ``Annotated[Literal[1, 3], WHOLE]``: pydantic alone takes 3.0 and true for 3 and 1 there."""


def faults_of(error: ValidationError) -> str:
    """Every fault that pydantic found, in words: where, what must be, what was given."""
    lines = []
    faults = error.errors(include_url=False)
    within = {fault["loc"][:depth] for fault in faults for depth in range(len(fault["loc"]))}
    for fault in faults:
        if fault["type"] == "too_short" and fault["loc"] in within:
            continue  # pydantic counts the items that are left
        where = ".".join(str(part) for part in fault["loc"]) or "the whole"
        message = fault["msg"].replace("Input should be", "must be").removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            lines.append(f"{where}: unknown key")
        elif fault["type"] in ("missing", "value_error") or isinstance(fault["input"], (dict, list)):
            lines.append(f"{where}: {message}")
        else:
            lines.append(f"{where}: {message}, not {_shown(fault['input'])}")
    more = f"; and {len(lines) - _MOST} more" if len(lines) > _MOST else ""
    return "; ".join(lines[:_MOST]) + more


def _shown(value: object) -> str:
    text = ascii(value) if not isinstance(value, int) or abs(value) < 2**64 else "a number of many digits"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


Model = TypeVar("Model", bound=BaseModel)


def validated(
    model: type[Model],
    values: object,
    what: str,
    *,
    error: type[FractureError] = ConfigurationError,
    hint: str | None = None,
) -> Model:
    """Values as a model of pydantic.

    Raises:
        FractureError: Of the kind asked for; it says ``what`` is wrong, and names every fault.
    """
    try:
        return model.model_validate(values)
    except ValidationError as fault:
        raise error(what, got=faults_of(fault), hint=hint) from None


Gone = Mapping[str, Sequence[object]]
"""Keys that older versions wrote, each with the values that asked for nothing."""


def without_gone(values: Mapping[str, Any], gone: Gone, what: str, error: type[FractureError]) -> dict[str, Any]:
    """The values of a document that an older version may have written, without the keys that are gone.

    Raises:
        FractureError: Of the kind asked for: a key asks for something, so that ``what`` holds it cannot be had.
    """
    for key in gone.keys() & values.keys():
        if values[key] not in gone[key]:
            raise error(
                f"a {what} with {key} is no longer read",
                got=f"{key} = {_shown(values[key])}",
                allowed=[f"{key} = {value}" for value in gone[key]],
                hint=f"install the version of fracture that wrote it, or make it anew without {key}",
            )
    return {key: value for key, value in values.items() if key not in gone}


class Record:
    """A frozen dataclass that is checked when it is made: its annotations are the schema, ``_check`` the rest.

    A list given for a tuple is taken as one, and a whole number for a float.
    """

    __slots__ = ()

    ERROR: ClassVar[type[FractureError]] = ConfigurationError
    VERSION: ClassVar[int | None] = None
    """Written into the dictionary; one of another version is refused."""
    _GONE: ClassVar[Gone] = {}
    """Passed over by :meth:`from_dict`; see :func:`without_gone`."""

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in _schema(type(self)).model_fields}  # type: ignore[arg-type]
        for name, value in _checked(type(self), given).items():
            if value is not given[name]:
                object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        """What the annotations cannot say; raises :attr:`ERROR`."""

    def to_dict(self) -> dict[str, Any]:
        """Every field as JSON knows it (tuples become lists), with the version. :meth:`from_dict` is the inverse."""
        values = dataclasses.asdict(self)  # type: ignore[call-overload]
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
        return plain if self.VERSION is None else {"version": self.VERSION, **plain}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The record written by :meth:`to_dict`; absent fields take their defaults.

        Raises:
            FractureError: Of the class's own kind: an unknown or missing key, an illegal value, another version.
        """
        if not isinstance(data, Mapping):
            raise cls.ERROR(f"{cls.__name__} is made of an object", got=type(data).__name__, allowed="keys and values")
        values = without_gone(data, cls._GONE, cls.__name__, cls.ERROR)
        if cls.VERSION is not None and values.pop("version", cls.VERSION) != cls.VERSION:
            raise cls.ERROR(
                f"{cls.__name__} of another version",
                got=_shown(data["version"]),
                allowed=cls.VERSION,
                hint="install the version of fracture that wrote it",
            )
        return cls(**_checked(cls, values))


@functools.cache
def _schema(cls: type[Record]) -> type[BaseModel]:
    hints = typing.get_type_hints(cls, include_extras=True)
    fields: dict[str, Any] = {
        f.name: (hints[f.name], _default(f))
        for f in dataclasses.fields(cls)  # type: ignore[arg-type]
    }
    return create_model(cls.__name__, __config__=STRICT, **fields)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return Field(default_factory=field.default_factory)
    return ... if field.default is dataclasses.MISSING else field.default


def _checked(cls: type[Record], values: Mapping[str, Any]) -> dict[str, Any]:
    schema = _schema(cls)  # type: ignore[arg-type]
    try:
        held = schema.model_validate({k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    except ValidationError as error:
        unknown = any(fault["type"] == "extra_forbidden" for fault in error.errors(include_url=False))
        allowed = sorted(schema.model_fields) if unknown else None
        raise cls.ERROR(f"{cls.__name__} is not valid", got=faults_of(error), allowed=allowed) from None
    return {name: getattr(held, name) for name in schema.model_fields}


JsonObject = dict[str, Any]


class _Readable(Protocol):
    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Any: ...


def spec_of(kind: type[_Readable]) -> AfterValidator:
    """For ``Annotated[JsonObject, spec_of(ModelSpec)]``: a dictionary that ``from_dict`` takes, its version stated."""

    def check(value: dict[str, Any]) -> dict[str, Any]:
        if getattr(kind, "VERSION", None) is not None and "version" not in value:
            raise ValueError("the version is missing")
        try:
            kind.from_dict(value)
        except FractureError as error:
            raise ValueError(str(error)) from error
        return value

    return AfterValidator(check)


def read_json(path: Path, *, limit: int, error: type[FractureError]) -> Any:
    """A JSON document from a regular file.

    Args:
        path: A file in UTF-8; a byte order mark is passed over.
        limit: Most bytes that it may have.
        error: What to raise.

    Raises:
        FractureError: Of the kind asked for: no regular file, too large, no JSON, a key twice in one object, NaN, a
            number beyond float64 or 64-bit integers, or more than 32 levels.
    """
    try:
        document = json.loads(
            read_regular(path, limit).decode("utf-8-sig"),
            object_pairs_hook=_once,
            parse_constant=_finite,
            parse_float=_finite,
            parse_int=_whole,
        )
        _bounded(document, 0)
    except UnreadableFileError as fault:
        raise error(fault.what, got=fault.got, allowed=fault.allowed) from fault
    except RecursionError:
        raise error(f"{path} is no JSON document to be read", got="nested too deeply", allowed=_DEEPEST) from None
    except ValueError as fault:
        raise error(f"{path} is no JSON document to be read", got=fault) from None
    return document


def read_toml(path: Path, *, error: type[FractureError] = ConfigurationError) -> dict[str, Any]:
    """The tables of a TOML file of at most 1 MiB, which is more than people write.

    Raises:
        FractureError: Of the kind asked for: it cannot be read, is too large, or is not TOML.
    """
    try:
        return tomllib.loads(read_regular(path, _LARGEST_TOML).decode("utf-8-sig"))
    except UnreadableFileError as fault:
        raise error(fault.what, got=fault.got, allowed=fault.allowed) from fault
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise error(f"{path} is not a TOML file", got=str(fault) or type(fault).__name__) from fault


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        raise ValueError(f"the key {next(k for k, _ in pairs if k in seen or seen.add(k))!a} is given twice")  # type: ignore[func-returns-value]
    return found


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"the number {text[:_SHOWN]} is not finite")
    return value


def _whole(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= (value := int(text)) < 2**63:
        raise ValueError("a whole number is beyond 64 bits")
    return value


def _bounded(value: Any, depth: int) -> None:
    if depth > _DEEPEST:
        raise RecursionError
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _bounded(item, depth + 1)

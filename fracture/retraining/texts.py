"""What a card says that no training can find out: name, license, attribution, limits. A TOML file of its own."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fracture.errors import ConfigurationError


class CardTexts(BaseModel):
    """Fields of :class:`fracture.limb.card.Card` that people write.

    ``name`` is the recipe's where left out; the training set's own attribution is added to ``attribution``;
    ``boxes_only`` names members that tell boxes and have no part in the film's score, ``regions_by`` those that alone
    tell a film's regions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="", pattern=r"^([a-z0-9][a-z0-9._-]{0,63})?$")
    version: str = "1"
    description: str = ""
    license: str = "Apache-2.0"
    attribution: tuple[str, ...] = ()
    intended_use: str = "Research. This is not a medical device."
    limitations: tuple[str, ...] = ()
    boxes_only: tuple[str, ...] = ()
    regions_by: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: dict[str, Any], *, source: str = "the card's texts") -> CardTexts:
        """From a table.

        Args:
            values: The card's texts, as read from TOML.
            source: What errors call the table.

        Raises:
            ConfigurationError: Unknown keys or illegal values, all named at once.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ConfigurationError(f"{source} has faults", got=faults, allowed=cls.model_fields) from None

    @classmethod
    def read(cls, path: str | Path) -> CardTexts:
        """From a TOML file.

        Raises:
            ConfigurationError: It cannot be read, or as for :meth:`of`.
        """
        file = Path(path)
        try:
            values = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(
                f"{file} cannot be read as TOML", got=f"{type(error).__name__}: {error}"
            ) from error
        return cls.of(values, source=str(file))

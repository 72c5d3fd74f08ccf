"""What a card says that no training can find out: name, license, attribution, limits. A TOML file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from fracture.schema import read_toml, validated


class CardTexts(BaseModel):
    """Fields of :class:`fracture.limb.card.Card` that people write.

    ``name`` is the recipe's where left out; the training set's own attribution is added to ``attribution``;
    ``boxes_only`` names members that tell boxes and have no part in the film's score, ``boxes_left_out`` those that
    have and tell none, ``regions_only`` those that tell a film's regions and nothing else, ``regions_by`` those that
    alone tell regions, ``mirrored`` those that see each film's mirror image too.
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
    boxes_left_out: tuple[str, ...] = ()
    regions_only: tuple[str, ...] = ()
    regions_by: tuple[str, ...] = ()
    mirrored: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: dict[str, Any], *, source: str = "the card's texts") -> CardTexts:
        """From a table.

        Args:
            values: The card's texts, as read from TOML.
            source: What errors call the table.

        Raises:
            ConfigurationError: Unknown keys or illegal values, all named at once.
        """
        return validated(cls, values, f"{source} has faults", hint=f"keys: {', '.join(cls.model_fields)}")

    @classmethod
    def read(cls, path: str | Path) -> CardTexts:
        """From a TOML file.

        Raises:
            ConfigurationError: It cannot be read, or as for :meth:`of`.
        """
        return cls.of(read_toml(Path(path)), source=str(path))

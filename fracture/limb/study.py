"""The films of one study judged together: views of one bone, taken at one time.

Each film is judged as it would be alone, at its own region's threshold. Their suspicions (0 to 1, the threshold at 0.5)
are then fused by one of three rules, all ours and none of them learned, or by a learned one
(:class:`fracture.limb.attention.Attention`) where somebody fitted it:

- ``"mean"``: the mean of the log odds. One clear view against one faint doubt stays clear.
- ``"or"``: the highest. A fracture that one view shows is a fracture; most sensitive.
- ``"and"``: the lowest. Every view must show it; most specific.

docs/studies.md tells what fusing gains; on presumed pairs of real films it is nothing beyond the frontal film alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, get_args

from fracture.errors import ConfigurationError
from fracture.limb.attention import Attention
from fracture.wing.result import Failure, ResultBase
from fracture.wing.scene import Page, Scene, digits

if TYPE_CHECKING:
    from fracture.limb.prediction import Prediction

Rule: TypeAlias = Literal["mean", "or", "and"]
RULES: tuple[Rule, ...] = get_args(Rule)

_LIMIT = 1e-9  # log odds of a suspicion of 0 or 1 are kept finite


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class StudyPrediction(ResultBase):
    """What the detector says of a study.

    Attributes:
        ok: True: at least one film was judged.
        error: None.
        source: What the study is called.
        films: One result per film, in the order given: a ``Prediction``, or a ``Failure`` that has no part in the rest.
        rule: How they were fused.
    """

    ok: ClassVar[Literal[True]] = True
    error: ClassVar[None] = None
    _kind = "study"
    _shown = ("source", "fractured", "suspicion", "rule", "films", "agree")

    source: str
    films: tuple[Prediction | Failure, ...]
    rule: Rule | Attention = "mean"

    def __post_init__(self) -> None:
        check_rule(self.rule)
        if not self.judged:
            raise ConfigurationError(
                f"{self.source}: no film of this study could be judged",
                got="; ".join(str(film.error) for film in self.films[:3]) or "no film",
            )
        if isinstance(self.rule, Attention):
            self.rule.check_weights([film.weights_checksum for film in self.judged])

    @property
    def rule_name(self) -> str:
        """``"mean"``, ``"or"``, ``"and"``, or ``"attention"``."""
        return self.rule if isinstance(self.rule, str) else "attention"

    @property
    def judged(self) -> tuple[Prediction, ...]:
        """The films that could be judged."""
        return tuple(film for film in self.films if film.ok)

    @property
    def suspicion(self) -> float:
        """Of the study: 0 to 1, and at 0.5 it is called fractured."""
        return fused([film.suspicion for film in self.judged], self.rule)

    @property
    def fractured(self) -> bool:
        """Whether the study is called fractured."""
        return self.suspicion >= 0.5

    @property
    def agree(self) -> bool:
        """Whether all films that could be judged are called alike."""
        return len({film.fractured for film in self.judged}) == 1

    @property
    def differing(self) -> tuple[str, ...]:
        """Films that are called otherwise than the study."""
        return tuple(film.source for film in self.judged if film.fractured != self.fractured)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Of all films, each once."""
        return tuple(dict.fromkeys(warning for film in self.judged for warning in film.warnings))

    @property
    def seconds(self) -> float:
        """Of all films."""
        return sum(film.seconds for film in self.films)

    def drop_pixels(self) -> StudyPrediction:
        """The same without films and maps."""
        kept = tuple(film.drop_pixels() if film.ok else film for film in self.films)
        return StudyPrediction(source=self.source, films=kept, rule=self.rule)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: the study's decision, and each film's line."""
        return {
            "source": self.source,
            "fractured": self.fractured,
            "suspicion": self.suspicion,
            "rule": self.rule_name,
            "agree": self.agree,
            "differing": list(self.differing),
            "failed": sum(not film.ok for film in self.films),
            "regions": list(dict.fromkeys(name for film in self.judged for name in film.regions)),
            "warnings": list(self.warnings),
            "seconds": self.seconds,
            "error": None,
            "films": [film.to_dict() for film in self.films],
        }

    def scene(self) -> Scene:
        """The films side by side, the most suspicious first, each with what is said of the study beside it.

        Raises:
            ConfigurationError: The films' pixels were dropped.
        """
        ordered = sorted(self.judged, key=lambda film: -film.suspicion)
        return Scene(tuple(self._page(film) for film in ordered))

    def _page(self, film: Prediction) -> Page:
        (page,) = film.scene().pages
        if len(self.films) == 1:
            return page
        word = "fracture suspected" if self.fractured else "no fracture found"
        alike = "All films agree." if self.agree else f"{len(self.differing)} of {len(self.judged)} films differ."
        this = "" if film.fractured == self.fractured else " This one does."
        failed = len(self.films) - len(self.judged)
        missing = f" {failed} could not be read." if failed else ""
        said = f"Study of {len(self.films)} films ({self.rule_name}): {word}, suspicion {digits(self.suspicion)}."
        return replace(page, lines=(*page.lines, said, f"{alike}{this}{missing}"))


def check_rule(rule: str | Attention) -> None:
    """Refuse what is no rule.

    Raises:
        ConfigurationError: It is none.
    """
    if not isinstance(rule, Attention) and rule not in RULES:
        raise ConfigurationError(
            "unknown rule for the films of a study", got=rule, allowed=RULES, hint="or one that was learned (Attention)"
        )


def fused(suspicions: Sequence[float], rule: Rule | Attention) -> float:
    """One suspicion of several, each in [0, 1] with the threshold at 0.5.

    >>> round(fused([0.9, 0.4], "mean"), 3), fused([0.9, 0.4], "or"), fused([0.9, 0.4], "and")
    (0.71, 0.9, 0.4)
    """
    if isinstance(rule, Attention):
        return rule.fused(suspicions)
    if rule == "or":
        return max(suspicions)
    if rule == "and":
        return min(suspicions)
    clipped = [min(max(value, _LIMIT), 1 - _LIMIT) for value in suspicions]
    odds = sum(math.log(value / (1 - value)) for value in clipped) / len(clipped)
    return 1 / (1 + math.exp(-odds))

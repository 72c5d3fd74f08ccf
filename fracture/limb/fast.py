"""The fast subset: some of the members with thresholds of their own, named by the card and run by ``fast=True``.

A subset is a set of weights like any other, on the same tensors: :func:`fast_card` makes its card, which is then
calibrated as any card is; :func:`with_fast` stores what calibration found in the whole ensemble's card;
:func:`fast_view` gives it back for prediction. :func:`fracture.calibration.fast.calibrate_fast` does all three.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from fracture.errors import ConfigurationError
from fracture.limb.card import Card, FastCard, FastMember, MemberCard

_OWN = ("operating_points", "boxes", "region_cutoff", "metrics", "self_test")  # what a subset has of its own
FAST_SUFFIX = " (fast)"
"""What the name of the weights ends in where a prediction comes from their fast subset."""


def fast_card(card: Card, members: Sequence[str]) -> Card:
    """The card of some of the members alone, for calibrating them.

    Its operating points, box rules and calibrators are still the whole ensemble's, which do not fit it, and its
    metrics are empty: calibrate it before use. The input check stays with the whole card.

    Args:
        card: The whole ensemble's.
        members: File names of the members that run, or their stems; the card's order is kept.

    Raises:
        ConfigurationError: No member or no such member, all of them, or one that is named twice; or a subset without
            the member that the input check looks at.
    """
    known = {PurePosixPath(member.file).stem: member for member in card.members}
    stems = [name.removesuffix(".safetensors") for name in members]
    if not stems or len(set(stems)) != len(stems) or any(stem not in known for stem in stems):
        raise ConfigurationError(
            "the fast subset names members of the card, each once", got=", ".join(members) or "none", allowed=known
        )
    if len(stems) == len(known):
        raise ConfigurationError("the fast subset names every member and so is not a subset", got=", ".join(members))
    kept = _alone([member for stem, member in known.items() if stem in stems])
    check = card.input_check
    if check is not None and check.member not in {member.file for member in kept}:
        raise ConfigurationError(
            "the input check looks at a member that is not in the fast subset, which would run unchecked",
            got=", ".join(members),
            allowed=check.member,
            hint="make the input check with a member of the subset first: `fracture input-check ... --member NAME`",
        )
    nothing: dict[str, Any] = {"metrics": {}, "self_test": None, "fast": None, "input_check": None}
    return card.model_copy(update={"members": kept, **nothing})


def with_fast(card: Card, calibrated: Card, *, loses: Mapping[str, Any] | None = None) -> Card:
    """The whole ensemble's card with the calibrated subset in its ``fast`` field.

    Args:
        card: The whole ensemble's; a subset that it names already is replaced.
        calibrated: From :func:`fast_card`, since calibrated.
        loses: What the subset loses against the ensemble, with intervals.

    Raises:
        ConfigurationError: The subset's members are not this card's, or they are all of them.
    """
    fast_card(card, [member.file for member in calibrated.members])
    checksums = {member.file: member.sha256 for member in card.members}
    if changed := [m.file for m in calibrated.members if m.sha256 != checksums[m.file]]:
        raise ConfigurationError("the subset was calibrated with other tensors than the card's", got=", ".join(changed))
    section = FastCard(
        members=tuple(
            FastMember(file=member.file, sha256=member.sha256, calibration=member.calibration)
            for member in calibrated.members
        ),
        loses=dict(loses or {}),
        **{name: getattr(calibrated, name) for name in _OWN},
    )
    return card.model_copy(update={"fast": section})


def fast_view(card: Card) -> Card:
    """The card that ``fast=True`` goes by: the subset's members, thresholds, box rules, metrics and self-test.

    Raises:
        ConfigurationError: The card names no fast subset.
    """
    section = card.fast
    if section is None:
        raise ConfigurationError(
            f"{card.label} has no fast subset",
            got="fast=True",
            allowed="fast=False",
            hint="leave fast out, or add a subset with `fracture calibrate WEIGHTS ... --fast MEMBER`",
        )
    chosen: dict[str, FastMember] = {member.file: member for member in section.members}
    members = [
        member.model_copy(update={"calibration": chosen[member.file].calibration})
        for member in card.members
        if member.file in chosen
    ]
    return card.model_copy(
        update={
            "members": _alone(members),
            **{name: getattr(section, name) for name in _OWN},
            "fast": None,
        }
    )


def _alone(members: Sequence[MemberCard]) -> tuple[MemberCard, ...]:
    """Members as a subset runs them: of each film one look, since it is to be fast; and region heads or boxes that were
    left out for a better member's sake count again where that one is not there."""
    change: dict[str, Any] = {"views": ()}
    if all(member.boxes_only or member.regions_left_out for member in members):
        change["regions_left_out"] = False
    if all(member.regions_only or member.boxes_left_out for member in members):
        change["boxes_left_out"] = False
    return tuple(member.model_copy(update=change) for member in members)

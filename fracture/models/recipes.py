"""The paper's ensemble as data, free of torch.

Jones et al. 2020 (Methods) describe ten networks, "minor variants of the Dilated Residual Network", that
differ along four axes: the input (the radiograph, its local contrast normalization, or both); with or without
a probability map; with or without an attention mechanism; spatial pyramid pooling instead of average pooling.
The localization loss weighs 3 to 1 against the classification loss, 10 to 1 for networks with an attention
layer; batches hold 48 films, 32 with attention; initialization is random. The score is the unweighted mean
over all ten, the map over those that have one.

Not in the paper, and therefore our choice: which ten of the combinations; which DRN and of which depth (DRN-D-22, the
smallest of the simplified form; published ImageNet top-1 error 25.8 %, DRN-A-18 28.0 %); the form of the attention (see
:class:`fracture.models.pooling.AttentionPool`); the bins of the pyramid; how large the subset with a map is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from fracture.models.spec import ModelSpec, Pooling

__all__ = ["MemberRecipe", "jones2020_members"]


@dataclass(frozen=True)
class MemberRecipe:
    """One network of an ensemble and the training settings that depend on what it is.

    Attributes:
        name: Unique in the ensemble.
        spec: The network.
        localization_weight: Factor of the map's loss; 0 for a network without a map.
        classification_weight: Factor of the score's loss.
        batch_size: Films per step.
    """

    name: str
    spec: ModelSpec
    localization_weight: float
    classification_weight: float
    batch_size: int

    @property
    def channels(self) -> tuple[str, ...]:
        """Planes that the preprocessing must give to this member, in order."""
        return self.spec.inputs

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it."""
        return {
            "name": self.name,
            "spec": self.spec.to_dict(),
            "localization_weight": self.localization_weight,
            "classification_weight": self.classification_weight,
            "batch_size": self.batch_size,
        }


_RAW: Final = ("raw",)
_LCN: Final = ("lcn",)
_BOTH: Final = ("raw", "lcn")

# Each value of each axis appears at least twice. The paper gives attention networks a localization weight, so
# all of ours have a map.
_JONES_2020: Final[tuple[tuple[tuple[str, ...], bool, Pooling], ...]] = (
    (_RAW, True, "average"),
    (_LCN, True, "average"),
    (_BOTH, True, "average"),
    (_RAW, False, "average"),
    (_RAW, True, "spp"),
    (_LCN, True, "spp"),
    (_BOTH, False, "spp"),
    (_RAW, True, "attention"),
    (_LCN, True, "attention"),
    (_BOTH, True, "attention"),
)


def jones2020_members(
    backbone: str = "drn_d_22", *, regions: tuple[str, ...] = (), **changes: Any
) -> tuple[MemberRecipe, ...]:
    """Ten members along the paper's four axes; which ten, and the DRN's depth, is our choice (see this
    module).

    Args:
        backbone: Name of the backbone of all ten.
        regions: Names for a region head on each; the paper has none.
        **changes: Other fields of :class:`ModelSpec` to set in all members, for example ``width=0.5``.

    Raises:
        ModelError: A specification that cannot be built.
    """
    members = []
    for number, (inputs, with_map, pooling) in enumerate(_JONES_2020, start=1):
        spec = ModelSpec(backbone=backbone, inputs=inputs, map=with_map, pooling=pooling, regions=regions).replace(
            **changes
        )
        attention = pooling == "attention"
        members.append(
            MemberRecipe(
                name=f"jones2020_{number:02d}_{'+'.join(inputs)}_{pooling}_{'map' if with_map else 'score'}",
                spec=spec,
                localization_weight=(10.0 if attention else 3.0) if with_map else 0.0,
                classification_weight=1.0,
                batch_size=32 if attention else 48,
            )
        )
    return tuple(members)

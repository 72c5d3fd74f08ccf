"""What the reader of joints gives back: ``JointsFilm``, one film, with a ``JointsLimb`` for each hand or forefoot.

All coordinates are continuous source pixels with pixel edges, x right and y down. The records hold plain values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median_high
from typing import Any, Literal

from fracture.digits import Points
from fracture.evaluation.stats.record import plain
from fracture.joints.layout import SIDES, WHOLES, Kind, columns_of
from fracture.joints.scoring import Score
from fracture.joints.spaces import Space
from fracture.results.base import FilmResult, kept_pixels
from fracture.wing.result import ResultBase, known_fields
from fracture.wing.scene import Page, Scene, SceneBox, ScenePoint

Edges = tuple[float, float, float, float]
_SAID = ("kind", "side", "side_source", "box", "center", "mirrored", "columns", "missing")
_UNSURE = 0.2  # of a point's certainty: below it is drawn as a doubt


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class JointsLimb(ResultBase):
    """One hand or forefoot.

    Attributes:
        kind: ``"hand"`` or ``"forefoot"``.
        side: The patient's, ``"left"`` or ``"right"``; None: open.
        side_source: ``"caller"``, ``"dicom"``, ``"letter"``, or None where it is open.
        points: All 26 or 6 by name; those that the caller gave, as he gave them.
        certainty: Of each point, in [0, 1]; 1 of those that the caller gave.
        boxes: (x0, y0, x1, y1) around each point: what its joint is looked at in.
        spaces: Width of the joint spaces that were found, by the joint's name.
        scores: Narrowing and erosion by column without prefix; empty without score networks.
        center: The finder's chance that this is what ``kind`` says, in [0, 1].
        mirrored: Whether thumb or big toe lies to the left when the tips point up; not the side.
        source: The film, as the caller gave it.
    """

    _shown = ("kind", "side", "points")

    kind: Kind
    side: str | None = None
    side_source: str | None = None
    points: Points
    certainty: Mapping[str, float] = field(default_factory=dict)
    boxes: Mapping[str, Edges] = field(default_factory=dict)
    spaces: Mapping[str, Space] = field(default_factory=dict)
    scores: Mapping[str, Score] = field(default_factory=dict)
    center: float = 1.0
    mirrored: bool = False
    source: str = "<array>"

    @property
    def columns(self) -> dict[str, float]:
        """The challenge's columns of this limb with their prefix, fractional; empty while the side is open."""
        if self.side not in SIDES:
            return {}
        return {c.full(self.side): self.scores[c.name].value for c in columns_of(self.kind) if c.name in self.scores}

    @property
    def missing(self) -> tuple[str, ...]:
        """The challenge's columns of this limb, without prefix, that have no score: those of the wrist, for one."""
        return tuple(column.name for column in columns_of(self.kind) if column.name not in self.scores)

    @property
    def box(self) -> Edges:
        """Around all points."""
        xs, ys = [x for x, _ in self.points.values()], [y for _, y in self.points.values()]
        return min(xs), min(ys), max(xs), max(ys)

    def to_dict(self) -> dict[str, Any]:
        """Of the limb as a whole; its joints are listed beside it."""
        said = {name: getattr(self, name) for name in _SAID}
        return {**plain(said | {"box": dict(zip(("x0", "y0", "x1", "y1"), self.box, strict=True))})}

    def joints(self, number: int) -> list[dict[str, Any]]:
        """One record for each point, with the limb's number."""
        scored = [column for column in columns_of(self.kind) if column.name in self.scores]
        rows = []
        for name, (x, y) in self.points.items():
            seen = {"x": x, "y": y, "certainty": self.certainty.get(name), "joint_box": self.boxes.get(name)}
            own = {
                "space": self.spaces.get(name),
                "scores": {c.name: self.scores[c.name] for c in scored if c.point == name},
            }
            rows.append(plain({"limb": number, "name": name, "side": self.side, **seen, **own}))
        return rows


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class JointsFilm(FilmResult):
    """One film with its hands or forefeet, left to right in the picture.

    Attributes:
        limbs: Its hands and forefeet; at least one.
        spacing: Millimeters per pixel at the object, (row, column); None where unknown.
    """

    _kind, _command = "joints", "joints predict"
    _shown = ("source", "limbs", "warnings", "model")

    limbs: tuple[JointsLimb, ...]
    spacing: tuple[float, float] | None = None

    @property
    def points(self) -> tuple[Points, ...]:
        """The points of each limb by name, (x, y) in source pixels."""
        return tuple(limb.points for limb in self.limbs)

    @property
    def boxes(self) -> tuple[Mapping[str, Edges], ...]:
        """One box for each joint of each limb."""
        return tuple(limb.boxes for limb in self.limbs)

    @property
    def spaces(self) -> tuple[Mapping[str, Space], ...]:
        """The widths of each limb's joint spaces."""
        return tuple(limb.spaces for limb in self.limbs)

    @property
    def scores(self) -> tuple[Mapping[str, Score], ...]:
        """Narrowing and erosion of each limb, by column without prefix; empty without score networks."""
        return tuple(limb.scores for limb in self.limbs)

    @property
    def columns(self) -> dict[str, float]:
        """The challenge's columns that this film fills, with prefix, fractional; limbs of an open side fill none."""
        return {name: value for limb in self.limbs for name, value in limb.columns.items()}

    @property
    def overall(self) -> dict[str, float] | None:
        """Sums of the film's scores: total, erosion, narrowing, fractional; None without score networks."""
        return self.sums()

    def sums(self, *, rounded: bool = False, near_zero: float = 0.0) -> dict[str, float] | None:
        """The film's sums.

        Args:
            rounded: Add whole scores.
            near_zero: With ``rounded``: values up to this are 0.

        Returns:
            ``total``, ``erosion``, ``narrowing`` over all limbs; None without score networks.
        """
        scored = [(c.damage, limb.scores.get(c.name)) for limb in self.limbs for c in columns_of(limb.kind)]
        values = [(damage, float(s.rounded(near_zero)) if rounded else s.value) for damage, s in scored if s]
        return {what: sum((v for d, v in values if what in ("total", d)), 0.0) for what in WHOLES} if values else None

    def to_dict(self) -> dict[str, Any]:
        """One line of ``fracture joints predict``. Nothing in it stems from the patient's data but the path."""
        regions = ["hand" if kind == "hand" else "foot" for kind in dict.fromkeys(limb.kind for limb in self.limbs)]
        return self.line(
            regions=regions,
            limbs=[limb.to_dict() for limb in self.limbs],
            joints=[row for number, limb in enumerate(self.limbs, 1) for row in limb.joints(number)],
            overall=self.overall,
            spacing=plain(self.spacing),
        )

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> dict[str, Any]:
        """Its limbs."""
        rows, source = line["joints"], line["source"]
        numbered = [(one, [row for row in rows if row["limb"] == n]) for n, one in enumerate(line["limbs"], 1)]
        return {"limbs": tuple(_limb(one, joints, source) for one, joints in numbered)}

    def scene(self) -> Scene:
        """What there is to see: the film with a box around each limb and a point at each joint.

        Raises:
            ConfigurationError: The film was dropped.
        """
        film = kept_pixels(self.source, self.radiograph)
        boxes, points, lines = [], [], []
        for limb in self.limbs:
            x0, y0, x1, y1 = limb.box
            name = f"{limb.side} {limb.kind}" if limb.side else limb.kind
            boxes.append(SceneBox(x0, y0, x1, y1, "calm", name))
            for joint, (x, y) in limb.points.items():
                look: Literal["calm", "doubt"] = "calm" if limb.certainty.get(joint, 1) >= _UNSURE else "doubt"
                points.append(ScenePoint(x, y, look, joint))
            lines.append(_line(name, limb))
        if (sums := self.overall) is not None:
            scored, every = sum(map(len, self.scores)), sum(len(columns_of(limb.kind)) for limb in self.limbs)
            lines.append(
                f"Damage of this film, {scored} of {every} columns: {sums['total']:.1f} (erosion "
                f"{sums['erosion']:.1f}, narrowing {sums['narrowing']:.1f}); proven on painted lesions only."
            )
        found = " and ".join(str(box.label) for box in boxes)
        return Scene((Page(film, f"Joints found: {found}", tuple(lines), None, tuple(boxes), tuple(points)),))


def _limb(whole: Mapping[str, Any], joints: Sequence[Mapping[str, Any]], source: str) -> JointsLimb:
    """The limb that :meth:`JointsLimb.to_dict` and :meth:`JointsLimb.joints` tell of."""
    scores = {name: Score(**value) for row in joints for name, value in row["scores"].items()}
    return JointsLimb(
        **known_fields(JointsLimb, whole),
        source=source,
        points={row["name"]: (row["x"], row["y"]) for row in joints},
        certainty={row["name"]: row["certainty"] for row in joints},
        boxes={row["name"]: tuple(row["joint_box"]) for row in joints if row["joint_box"]},
        spaces={row["name"]: Space(**row["space"]) for row in joints if row["space"]},
        scores={c.name: scores[c.name] for c in columns_of(whole["kind"]) if c.name in scores},
    )


def _line(name: str, limb: JointsLimb) -> str:
    known = [space.mm for space in limb.spaces.values() if space.mm is not None]
    if known:
        width = f"median joint space {median_high(known):.1f} mm"
    elif limb.spaces:
        unit = "MCP3 to DIP3" if limb.kind == "hand" else "MTP1 to MTP5"
        width = f"median joint space {median_high(space.share for space in limb.spaces.values()):.3f} of {unit}"
    else:
        width = "no joint space measured"
    side = "" if limb.side else "; side open"
    return f"{name.capitalize()}: {len(limb.points)} points, {width}{side}."

"""The anatomical regions as a tree, the climb to the nearest ancestor, and DICOM's words for them.

The shipped tree, ``DEFAULT_TREE``::

    any
    ├── upper_extremity      elbow  finger  forearm  hand  humerus  wrist      + fracatlas_hand
    ├── lower_extremity      ankle  femur  foot  knee  tibia_fibula  toe       + fracatlas_leg
    ├── shoulder_girdle      clavicle  shoulder                                + fracatlas_shoulder
    └── pelvis_hip           hip  pelvis                                       + fracatlas_hip

Jones et al. 2020 (npj Digital Medicine 3:144) name sixteen regions in a figure only. Twelve are those of the
FDA summary K193417 of the same group, foot is in the paper's text, and finger, hand and toe are our guess;
``Region.source`` says which is which. The groups above them are our choice.

A data set's own groups are nodes with names of their own: FracAtlas' "hand" holds wrist, forearm and elbow
too, so it is ``fracatlas_hand``, never ``hand``. Its ``covers`` tuple says for which nodes it can stand.

A tree is immutable. ``RegionTree.with_region`` returns a new one with a further region (a bone that was a spelling
of the region around it, such as patella of knee, becomes one of its own), and ``to_dict``/``from_dict`` carry a tree
through JSON, so that a model card can hold its own tree.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import Field

from fracture.errors import FractureError, RegionError
from fracture.schema import Line, Name, Record

__all__ = [
    "DEFAULT_TREE",
    "PARTS",
    "REGIONS",
    "Lookup",
    "Region",
    "RegionTree",
    "ancestors",
    "collapse_view",
    "from_dicom",
    "get",
    "laterality_from_dicom",
    "lookup",
    "normalize",
    "plain_name",
    "view_from_dicom",
]

ROOT = "any"
_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_MOST = 1000  # nodes of a tree (ours)
_Words = Annotated[tuple[Name, ...], Field(max_length=_MOST)]
_KINDS = ("root", "group", "region", "dataset", "custom")
_SOURCES = {
    "fda": "FDA 510(k) summary K193417",
    "paper": "Jones et al. 2020, npj Digit Med 3:144 (text)",
    "guess": "our guess: the paper's figure names sixteen regions, its text does not",
    "group": "our choice of group",
    "fracatlas": "FracAtlas, Abedeen et al. 2023, doi 10.1038/s41597-023-02432-4",
}


@dataclass(frozen=True, slots=True)
class Region(Record):
    """One node of the region tree.

    Attributes:
        name: Lower-case identifier, unique in its tree.
        parent: Name of the node above, ``None`` for the root.
        kind: ``"root"``, ``"group"``, ``"region"`` (the sixteen), ``"dataset"`` or ``"custom"`` (added at
            run time).
        body_parts: DICOM Body Part Examined (0018,0015) strings, compact upper case (PS3.16 Annex L, and
            common vendor spellings).
        codes: Code values of Anatomic Region Sequence (0008,2218), SNOMED CT and SNOMED RT (PS3.16 CID 4031).
        aliases: Further spellings that ``normalize`` accepts, lower case, words joined by ``_``.
        covers: For a data-set node, the nodes it can stand for, itself excluded.
        source: Where the name comes from.
    """

    ERROR: ClassVar[type[FractureError]] = RegionError

    name: Name
    parent: Name | None
    kind: str = "custom"
    body_parts: _Words = ()
    codes: _Words = ()
    aliases: _Words = ()
    covers: _Words = ()
    source: Line = "added at run time"

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON-able data; empty fields are left out."""
        data: dict[str, Any] = {"name": self.name, "parent": self.parent, "kind": self.kind}
        for key in ("body_parts", "codes", "aliases", "covers"):
            if values := getattr(self, key):
                data[key] = list(values)
        return {**data, "source": self.source}


class Lookup(NamedTuple):
    """Which node answers for a region, and why."""

    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class RegionTree:
    """An immutable tree of regions.

    Args:
        regions: All nodes, in any order; exactly one has no parent and is named ``any``.

    Raises:
        RegionError: A name is malformed or used twice, a parent or a covered node is missing, a node is
            its own ancestor, or the root is missing.
    """

    regions: tuple[Region, ...]
    _by_name: dict[str, Region] = field(init=False, repr=False, compare=False, default_factory=dict)
    _spellings: dict[str, str] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __repr__(self) -> str:
        """Short, since `help()` shows it as a default."""
        return f"<{type(self).__name__} of {len(self.regions)} regions>"

    def __post_init__(self) -> None:
        for region in self.regions:
            if not _NAME.match(region.name):
                raise RegionError(
                    "a region's name must be a lower-case identifier",
                    got=repr(region.name),
                    allowed="letters, digits and _ such as tibia_fibula",
                )
            if region.kind not in _KINDS:
                raise RegionError(f"unknown kind of region {region.name!r}", got=region.kind, allowed=_KINDS)
            if region.name in self._by_name:
                raise RegionError("a region's name is used twice", got=repr(region.name))
            self._by_name[region.name] = region
        for region in self.regions:
            for other in (*region.covers, *(() if region.parent is None else (region.parent,))):
                if other not in self._by_name:
                    raise RegionError(
                        f"region {region.name!r} refers to a node that is not in the tree", got=repr(other)
                    )
            if (region.parent is None) != (region.name == ROOT):
                raise RegionError(f"only the root {ROOT!r} has no parent", got=repr(region.name))
            self._check_climb(region)
        if ROOT not in self._by_name:
            raise RegionError(f"a region tree needs the root {ROOT!r}")
        for region in self.regions:
            self._spellings[region.name] = region.name
        for region in self.regions:
            for alias in region.aliases:
                owner = self._spellings.setdefault(_spelling(alias), region.name)
                if owner != region.name:
                    raise RegionError(f"the spelling {alias!r} of {region.name!r} already means {owner!r}")

    def _check_climb(self, region: Region) -> None:
        seen = {region.name}
        parent = region.parent
        while parent is not None:
            if parent in seen:
                raise RegionError("a region is its own ancestor", got=repr(region.name))
            seen.add(parent)
            if parent not in self._by_name:
                return  # reported for the node that names it
            parent = self._by_name[parent].parent

    @property
    def names(self) -> tuple[str, ...]:
        """All node names in tree order."""
        return tuple(region.name for region in self.regions)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def get(self, name: str) -> Region:
        """The node called ``name`` in any accepted spelling.

        Raises:
            RegionError: No such region; the message lists the allowed names and the closest one.
        """
        return self._by_name[self.normalize(name)]

    def normalize(self, name: str) -> str:
        """The canonical name for a spelling: case, spaces, ``-``, ``/`` and the nodes' aliases are accepted.

        Raises:
            RegionError: No such region; the message lists the allowed names and the closest one.
        """
        if not isinstance(name, str):
            raise RegionError("a region is named by a string", got=type(name).__name__, allowed=self.names)
        key = _spelling(name)
        if key in self._spellings:
            return self._spellings[key]
        close = difflib.get_close_matches(key, self._spellings, n=1)
        raise RegionError(
            "unknown region",
            got=repr(name),
            allowed=self.names,
            hint=f"did you mean {self._spellings[close[0]]!r}?" if close else None,
        )

    def ancestors(self, name: str) -> tuple[str, ...]:
        """The nodes above ``name``, nearest first, ending in ``any``; empty for ``any`` itself.

        Raises:
            RegionError: No such region.
        """
        climbed: list[str] = []
        parent = self.get(name).parent
        while parent is not None:
            climbed.append(parent)
            parent = self._by_name[parent].parent
        return tuple(climbed)

    def lookup(self, name: str, available: Iterable[str]) -> Lookup:
        """Climb from ``name`` to the nearest node among ``available``.

        At each level, from ``name`` itself up to ``any``, the level's own node is taken if it is available,
        else the first available data-set node that covers it (in tree order): a model that knows only
        FracAtlas' groups judges a wrist as ``fracatlas_hand``.

        Args:
            name: A region in any accepted spelling.
            available: Names of the nodes at which, say, a model has operating points.

        Returns:
            The node and one clause that says why it was taken.

        Raises:
            RegionError: No such region, or none of its ancestors is available.
        """
        start = self.normalize(name)
        have = {self.normalize(item) for item in available}
        for level in (start, *self.ancestors(start)):
            via = "" if level == start else f", through {level}"
            if level in have:
                reason = f"{start} itself" if level == start else f"nearest ancestor of {start}"
                return Lookup(level, reason)
            for region in self.regions:
                if level in region.covers and region.name in have:
                    return Lookup(region.name, f"{region.name} covers {level if not via else start}{via}")
        raise RegionError(
            f"neither region {start!r} nor one of its ancestors is available",
            got=", ".join((start, *self.ancestors(start))),
            allowed=sorted(have) or "none",
            hint="give one of the available regions, or none to let the model decide",
        )

    def with_region(
        self,
        name: str,
        parent: str | None = None,
        *,
        body_parts: Iterable[str] = (),
        codes: Iterable[str] = (),
        aliases: Iterable[str] = (),
        covers: Iterable[str] = (),
        source: str = "added at run time",
    ) -> RegionTree:
        """A new tree that also holds ``name`` below ``parent``; this tree stays as it is.

        A name that was an alias or a Body Part Examined of another region (``scapula`` of shoulder) means the new
        region from then on, as an alias and as a body part. Codes stay where they are: a film that only a code calls
        a scapula is judged as a shoulder, as before.

        Args:
            name: The new region.
            parent: The region above it; where left out, the one that the name was an alias or a body part of so far,
                else ``any``.
            body_parts, codes, aliases, covers, source: As in :class:`Region`.

        Raises:
            RegionError: The name is malformed or taken, or the parent is not in the tree.
        """
        part = _compact(name)
        owner = self._spellings.get(name) or next((r.name for r in self.regions if part in r.body_parts), None)
        others = tuple(
            replace(
                other,
                aliases=tuple(alias for alias in other.aliases if _spelling(alias) != name),
                body_parts=tuple(word for word in other.body_parts if word != part),
            )
            for other in self.regions
        )
        region = Region(
            name=name,
            parent=self.normalize(parent or owner or ROOT),
            kind="custom",
            body_parts=tuple(dict.fromkeys((*([part] if owner else []), *(_compact(item) for item in body_parts)))),
            codes=tuple(codes),
            aliases=tuple(aliases),
            covers=tuple(self.normalize(item) for item in covers),
            source=source,
        )
        return RegionTree((*others, region))

    def from_dicom(self, body_part: str | None = None, codes: Iterable[str] = ()) -> tuple[str, ...]:
        """Regions that a DICOM header names.

        Args:
            body_part: Body Part Examined (0018,0015) as stored; laterality words in it are ignored, and it
                may name several parts (``"HAND/WRIST"``).
            codes: Code Values of Anatomic Region Sequence (0008,2218), SNOMED CT (``"85562004"``) or
                SNOMED RT (``"T-D8700"``).

        Returns:
            Canonical names in tree order, without those that another one lies below; empty where the header
            names no region of this tree (``EXTREMITY``, ``CHEST``). The mapping is PS3.16 Annex L and
            CID 4031; parts of a region (``PATELLA``, ``SCAPULA``, ``THUMB``) belong to it by our choice.
        """
        wanted = {code.strip().upper() for code in codes}
        found = {region.name for region in self.regions if wanted.intersection(region.codes)}
        known = {part for region in self.regions for part in region.body_parts}
        parts = _body_part_words(body_part, known)
        for region in self.regions:
            if parts.intersection(region.body_parts):
                found.add(region.name)
        shadowed = {above for name in found for above in self.ancestors(name)}
        return tuple(name for name in self.names if name in found - shadowed)

    def to_dict(self) -> dict[str, Any]:
        """The tree as JSON-able data."""
        return {"regions": [region.to_dict() for region in self.regions]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RegionTree:
        """The inverse of ``to_dict``.

        Raises:
            RegionError: The data is malformed.
        """
        regions = data["regions"] if isinstance(data, Mapping) and set(data) == {"regions"} else None
        if not isinstance(regions, list) or len(regions) > _MOST:
            raise RegionError(f"a region tree is an object with the one key 'regions', a list of at most {_MOST}")
        return cls(tuple(Region.from_dict(item) for item in regions))


@functools.lru_cache(maxsize=1024)
def _spelling(name: str) -> str:
    """``"Tibia / Fibula"`` -> ``"tibia_fibula"``."""
    return re.sub(r"[\s/_\-+&,.]+", "_", name.strip().lower()).strip("_")


def _compact(text: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", text.upper())


_SIDE_WORDS = {"L", "R", "LT", "RT", "LEFT", "RIGHT", "BILAT", "BILATERAL", "BOTH"}


def _body_part_words(body_part: str | None, known: set[str]) -> set[str]:
    if not body_part:
        return set()
    text = body_part.upper()
    words = [word for word in re.split(r"[^A-Z0-9]+", text) if word and word not in _SIDE_WORDS]
    whole = "".join(words)
    # "LOWER LEG" is one term, "HAND/WRIST" two: the whole is tried first, then its words.
    return {whole} if whole in known else set(words)


# name | parent | source | Body Part Examined | codes, SNOMED CT and RT | aliases | covers
_TABLE = """
upper_extremity | any | group | UPPERLIMB UPPEREXTREMITY | 53120007 T-D8000 371195002 T-D0821 | upper_limb |
elbow | upper_extremity | fda | ELBOW ELBOWJOINT OLECRANON | 16953009 T-15430 | |
finger | upper_extremity | guess | FINGER FINGERS THUMB | 7569003 T-D8800 76505004 T-D8810 | thumb |
forearm | upper_extremity | fda | FOREARM RADIUS ULNA RADIUSULNA LOWERARM | 14975008 T-D8500 62413002 \
    T-12420 23416004 T-12430 110535000 T-12403 | radius ulna radius_ulna lower_arm |
hand | upper_extremity | guess | HAND HANDS METACARPUS | 85562004 T-D8700 | hands |
humerus | upper_extremity | fda | HUMERUS ARM UPPERARM | 85050009 T-12410 40983000 T-D8200 | upper_arm |
wrist | upper_extremity | fda | WRIST WRISTJOINT CARPUS SCAPHOID | 74670003 T-15460 8205005 T-D8600 | |
lower_extremity | any | group | LOWERLIMB LOWEREXTREMITY | 61685007 T-D9000 72001000 T-12700 | lower_limb |
ankle | lower_extremity | fda | ANKLE ANKLEJOINT | 70258002 T-15750 | |
femur | lower_extremity | fda | FEMUR THIGH UPPERLEG | 71341001 T-12710 68367000 T-D9100 | thigh upper_leg |
foot | lower_extremity | paper | FOOT FEET CALCANEUS HEEL TARSAL | 56459004 T-D9700 80144004 T-12770 \
    27949001 T-15770 58742003 T-12980 | calcaneus heel feet |
knee | lower_extremity | fda | KNEE PATELLA | 72696002 T-D9200 64234005 T-12730 | patella |
tibia_fibula | lower_extremity | fda | TIBIAFIBULA TIBFIB TIBIA FIBULA LEG LOWERLEG CALF | 30021000 T-D9400 \
    12611008 T-12740 87342007 T-12750 110536004 T-12701 | tibia fibula lower_leg tib_fib tibfib tibiafibula |
toe | lower_extremity | guess | TOE TOES GREATTOE HALLUX | 29707007 T-D9800 | toes |
shoulder_girdle | any | group | SHOULDERGIRDLE | | |
clavicle | shoulder_girdle | fda | CLAVICLE SCJOINT | 51299004 T-12310 7844006 T-15610 | collarbone |
shoulder | shoulder_girdle | fda | SHOULDER SCAPULA ACJOINT | 16982005 T-D2220 79601000 T-12280 \
    85856004 T-15420 | scapula |
pelvis_hip | any | group | PELVISHIP HIPPELVIS | | hip_pelvis |
hip | pelvis_hip | fda | HIP HIPS HIPJOINT | 24136001 T-15710 29836001 T-D2500 | hips |
pelvis | pelvis_hip | fda | PELVIS ILIUM SACRUM COCCYX SIJOINT | 816092008 12921003 T-D6000 22356005 T-12340 \
    54735007 T-11AD0 64688005 T-11BF0 39723000 T-15680 | |
fracatlas_hand | upper_extremity | fracatlas | | | | hand wrist forearm elbow finger upper_extremity
fracatlas_leg | lower_extremity | fracatlas | | | | knee ankle foot toe tibia_fibula lower_extremity
fracatlas_hip | pelvis_hip | fracatlas | | | | hip pelvis femur pelvis_hip
fracatlas_shoulder | shoulder_girdle | fracatlas | | | | shoulder clavicle humerus shoulder_girdle
"""


def _nodes() -> tuple[Region, ...]:
    kinds = {"group": "group", "fracatlas": "dataset"}
    rows = [Region(ROOT, None, "root", aliases=("all",), source="the root")]
    for line in _TABLE.replace("\\\n", " ").strip().splitlines():
        name, parent, source, *lists = (cell.strip() for cell in line.split("|"))
        parts, codes, aliases, covers = (tuple(cell.split()) for cell in lists)
        kind = kinds.get(source, "region")
        rows.append(Region(name, parent, kind, parts, codes, aliases, covers, _SOURCES[source]))
    return tuple(rows)


_NODES = _nodes()

DEFAULT_TREE = RegionTree(_NODES)
"""The shipped tree: sixteen regions, four groups, FracAtlas' four groups, and the root ``any``."""

PARTS: frozenset[str] = frozenset(["calcaneus", "fibula", "patella", "radius", "scapula", "thumb", "tibia", "ulna"])
"""Aliases that name a part of their region, not the region itself: what can become a region of its own (our list)."""

REGIONS: tuple[str, ...] = tuple(sorted(region.name for region in _NODES if region.kind == "region"))
"""The sixteen regions in alphabetical order."""


ancestors = DEFAULT_TREE.ancestors
"""See :meth:`RegionTree.ancestors`; this and the next four are of the default tree."""
from_dicom = DEFAULT_TREE.from_dicom
"""See :meth:`RegionTree.from_dicom`."""
get = DEFAULT_TREE.get
"""See :meth:`RegionTree.get`."""
lookup = DEFAULT_TREE.lookup
"""See :meth:`RegionTree.lookup`."""
normalize = DEFAULT_TREE.normalize
"""See :meth:`RegionTree.normalize`."""

_PLAIN = {
    ROOT: "unknown",
    "upper_extremity": "upper limb",
    "lower_extremity": "lower limb",
    "pelvis_hip": "pelvis or hip",
    "tibia_fibula": "lower leg",
    "fracatlas_hand": "hand to elbow",
    "fracatlas_leg": "knee to foot",
    "fracatlas_hip": "hip, pelvis or thigh",
    "fracatlas_shoulder": "shoulder or upper arm",
}


def plain_name(name: str) -> str:
    """What a person calls a region: ``"fracatlas_hand"`` is "hand to elbow"; other names without underscores."""
    return _PLAIN.get(name, name.replace("_", " "))


# Jones et al. 2020, Methods: the nine raw views of the test set and the three that they are collapsed to.
_COLLAPSED = {
    "frontal": ("frontal", "frontal dorso-plantar", "frontal inlet-outlet"),
    "lateral": ("axillary", "frog-leg lateral", "lateral", "y"),
    "oblique": ("oblique", "oblique-mortise"),
}

# View Position (0018,5101): the terms of PS3.3 C.8.7.1 and C.8.11.5, and words consoles write (our list).
_VIEW_WORDS = {
    "frontal": "AP PA FRONTAL DP PD DORSOPLANTAR PLANTODORSAL DORSOPALMAR INLET OUTLET INLETOUTLET "
    "FRONTALDORSOPLANTAR FRONTALINLETOUTLET",
    "lateral": "LL RL LAT LATERAL ML LM MEDIOLATERAL LATEROMEDIAL AXILLARY FROGLEG FROGLEGLATERAL FROG Y YVIEW",
    "oblique": "RLO LLO OBL OBLIQUE MORTISE OBLIQUEMORTISE RAO LAO RPO LPO MLO LMO",
}

# View Code Sequence (0054,0220): PS3.16 CID 4010, SNOMED CT and SNOMED RT values.
_VIEW_CODES = {
    "frontal": "399033003 R-10202 399348003 R-10206 272479007 R-10214 R-40888 399335002 R-102C4 399071006 R-102C3",
    "lateral": "399067008 R-102CD 399198007 R-10232 399173006 R-10236 399260004 R-10224 399352003 R-10228",
    "oblique": "399182000 R-102C1 399236003 R-10234 399184004 R-10238 399312000 R-10208 399059000 R-10216 "
    "399160007 R-10204 260427002 R-40783 260426006 R-40782 399099002 R-10230 399368009 R-10226 "
    "399135007 R-10220 399356000 R-40985 399006002 R-10212 399038007 R-10210",
}

_VIEW_OF_RAW = {raw: view for view, raws in _COLLAPSED.items() for raw in raws}
_VIEW_OF_WORD = {word: view for view, words in _VIEW_WORDS.items() for word in words.split()}
_VIEW_OF_CODE = {code: view for view, codes in _VIEW_CODES.items() for code in codes.split()}

_SIDE_OF_CODE = {
    **dict.fromkeys(("24028007", "G-A100"), "right"),
    **dict.fromkeys(("7771000", "G-A101"), "left"),
    **dict.fromkeys(("51440002", "G-A102"), "bilateral"),
}


def collapse_view(raw: str) -> str | None:
    """A raw view of Jones et al. 2020 (``"frog-leg lateral"``) as one of the three; ``None`` if unknown."""
    return _VIEW_OF_RAW.get(raw.strip().lower())


def view_from_dicom(view_position: str | None = None, codes: Iterable[str] = ()) -> str | None:
    """Frontal, lateral, oblique or ``None`` from a DICOM header.

    Args:
        view_position: View Position (0018,5101) as stored.
        codes: Code Values of View Code Sequence (0054,0220); they go before the string.

    Decubitus and tangential views are none of the three and give ``None`` (our choice).
    """
    for code in codes:
        if (view := _VIEW_OF_CODE.get(code.strip().upper())) is not None:
            return view
    if not view_position:
        return None
    words = [word for word in re.split(r"[^A-Z]+", view_position.upper()) if word]
    candidates = ("".join(words), *words)
    found = [_VIEW_OF_WORD[word] for word in candidates if word in _VIEW_OF_WORD]
    if "oblique" in found:  # "AP OBLIQUE" is an oblique view
        return "oblique"
    return found[0] if found else None


def laterality_from_dicom(letters: Iterable[str | None] = (), codes: Iterable[str] = ()) -> str | None:
    """Left, right, bilateral or ``None`` from a DICOM header.

    Args:
        letters: Image Laterality (0020,0062), Frame Laterality and Laterality (0020,0060), the specific
            first; ``"U"`` (unpaired) counts as unknown.
        codes: Code Values of Anatomic Region Modifier Sequence (0008,2220), used where no letter says it.
    """
    for letter in letters:
        side = {"R": "right", "L": "left", "B": "bilateral"}.get((letter or "").strip().upper())
        if side is not None:
            return side
    sides = {_SIDE_OF_CODE[code.strip().upper()] for code in codes if code.strip().upper() in _SIDE_OF_CODE}
    if len(sides) > 1:
        return "bilateral"
    return next(iter(sides), None)

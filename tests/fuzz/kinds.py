"""What is fuzzed: for each kind a maker of damaged files, how it is read, and what lies past its header."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import random
import tomllib
import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pydicom
from PIL import Image
from pydicom.encaps import encapsulate

from fracture.errors import FractureError
from tests.dicom.builder import dataset, file_bytes, gradient, lossless_jpeg
from tests.fuzz.mutations import HOSTILE, as_json, bytes_changed, json_changed, lines_changed

REPOSITORY = Path(__file__).resolve().parents[2]
WEIGHTS = REPOSITORY / "weights"


class Kind(ABC):
    """One kind of input.

    Args:
        folder: Of its own, where cases may write.
    """

    name = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def make(self, dice: random.Random) -> bytes:
        """A damaged file."""

    @abstractmethod
    def past_header(self, content: bytes) -> bool:
        """Whether a plain parser, not ours, gets beyond the format's own syntax."""

    @abstractmethod
    def run(self, content: bytes) -> None:
        """Read it as a user would; a FractureError is an answer, anything else has escaped."""

    def written(self, name: str, content: bytes) -> Path:
        """The case as a file."""
        path = self.folder / name
        path.write_bytes(content)
        return path


class Films(Kind):
    """``fracture.read`` on DICOM files in all native forms and three compressions, PNG, JPEG and TIFF."""

    name = "read"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.files = _films()

    def make(self, dice: random.Random) -> bytes:
        data = dice.choice(self.files)
        if data[128:132] == b"DICM" and dice.random() < 0.5:
            return _element_changed(data, dice)
        return bytes_changed(data, dice, dice.choice([64, 400, 1200, None]))

    def past_header(self, content: bytes) -> bool:
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if content[128:132] == b"DICM":
                return "Rows" in pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)
            return bool(Image.open(io.BytesIO(content)).size)
        return False

    def run(self, content: bytes) -> None:
        from fracture.io.reading import read

        made = read(content)
        if not np.isfinite(made.pixels).all() or made.pixels.dtype != np.float32:
            raise AssertionError("pixels that are not finite float32")


class Predictions(Films):
    """The same files through ``Detector.predict`` with small random networks, to its JSON."""

    name = "predict"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from fracture.detector import load
        from tests.weights import write_weights

        write_weights(folder / "weights", sizes=(64, 64))
        self.detector = load(folder / "weights", device="cpu", precision="float32")

    def run(self, content: bytes) -> None:
        json.dumps(self.detector.predict(content).to_dict(), allow_nan=False)


class JsonKind(Kind):
    """A JSON document that is changed in its values and still parses."""

    document: Any
    headers: ClassVar[dict[str, Any]] = {}

    def make(self, dice: random.Random) -> bytes:
        return as_json(json_changed(self.document, dice), dice)

    def past_header(self, content: bytes) -> bool:
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(content.decode("utf-8-sig"))
            return isinstance(found, dict) and all(found.get(key) == value for key, value in self.headers.items())
        return False


class Cards(JsonKind):
    """The card of the shipped weights, read and, where it is taken, asked for all that it specifies."""

    name = "card"
    headers: ClassVar = {"format": "fracture-card", "format_version": 1}

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.document = json.loads((WEIGHTS / "fracatlas-small" / "card.json").read_text())
        for member in self.document["members"]:
            member["training"] = {}  # any JSON is right there

    def run(self, content: bytes) -> None:
        from fracture.limb.boxes import BoxParameters
        from fracture.limb.card import Card
        from fracture.limb.operating_points import OperatingPoints

        self.written("card.json", content)
        card = Card.read(self.folder)
        for part in (card, card.fast):
            if part is not None:
                OperatingPoints.from_dict(part.operating_points).lookup(("wrist", "hip"), card.region_tree)
                BoxParameters.from_dict(part.boxes)
        for member in card.members:
            assert member.preprocess_spec.size <= 4096
            assert member.model_spec.planes
            assert member.calibration is None or 0 <= member.calibration(-1e4) <= member.calibration(1e4) <= 1
        card.write(self.folder / "again")
        assert Card.read(self.folder / "again") == card


class HipCards(JsonKind):
    """The card of the shipped hip networks."""

    name = "hip-card"
    headers: ClassVar = {"format": "fracture-hip-card", "format_version": 1}

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.document = json.loads((WEIGHTS / "hip-small" / "hip_card.json").read_text())
        for stage in ("localizer", "classifier"):
            self.document[stage]["training"] = {}

    def run(self, content: bytes) -> None:
        from fracture.hip.card import HipCard

        self.written("hip_card.json", content)
        card = HipCard.read(self.folder)
        assert card.localizer.preprocess_spec.size <= 4096
        assert card.classifier.crop_spec.size <= 1024
        assert card.localizer.model_spec.anchors
        assert card.classifier.model_spec.trunk
        assert card.localizer.chosen_by.iou <= 1
        card.write(self.folder / "again")
        assert HipCard.read(self.folder / "again") == card


class Tensors(Kind):
    """Safetensors files whose SHA-256 the card states, loaded into the network that the card describes."""

    name = "safetensors"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from fracture.limb.store import open_weights
        from fracture.models import build_model
        from tests.weights import write_weights

        write_weights(folder, sizes=(64,), channels=(("raw",),), maps=(True,))
        self.opened = open_weights(folder)
        self.member = self.opened.card.members[0]
        self.model = build_model(self.member.model_spec)
        data = (folder / self.member.file).read_bytes()
        size = int.from_bytes(data[:8], "little")
        self.header, self.body = json.loads(data[8 : 8 + size]), data[8 + size :]

    def make(self, dice: random.Random) -> bytes:
        header = json_changed(self.header, dice) if dice.random() < 0.7 else self.header
        text = as_json(header, dice)
        size = len(text) if dice.random() < 0.95 else dice.choice([0, 1, 2**63, len(text) + 1, 10**9])
        body = bytes_changed(self.body, dice) if dice.random() < 0.4 else self.body
        return size.to_bytes(8, "little") + text + body

    def past_header(self, content: bytes) -> bool:
        size = int.from_bytes(content[:8], "little")
        with contextlib.suppress(ValueError, RecursionError):
            return isinstance(json.loads(content[8 : 8 + size]), dict) and size <= len(content)
        return False

    def run(self, content: bytes) -> None:
        from fracture.models.persistence import load_state

        self.written(self.member.file, content)
        member = self.member.model_copy(update={"sha256": hashlib.sha256(content).hexdigest()})
        load_state(self.model, self.opened.tensors(member))


class Splits(JsonKind):
    """Split files, most of them with the right checksum."""

    name = "split"
    headers: ClassVar = {"format": "fracture-split/1"}

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from fracture.data.records import AnnotatedSet, Film

        films = tuple(Film(f"{i}.png", 8, 8, i % 2, regions=("wrist",), group=str(i // 2)) for i in range(12))
        self.set = AnnotatedSet(films, "fuzz", folder)
        from fracture.data.splits import split_parts

        split_parts(self.set, seed=1).write(folder / "whole.json")
        self.document = json.loads((folder / "whole.json").read_text())

    def make(self, dice: random.Random) -> bytes:
        from fracture.data.splits import _digest

        document = json_changed(self.document, dice)
        with contextlib.suppress(Exception):
            content = {key: value for key, value in document.items() if key != "sha256"}
            document["sha256"] = _digest(content)
        return as_json(document, dice)

    def run(self, content: bytes) -> None:
        from fracture.data.splits import Split

        split = Split.read(self.written("split.json", content))
        split.part_of()
        split.write(self.folder / "again.json")
        for name in split.parts:
            with contextlib.suppress(FractureError):
                split.part(self.set, name)


class Recipes(Kind):
    """Training recipes for limbs and hips, line by line."""

    name = "toml"
    VALUES = (
        "nan", "inf", "-1", "0", "1e400", "99999999999999999999999", "true", '"x"', '""', "[]", "{}", "[1, [2]]", "0.5",
        "2000-01-01", '"../../etc/passwd"', "{ a = 1 }", '["raw"]', "[" * 50 + "]" * 50, "'''a'''", "32000", '"random"',
        "[0.1, nan]", "-0.0", "0x7fffffffffffffff",
    )  # fmt: skip

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from fracture.hip.training_config import RECIPES, load_hip_recipe
        from fracture.training.config import load_recipe, recipe_names

        self.load = (load_recipe, load_hip_recipe)
        homes = (("training", recipe_names()), ("hip", recipe_names(RECIPES)))
        self.texts = [
            (door, (REPOSITORY / "fracture" / home / "recipes" / f"{name}.toml").read_text())
            for door, (home, names) in enumerate(homes)
            for name in names
        ]
        self.door = 0

    def make(self, dice: random.Random) -> bytes:
        self.door, text = dice.choice(self.texts)
        if dice.random() < 0.01:
            return f"a = {'[' * 3000}".encode()
        return lines_changed(text, dice, self.VALUES, "=")

    def past_header(self, content: bytes) -> bool:
        with contextlib.suppress(ValueError, RecursionError):
            return bool(tomllib.loads(content.decode()))
        return False

    def run(self, content: bytes) -> None:
        self.load[self.door](self.written("recipe.toml", content))


class AnnotationKind(Kind):
    """Annotations through both doors: as a set to train on, and as a reference to judge by."""

    file = ""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for number in range(6):
            Image.new("L", (64, 48), 40 * number).save(folder / f"{number}.png")

    def run(self, content: bytes) -> None:
        from fracture.data.readers import read_annotations
        from fracture.evaluation.files.references import read_reference

        path = self.written(self.file, content)
        try:
            read_annotations(path)
        finally:
            read_reference(path)


class Coco(AnnotationKind, JsonKind):
    """COCO files with boxes, polygons, run lengths and crowd regions."""

    name, file = "coco", "annotations.json"

    def __init__(self, folder: Path) -> None:
        AnnotationKind.__init__(self, folder)
        counts = {"size": [48, 64], "counts": [100, 20, 28, 20, 2904]}
        shapes: list[Any] = [[[5, 5, 25, 5, 25, 20, 5, 20]], counts, [], [[1, 1, 9, 1, 9, 9]]]
        self.document = {
            "info": {"year": 2024},
            "licenses": [{"id": 1, "name": "CC0"}],
            "images": [
                {"id": i, "file_name": f"{i}.png", "width": 64, "height": 48, "license": 1, "group": f"g{i // 2}"}
                for i in range(6)
            ],
            "categories": [{"id": 1, "name": "fracture"}, {"id": 2, "name": "no fracture"}],
            "annotations": [
                {"id": i, "image_id": i, "category_id": 1, "bbox": [5, 5, 20, 15], "area": 300, "iscrowd": int(i == 1),
                 "segmentation": shapes[i]}
                for i in range(4)
            ],
        }  # fmt: skip

    def past_header(self, content: bytes) -> bool:
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(content.decode("utf-8-sig"))
            return isinstance(found, dict) and {"images", "annotations"} <= set(found)
        return False


class Tables(AnnotationKind):
    """The documented CSV, cell by cell."""

    name, file = "csv", "films.csv"
    VALUES = (
        *(str(value) for value in HOSTILE if not isinstance(value, (list, dict))),
        "nan", "1e999", "1,5", '"', '"a\nb"', "=1+1", "-1", "yes", "no", "wrist;hand", "../0.png", "0.png", "x|y",
    )  # fmt: skip

    def make(self, dice: random.Random) -> bytes:
        rows = ["image,group,region,view,fractured,x0,y0,x1,y1"]
        rows += [f"{i}.png,g{i // 2},wrist,frontal,{i % 2},{'5,5,25,20' if i % 2 else ',,,'}" for i in range(6)]
        rows += ["1.png,g0,wrist,frontal,1,30,30,40,40"]
        data = lines_changed("\n".join(rows), dice, self.VALUES, ",")
        return data.replace(b",", b";") if dice.random() < 0.1 else data

    def past_header(self, content: bytes) -> bool:
        with contextlib.suppress(ValueError, csv.Error):
            rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
            return bool(rows) and {"image", "fractured"} <= set(rows[0])
        return False


KINDS: dict[str, type[Kind]] = {
    kind.name: kind for kind in (Films, Predictions, Cards, HipCards, Tensors, Splits, Recipes, Coco, Tables)
}


def _films() -> list[bytes]:
    """Small films in the formats that users have."""
    signed = (gradient().astype(np.int32) - 2000).astype(np.int16)
    eight = (gradient(24, 40) / 16).astype(np.uint8)
    sets = [
        dataset(),
        dataset(TransferSyntaxUID="1.2.840.10008.1.2"),
        dataset(TransferSyntaxUID="1.2.840.10008.1.2.1.99"),
        dataset(signed, RescaleSlope=2, RescaleIntercept=-10, WindowCenter=[0, 50], WindowWidth=[400, 900]),
        dataset(eight, PhotometricInterpretation="MONOCHROME1", PixelSpacing=[0.1, 0.2], PixelPaddingValue=0),
        dataset(BodyPartExamined="HAND/WRIST", ViewPosition="AP", ImageLaterality="L", ImagerPixelSpacing=[0.1, 0.1]),
    ]
    files = [file_bytes(made) for made in sets]
    for syntax in ("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80"):
        made = dataset(gradient(32, 32))
        made.compress(syntax)
        files.append(file_bytes(made))
    for syntax, plane, form, options in (
        ("1.2.840.10008.1.2.4.90", gradient(32, 32), "JPEG2000", {"no_jp2": True}),
        ("1.2.840.10008.1.2.4.50", eight, "JPEG", {}),
    ):
        stream = io.BytesIO()
        Image.fromarray(plane).save(stream, form, **options)
        made = dataset(plane, TransferSyntaxUID=syntax, PixelData=encapsulate([stream.getvalue()]))
        made["PixelData"].VR = "OB"
        files.append(file_bytes(made))
    rgb = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "RGB"}
    for plane, precision, attributes in ((gradient()[..., None], 12, {}), (np.dstack([eight] * 3), 8, rgb)):
        coded = encapsulate([lossless_jpeg(plane, precision)])
        made = dataset(plane[..., 0], TransferSyntaxUID="1.2.840.10008.1.2.4.70", PixelData=coded, **attributes)
        made["PixelData"].VR = "OB"
        files.append(file_bytes(made))
    image = Image.fromarray(np.tile(eight, (3, 2)))
    deep = Image.fromarray(gradient(40, 50).astype(np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    for picture, form, options in (
        (image, "PNG", {}), (deep, "PNG", {}), (image, "JPEG", {"exif": exif}), (image, "JPEG", {"progressive": True}),
        (image, "TIFF", {"compression": "tiff_lzw"}), (deep, "TIFF", {}),
        (image.convert("1"), "TIFF", {"compression": "group4"}), (image.convert("F"), "TIFF", {}),
        (image, "TIFF", {"save_all": True, "append_images": [image]}),
    ):  # fmt: skip
        stream = io.BytesIO()
        picture.save(stream, form, **options)
        files.append(stream.getvalue())
    return files


def _element_changed(data: bytes, dice: random.Random) -> bytes:
    """A DICOM file with the value of one element replaced, doubled or taken out, its length right."""
    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        made = pydicom.dcmread(io.BytesIO(data))
        for _ in range(dice.choice([1, 1, 2, 3])):
            element = dice.choice([e for e in made if e.tag.group > 2])
            if element.VR in ("US", "SS"):
                element.value = dice.choice([0, 1, 2, 7, 8, 12, 15, 16, 17, 32, 255, 4096, 32767, 65535, [1, 2], []])
            elif element.VR in ("DS", "IS"):
                text = dice.choice(["0", "-1", "1e30", "-1e-30", "1e308", "nan", "", "5\\0", "0.0001", "x", "1\\2\\3"])
                element._value = text
            elif element.VR in ("OW", "OB"):
                element.value = bytes_changed(element.value, dice) if dice.random() < 0.7 else b""
            else:
                element._value = dice.choice(["", "MONOCHROME1", "RGB", "PALETTE COLOR", "1.2", "x" * 80, "CT", "\\"])
            if dice.random() < 0.1:
                del made[element.tag]
        return file_bytes(made)
    return bytes_changed(data, dice, 400)

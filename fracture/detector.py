"""The public face of the detector: :func:`load`, :func:`predict`, and a :class:`Detector` that can be fine-tuned.

Everything below works with :class:`fracture.limb.detector.Detector`, which knows nothing of training.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fracture.errors import ConfigurationError
from fracture.limb.detector import Detector as Reader
from fracture.wing.reader import check_options
from fracture.wing.result import HIGH_SENSITIVITY

if TYPE_CHECKING:
    from pathlib import Path

    from fracture.data.records import AnnotatedSet
    from fracture.finetune.run import FineTuned
    from fracture.io.reading import Source
    from fracture.limb.prediction import Prediction
    from fracture.models.devices import Precision
    from fracture.wing.engine_choice import Engine


class Detector(Reader):
    """Finds fractures on radiographs. Get one from :func:`fracture.load`."""

    def finetune(
        self,
        data: AnnotatedSet | str | Path,
        *,
        region: str,
        out: str | Path,
        parent: str | None = None,
        **options: Any,
    ) -> FineTuned:
        """Teach these weights a new region from films of it; this detector stays as it is.

        Args:
            data: An annotated set, or its path: films of the region, some fractured.
            region: Its name; one that the region tree lacks is added below ``parent``.
            out: Folder of the new weights.
            parent: Region that the new one is a part of, such as ``"wrist"`` for a scaphoid.
            **options: Those of :func:`fracture.finetune.finetune`: ``old``, ``policy``, ``split``, ``seed``, ...

        Returns:
            The new detector, its card, and a report of what was gained and what it cost the old regions.

        Raises:
            ConfigurationError: This detector was not loaded from a folder; and as for
                :func:`fracture.finetune.finetune`, which see for everything else.
        """
        from fracture.finetune.run import finetune

        if self.folder is None:
            raise ConfigurationError(
                "this detector was not loaded from a folder of weights",
                hint="get it from fracture.load, or call fracture.finetune.finetune(folder, ...)",
            )
        tuned = finetune(self.folder, data, region=region, out=out, parent=parent, **options)
        made = type(self)(tuned.detector.ensemble, tuned.card, folder=tuned.folder)
        return replace(tuned, detector=made)


@functools.lru_cache(maxsize=2)
def _shared(name_or_path: str | None, device: str, precision: Precision, fast: bool, engine: Engine) -> Detector:
    return Detector.load(name_or_path, device=device, precision=precision, fast=fast, engine=engine)


def load(
    name_or_path: str | os.PathLike[str] | None = None,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    fast: bool = False,
    engine: Engine = "auto",
) -> Detector:
    """Load a detector from shipped weights or a folder; nothing is fetched from the network.

    Args:
        name_or_path: Name of shipped weights, or a folder with ``card.json`` and its safetensors files; the default
            weights where left out.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
        precision: ``"auto"`` (bfloat16 where the processor multiplies in it), ``"float32"`` or ``"bfloat16"``.
        fast: Run only the members that the card names for this, with operating points of their own; the card's
            ``fast.loses`` says what that costs.
        engine: What runs the networks: ``"torch"``, ``"openvino"`` or ``"onnx"`` (extras of these names, on the CPU;
            ``"onnx"`` in float32 alone); ``"auto"`` is the fastest of those that ``fracture engines`` measured on this
            machine with these weights, else torch. See :mod:`fracture.wing.engine_choice`.

    Raises:
        WeightsNotFoundError: No such weights.
        CardError: The card does not follow the schema.
        WeightsIntegrityError: A weight file is not what its card describes.
        ConfigurationError: An unknown device, precision or engine, an engine that is not installed, or ``fast`` with
            weights that have no fast subset.
    """
    return Detector.load(name_or_path, device=device, precision=precision, fast=fast, engine=engine)


def predict(
    source: Source,
    *,
    region: str | Sequence[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    fast: bool = False,
    engine: Engine = "auto",
    operating_point: str = HIGH_SENSITIVITY,
    candidates: bool = False,
    **reading: Any,
) -> Prediction:
    """Judge one radiograph with the shipped weights, which are loaded once and kept.

    >>> p = fracture.predict("examples/wrist_radius_transverse.dcm", region="wrist")
    >>> p.probability, p.fractured, p.boxes
    >>> p.save_overlay("wrist.png")

    For several films, ``fracture.load().predict_many(paths)`` is faster, and goes on where one of them fails.

    Args:
        source: A path to a DICOM, PNG, JPEG or TIFF file, its bytes, an array (height, width), a PIL image, a pydicom
            data set or a :class:`Radiograph`; see :func:`fracture.read`.
        region: The anatomical region or regions shown, ``"wrist"`` or ``["forearm", "wrist"]``. Where it is not given,
            the file's own region is used, else the one that the networks recognize; ``Prediction.region_source`` says
            which.
        weights: Name of shipped weights, or a folder with ``card.json``; the default weights where left out.
        device: ``"auto"`` (CUDA where there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
        precision: ``"auto"`` (bfloat16 where the processor multiplies in it), ``"float32"`` or ``"bfloat16"``.
        fast: Run only the members that the card names for this; its ``fast.loses`` says what that costs.
        engine: As for :func:`load`.
        operating_point: ``"high_sensitivity"`` (the paper's 92.5 %) or ``"high_specificity"``: which threshold decides
            ``fractured``.
        candidates: Also return every box found in the map, whatever the film's decision.
        **reading: Options of :func:`fracture.read`: ``frame``, ``window``, ``allow``, ``max_pixels``, ``max_bytes``.

    Returns:
        A :class:`Prediction`: ``probability`` in [0, 1], ``fractured``, ``boxes`` in source pixels, ``warnings``, ...;
        it keeps the film and the probability map, for ``plot`` and ``save_overlay``.

    Raises:
        InputError: The source cannot be used as a radiograph; each kind has a class of its own, see
            ``fracture.errors``.
        RegionError: An unknown region.
        OperatingPointError: An unknown operating point, or none for the region.
        ConfigurationError: An unknown option, device, precision or engine.
        WeightsError: The weights are missing, damaged, or not what their card says.
    """
    check_options(predict, reading)
    key = None if weights is None else os.fspath(weights)
    detector = _shared(key, device, precision, fast, engine)
    return detector.predict(source, region=region, operating_point=operating_point, candidates=candidates, **reading)

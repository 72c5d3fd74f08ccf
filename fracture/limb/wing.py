"""The limbs' detector as a wing; see :class:`fracture.wing.contract.Wing`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fracture.limb.card import Card
from fracture.limb.store import STORE, Weights
from fracture.wing.contract import Wing

if TYPE_CHECKING:
    from fracture.limb.detector import Detector
    from fracture.models.devices import Precision
    from fracture.wing.engine_choice import Engine


def _reader(weights: Weights, *, device: str, precision: Precision, engine: Engine = "auto") -> Detector:
    from fracture.limb.detector import Detector
    from fracture.limb.ensemble import Ensemble

    ensemble = Ensemble.load(weights, device=device, precision=precision, engine=engine)
    return Detector(ensemble, weights.card, folder=weights.folder)


def _self_tests(weights: Weights) -> Iterator[str]:
    from fracture.limb.fast import fast_view
    from fracture.wing.verification import self_test, self_test_film

    card, film = weights.card, self_test_film()
    detector = _reader(weights, device="cpu", precision="float32", engine="torch")
    yield f"networks built and filled; operating points at {', '.join(detector.operating_points.nodes) or 'no node'}"
    if card.input_check is not None:
        yield f"input check on {card.input_check.member}, limit {card.input_check.limit:.2f}"
    yield self_test(detector, card.self_test, film)
    if card.fast is not None:
        view = fast_view(card)
        fast = _reader(Weights(weights.folder, view), device="cpu", precision="float32", engine="torch")
        yield self_test(fast, view.self_test, film, f"fast subset of {len(view.members)}, self-test")


WING = Wing[Card]("limb", STORE, _reader, _self_tests)

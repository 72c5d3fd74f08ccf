"""Simulated radiographs with known fractures, for examples, tests and pretraining.

    film = simulate.radiograph(7, region="wrist", fracture_type="oblique")
    film.pixels, film.fractures[0].box, film.to_radiograph(), film.to_dicom()
    simulate.write_dataset("films", 100, seed=0, format="both")

Bones are implicit solids of cortex, trabecular bone and marrow in a soft-tissue envelope; fractures cut them in
3D and move the pieces; parallel rays, Beer and Lambert, blur and quantum noise make a 12-bit film. They look like
radiographs, and they are no substitute for them: nothing learned or measured on simulated films alone says how
a detector does on patients.
"""

from __future__ import annotations

from fracture.simulate.dataset import Summary, write_dataset
from fracture.simulate.fractures import KINDS
from fracture.simulate.record import SimulatedFilm, SimulatedFracture
from fracture.simulate.scene import REGIONS, path_lengths, radiograph

__all__ = [
    "KINDS",
    "REGIONS",
    "SimulatedFilm",
    "SimulatedFracture",
    "Summary",
    "path_lengths",
    "radiograph",
    "write_dataset",
]

"""Simulated radiographs with known fractures, for examples, tests and pretraining.

    film = simulate.radiograph(7, region="wrist", fracture_type="oblique")
    film.pixels, film.fractures[0].box, film.to_radiograph(), film.to_dicom()
    simulate.write_dataset("films", 100, seed=0, format="both")
    film = simulate.pelvis(7, left="displaced_neck", right="sliding_hip_screw")
    film.hip("left").box, film.hip("left").label, film.to_radiograph(), film.to_film().to_dicom()
    simulate.write_hips("hips", 100, seed=0)
    hand = simulate.hand(7)  # with damage of rheumatoid arthritis painted at known joints
    hand.film.to_radiograph(), hand.points["mcp2"], hand.lesions["mcp2"]
    simulate.write_lumbar("discs", 100, seed=0)       # sagittal MR phantoms of the lumbar spine
    neck = simulate.neck(7)                           # CT phantom of the cervical spine, in Hounsfield units
    neck.voxels, neck.affine, neck.points["C2"], neck.fractures
    simulate.write_necks("necks", 100, seed=0)

Bones are implicit solids of cortex, trabecular bone and marrow in a soft-tissue envelope; fractures cut them in
3D and move the pieces; parallel rays, Beer and Lambert, blur and quantum noise make a 12-bit film. They look like
radiographs, and they are no substitute for them: nothing learned or measured on simulated films alone says how
a detector does on patients.
"""

from __future__ import annotations

from fracture.simulate.cervical import NeckFracture, SimulatedNeck, neck
from fracture.simulate.cervical_set import write_necks
from fracture.simulate.dataset import Summary, write_dataset, write_hips, write_lumbar
from fracture.simulate.fractures import KINDS
from fracture.simulate.hands import SimulatedHand, hand, write_joints
from fracture.simulate.hip_fractures import HIP_CLASSES, VARIANTS
from fracture.simulate.joints import Joint, Lesion, paint_joints
from fracture.simulate.lumbar import SimulatedDisc, SimulatedLumbar, lumbar
from fracture.simulate.pelvis import HIP_MIX, PELVIS_VIEWS, pelvis
from fracture.simulate.record import SimulatedFilm, SimulatedFracture, SimulatedHip, SimulatedPelvis
from fracture.simulate.scene import REGIONS, path_lengths, radiograph

__all__ = [
    "HIP_CLASSES",
    "HIP_MIX",
    "KINDS",
    "PELVIS_VIEWS",
    "REGIONS",
    "VARIANTS",
    "Joint",
    "Lesion",
    "NeckFracture",
    "SimulatedDisc",
    "SimulatedFilm",
    "SimulatedFracture",
    "SimulatedHand",
    "SimulatedHip",
    "SimulatedLumbar",
    "SimulatedNeck",
    "SimulatedPelvis",
    "Summary",
    "hand",
    "lumbar",
    "neck",
    "paint_joints",
    "path_lengths",
    "pelvis",
    "radiograph",
    "write_dataset",
    "write_hips",
    "write_joints",
    "write_lumbar",
    "write_necks",
]

"""Joints of hands and forefeet: found, measured and scored after the RA2-DREAM challenge.

>>> import fracture.joints
>>> film = fracture.joints.predict("hand.dcm", side="right")
>>> film.points, film.spaces, film.columns

Points are found and joint spaces measured on real adult hands; damage scores are proven on painted lesions only.
Names are imported when they are first used, so that this package is quick to import and needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fracture._lazy import lazy_names

if TYPE_CHECKING:
    from fracture.evaluation.stats.change import Change as Change, Progress as Progress, repeatability as repeatability
    from fracture.joints.metrics import (
        Scores as Scores,
        compare as compare,
        discordant as discordant,
        divide_by_weight as divide_by_weight,
        ensembles as ensembles,
        evaluate_scores as evaluate_scores,
    )
    from fracture.joints.painted import write_painted as write_painted
    from fracture.joints.patient import PatientJoints as PatientJoints, read_patient as read_patient
    from fracture.joints.prediction import JointsFilm as JointsFilm, JointsLimb as JointsLimb
    from fracture.joints.reader import (
        JointsReader as JointsReader,
        load as load,
        predict as predict,
        predict_many as predict_many,
    )
    from fracture.joints.records import read_landmarks as read_landmarks
    from fracture.joints.reports import change as change, draw_damage as draw_damage
    from fracture.joints.scoring import Score as Score, score_joints as score_joints
    from fracture.joints.spaces import Space as Space
    from fracture.joints.table import ScoreTable as ScoreTable, read_table as read_table, write_table as write_table
    from fracture.joints.training import train as train

lazy_names(globals())

"""DICOM objects on their way out: kept as files, with the jobs that send them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from fracture.errors import needing
from fracture.jobs import Job, Keep, NewJob
from fracture.node.kinds import send_kind

with needing("node"):
    from pydicom import dcmread
    from pydicom.dataset import Dataset
    from pydicom.filewriter import dcmwrite

if TYPE_CHECKING:
    from fracture.node.config import Config
    from fracture.node.films import Films

CAPTURE = "OVERLAY"
"""The last word of Image Type of a film's drawn picture."""


def keep(config: Config, results: Keep, made: Iterable[Dataset], job: Job) -> Iterator[NewJob]:
    """Keep objects; what sends them is added when the job that made them is done."""
    for one in made:
        stream = io.BytesIO()
        dcmwrite(stream, one, enforce_file_format=True)
        uid = str(one.SOPInstanceUID)
        results.write(f"{uid}.dcm", stream.getvalue())
        payload = {"sop_class": str(one.SOPClassUID), "syntax": str(one.file_meta.TransferSyntaxUID)}
        for target in config.targets:
            yield NewJob(send_kind(target.name), uid, payload, job.batch)


def of_study(
    config: Config, results: Keep, films: Films, read: Iterable[tuple[str, Any]], words: str
) -> Iterator[Dataset]:
    """What is said of a study of several films: a page with all of them, and one selection of those with a finding.

    A film by itself has its own picture and its own selection, and needs neither. What was removed since is left out.

    Args:
        config: Which kinds are made.
        results: Where the films' pictures lie.
        films: The films.
        read: Each film's UID, and its job's result.
        words: What stands in the selection.
    """
    from fracture.results.selection import select_films
    from fracture.results.study_page import summary

    read = list(read)
    pictures = [results.path(f"{uid}.dcm") for _, result in read for uid in result.get("captures", ())]
    pictures = [path for path in pictures if path.exists()]
    if "sc" in config.objects and len(pictures) > 1:
        yield summary([dcmread(path) for path in pictures])
    found = [(films.path(uid), line) for uid, result in read if (line := _finding(result)) is not None]
    found = [(path, line) for path, line in found if path.exists()]
    if "ko" in config.objects and len(found) > 1:
        yield select_films(found, words)


def _finding(result: Any) -> Any:
    """The JSON line of a film's first positive reading."""
    return next((one["line"] for one in result.get("readings", ()) if one["positive"]), None)

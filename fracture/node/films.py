"""The films that came in: on the disk with their job before anybody is told so."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.uid import UID

from fracture.io.quiet import FAULTS, quiet
from fracture.jobs import Jobs, Keep, NewJob
from fracture.node.kinds import READ

_HEAD = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "Modality", "Manufacturer", "BodyPartExamined")
_TAGS = [tag for word in _HEAD if (tag := tag_for_keyword(word)) is not None]
_HEAD_BYTES = 2**20  # where the head lies (ours; what comes before the study's UID has some hundred bytes)
_HEAD_ENDS = 0x0020000E
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_SUFFIX = ".dcm"


def head_of(content: bytes) -> dict[str, str]:
    """What routing needs of a film's header, by DICOM keyword; no patient, no date. Absent is ``""``.

    A deflated film has no head: what it inflates to is bounded only where it is read.
    """
    from pydicom.filereader import read_partial

    head = dict.fromkeys(_HEAD, "")
    if _DEFLATED not in content[:2048]:
        try:
            with quiet():
                found = read_partial(
                    io.BytesIO(content[:_HEAD_BYTES]),
                    stop_when=lambda tag, _vr, _length: tag > _HEAD_ENDS,
                    specific_tags=_TAGS,
                    force=True,
                )
                head |= {word: _plain(word, str(found.get(word) or "").strip()[:64]) for word in _HEAD}
        except FAULTS:  # a damaged film is refused, with its reason, by the worker
            pass
    return head


def _plain(word: str, value: str) -> str:
    return value if not word.endswith("UID") or UID(value).is_valid else ""


class Films:
    """Films by SOP Instance UID, and the jobs that read them.

    Args:
        folder: Where they lie.
        jobs: The table.
        spare: Bytes of the disk that stay free.
    """

    def __init__(self, folder: Path, jobs: Jobs, *, spare: int = 0) -> None:
        self._keep, self._jobs = Keep(folder, spare=spare), jobs

    def receive(self, content: bytes, uid: str, caller: str, head: Mapping[str, str]) -> bool:
        """Keep a film and add its job; both are on the disk when this returns.

        Args:
            content: A DICOM file.
            uid: Its SOP Instance UID, which must be valid.
            caller: Who sent it.
            head: See :func:`head_of`.

        Returns:
            Whether it is new. The first film of a UID stays.

        Raises:
            OutputError: It cannot be kept; nothing is left of it.
        """
        if self._jobs.find(READ, uid) is not None:
            return False
        self._keep.write(uid + _SUFFIX, content)
        return self._jobs.add(self._job(uid, caller, head))[0]

    def adopt(self) -> int:
        """Add the job of every film that has none: a process was killed between the two.

        Returns:
            How many.
        """
        self._keep.sweep()
        uids = [path.name.removesuffix(_SUFFIX) for path in self._keep.files()]
        added = 0
        for uid in set(uids) - self._jobs.known(READ, uids):
            added += sum(self._jobs.add(self._job(uid, "", head_of(self.path(uid).read_bytes()))))
        return added

    @staticmethod
    def _job(uid: str, caller: str, head: Mapping[str, str]) -> NewJob:
        # A film that names no study is one of its own.
        payload: dict[str, Any] = {"caller": caller, **head}
        return NewJob(READ, uid, payload, batch=head["StudyInstanceUID"] or uid)

    def path(self, uid: str) -> Path:
        """Where a film lies."""
        return self._keep.path(uid + _SUFFIX)

    def remove(self, uid: str) -> None:
        """Remove a film; its job is the caller's to remove, afterwards."""
        self._keep.remove(uid + _SUFFIX)

    def size(self) -> int:
        """Bytes of all films."""
        return self._keep.size()

    def free(self) -> int:
        """Bytes free on their disk."""
        return self._keep.free()

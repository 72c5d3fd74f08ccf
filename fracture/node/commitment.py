"""Storage commitment (PS3.4 J): an archive is asked to commit itself to what it took, and answers when it likes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fracture.errors import needing
from fracture.jobs import DEAD, DONE, WAITING, Job, Jobs, NewJob
from fracture.node.kinds import COMMIT
from fracture.node.logs import Audit, log

with needing("node"):
    from pydicom.dataset import Dataset
    from pydicom.uid import generate_uid
    from pynetdicom.sop_class import (  # type: ignore[attr-defined]
        StorageCommitmentPushModel,
        StorageCommitmentPushModelInstance,
    )

if TYPE_CHECKING:
    from pynetdicom.association import Association

_REQUEST = 1  # Action Type ID


def ask(association: Association, jobs: Sequence[Job]) -> int | None:
    """Ask for objects that were sent; the answer comes as an N-EVENT-REPORT, mostly on another association.

    Returns:
        The status, None where the archive did not answer.
    """
    request = Dataset()
    request.TransactionUID = generate_uid(prefix=None)
    request.ReferencedSOPSequence = [_reference(job) for job in jobs]
    model, instance = StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    status, _ = association.send_n_action(request, _REQUEST, model, instance)
    return int(status.Status) if "Status" in status else None


def _reference(job: Job) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = job.payload["sop_class"], job.key
    return item


def commitment_told(jobs: Jobs, audit: Audit, report: Dataset) -> None:
    """Take an archive's word: what it keeps is confirmed, what it lost is sent again."""
    kept = _uids(report, "ReferencedSOPSequence")
    lost = _uids(report, "FailedSOPSequence")
    kinds = sorted({kind for kind, _ in jobs.counts() if kind.startswith(f"{COMMIT}:")})
    for kind in kinds:
        for uid in kept:
            jobs.settle(kind, uid, "committed")
        for uid in lost:
            job = jobs.find(kind, uid)
            if job is not None and job.state not in (DONE, DEAD):
                send = kind.replace(COMMIT, "send", 1)
                jobs.add(NewJob(send, uid, job.payload, batch=job.batch, again=True))
    audit.write("commitment", kept=kept, lost=lost)
    log("an archive answered for what it keeps", kept=len(kept), lost=len(lost), state=WAITING if lost else DONE)


def _uids(report: Dataset, keyword: str) -> list[str]:
    return [str(item.get("ReferencedSOPInstanceUID", ""))[:64] for item in report.get(keyword) or ()]

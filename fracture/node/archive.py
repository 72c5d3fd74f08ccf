"""An archive that speaks DICOM: results out by C-STORE, films asked for by C-FIND and C-MOVE."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from fracture.errors import OutputError, needing
from fracture.jobs import Job, Jobs, Keep
from fracture.node.commitment import ask
from fracture.node.config import Config, Target
from fracture.node.dicomweb import trusting
from fracture.node.kinds import commit_kind
from fracture.node.outcome import ASKED, DELIVERED, Outcome, Unreachable

with needing("node"):
    from pydicom.dataset import Dataset
    from pynetdicom import AE
    from pynetdicom.association import Association
    from pynetdicom.presentation import build_context
    from pynetdicom.sop_class import (  # type: ignore[attr-defined]
        StorageCommitmentPushModel,
        StudyRootQueryRetrieveInformationModelFind,
        StudyRootQueryRetrieveInformationModelMove,
    )

_CONNECT, _ANSWER = 10, 60  # seconds for a connection, and for an answer (ours)
_CONTEXTS = 127  # of an association; the standard allows 128


class DicomArchive:
    """Delivers the jobs of one target on one association."""

    def __init__(self, config: Config, target: Target, results: Keep, jobs: Jobs) -> None:
        self._config, self._target, self._results, self._jobs = config, target, results, jobs

    def deliver(self, jobs: Sequence[Job]) -> Mapping[int, Outcome]:
        """Send objects, and ask for commitment to those that were sent.

        Raises:
            Unreachable: It does not answer, or no more.
        """
        # Each object in the syntax that it has: what the archive does not take is refused, and nothing is converted.
        contexts = [(job.payload["sop_class"], job.payload["syntax"]) for job in jobs]
        proposed = list(dict.fromkeys(contexts))[:_CONTEXTS]
        commits = [job for job in jobs if job.kind == commit_kind(self._target.name)]
        done: dict[int, Outcome] = {}
        with associated(self._config, self._target, [*proposed, (StorageCommitmentPushModel, "")]) as association:
            for job in jobs:
                if job not in commits and (job.payload["sop_class"], job.payload["syntax"]) in proposed:
                    done[job.id] = self._send(association, job, done)
            if commits:
                done |= self._ask(association, commits, done)
        return done

    def _send(self, association: Association, job: Job, before: Mapping[int, Outcome]) -> Outcome:
        path = self._results.path(f"{job.key}.dcm")
        if not path.exists():
            return Outcome("the file of the result is gone")
        try:
            status = association.send_c_store(path)
        except ValueError as error:  # no accepted context
            return Outcome(f"the archive takes no such object: {str(error)[:200]}")
        except (RuntimeError, AttributeError) as error:
            raise Unreachable(f"the association ended: {str(error)[:200]}", before) from error
        if "Status" not in status:
            raise Unreachable("the archive does not answer", before)
        if status.Status >> 8 == 0xA7:  # out of resources: the archive's trouble, not the object's
            raise Unreachable(f"the archive is full (0x{status.Status:04X})", before)
        success = status.Status == 0 or status.Status >> 12 == 0xB or status.Status == 0x0111
        return DELIVERED if success else Outcome(f"status 0x{status.Status:04X}")

    def _ask(self, association: Association, jobs: Sequence[Job], before: Mapping[int, Outcome]) -> dict[int, Outcome]:
        try:
            status = ask(association, jobs)
        except ValueError:
            return {job.id: Outcome("the archive knows no storage commitment") for job in jobs}
        except RuntimeError as error:
            raise Unreachable(f"the association ended: {error}", before) from error
        if status is None:
            raise Unreachable("the archive does not answer", before)
        return {job.id: ASKED if status == 0 else Outcome(f"commitment: status 0x{status:04X}") for job in jobs}


@contextlib.contextmanager
def associated(config: Config, target: Target, contexts: Sequence[tuple[str, str]]) -> Iterator[Association]:
    """An association with an archive.

    Args:
        config: Who is calling.
        target: Whom.
        contexts: SOP classes, each with a transfer syntax or ``""`` for the usual ones.

    Raises:
        Unreachable: There is none, or it was turned down.
        ConfigurationError: The certificate cannot be read.
    """
    ae = AE(ae_title=config.ae)
    ae.connection_timeout = ae.acse_timeout = _CONNECT
    ae.dimse_timeout = ae.network_timeout = _ANSWER
    wanted = [build_context(uid, syntax or None) for uid, syntax in contexts]
    trust = trusting(target)
    tls = None if trust is None else (trust, target.host)
    association = ae.associate(target.host, target.port, contexts=wanted, ae_title=target.ae, max_pdu=0, tls_args=tls)
    if not association.is_established:
        turned_down = association.is_rejected
        raise Unreachable("the archive turns us down: does it know our AE title?" if turned_down else "no connection")
    try:
        yield association
    finally:
        association.release()


def query(config: Config, target: Target, wanted: Mapping[str, str]) -> list[str]:
    """Study Instance UIDs that an archive has.

    Args:
        config, target: Who asks whom.
        wanted: Values by DICOM keyword, with ``*`` and ranges as the standard has them.

    Raises:
        OutputError: The archive does not answer.
    """
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID = "STUDY", ""
    for keyword, value in wanted.items():
        setattr(asked, keyword, value)
    found = []
    try:
        with associated(config, target, [(StudyRootQueryRetrieveInformationModelFind, "")]) as association:
            for status, one in association.send_c_find(asked, StudyRootQueryRetrieveInformationModelFind):
                if "Status" not in status or status.Status not in (0, 0xFF00, 0xFF01):
                    raise Unreachable(f"the query failed (0x{status.get('Status', 0):04X})")
                if one is not None:
                    found.append(str(one.StudyInstanceUID))
    except (Unreachable, ValueError, RuntimeError) as error:
        raise OutputError(f"{target.name} does not answer the query", got=error) from error
    return found


def retrieve(config: Config, target: Target, study: str) -> int:
    """Have an archive send a study to our own door, by C-MOVE.

    Returns:
        How many objects it says it sent.

    Raises:
        OutputError: It did not.
    """
    wanted = Dataset()
    wanted.QueryRetrieveLevel, wanted.StudyInstanceUID = "STUDY", study
    sent = 0
    try:
        with associated(config, target, [(StudyRootQueryRetrieveInformationModelMove, "")]) as association:
            for status, _ in association.send_c_move(wanted, config.ae, StudyRootQueryRetrieveInformationModelMove):
                if status.get("Status") not in (0, 0xFF00, 0xB000):
                    raise Unreachable(f"status 0x{status.get('Status', 0):04X}; does it know our AE title and port?")
                sent = int(status.get("NumberOfCompletedSuboperations") or sent)
    except (Unreachable, ValueError, RuntimeError) as error:
        raise OutputError(f"{target.name} does not send the study", got=error) from error
    return sent

"""The DICOM door: films in by C-STORE, echoes, and an archive's word that it keeps our results."""

from __future__ import annotations

import ssl
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

from fracture.errors import ConfigurationError, OutputError, needing
from fracture.jobs import Jobs
from fracture.node.commitment import commitment_told
from fracture.node.films import Films, head_of
from fracture.node.logs import Audit, log
from fracture.node.routing import taken

with needing("node"):
    from pydicom.dataset import Dataset
    from pydicom.uid import UID
    from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt
    from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]

if TYPE_CHECKING:
    from pynetdicom.dimse_primitives import C_STORE
    from pynetdicom.events import Event

    from fracture.node.config import Config

SUCCESS, FULL, BAD, UNREADABLE = 0x0000, 0xA700, 0xA900, 0xC000

_IDLE = 60  # seconds after which a silent association is closed (ours)
_DIMSE = 30  # seconds that a sender may take for a message


class Receiver:
    """Listens once :meth:`start` was called. Each association has a thread.

    Attributes:
        answers: How often each status was answered.
    """

    def __init__(self, config: Config, jobs: Jobs, films: Films, audit: Audit) -> None:
        self._config, self._jobs, self._films, self._audit = config, jobs, films, audit
        self.answers: Counter[int] = Counter()
        self._ae = AE(ae_title=config.ae)
        self._ae.maximum_pdu_size = 0  # as large as the sender likes
        self._ae.maximum_associations = 64
        self._ae.dimse_timeout, self._ae.network_timeout = _DIMSE, _IDLE
        self._ae.require_calling_aet = list(config.callers)
        self._ae.add_supported_context(Verification)
        self._ae.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
        for sop_class in taken(config):
            self._ae.add_supported_context(sop_class, ALL_TRANSFER_SYNTAXES)
        self._server: Any = None

    def start(self) -> None:
        """Open the port.

        Raises:
            ConfigurationError: It is taken, or the certificates cannot be read.
        """
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_EVENT_REPORT, self._report),
            (evt.EVT_REJECTED, self._rejected),
        ]
        address = (self._config.host, self._config.port)
        try:
            self._server = self._ae.start_server(
                address, block=False, evt_handlers=handlers, ssl_context=server_tls(self._config)
            )
        except OSError as error:
            raise ConfigurationError(
                "the DICOM port cannot be opened", got=f"{address[0]}:{address[1]}: {error.strerror}"
            ) from error

    def stop(self, patience: float = 20.0) -> None:
        """Let nobody in any more, let those who are in go on for a while, then leave."""
        if self._server is None:
            return
        self._server.shutdown()  # the port alone
        until = time.monotonic() + patience
        while self._ae.active_associations and time.monotonic() < until:
            time.sleep(0.05)
        self._ae.shutdown()
        self._server = None

    def _store(self, event: Event) -> int | Dataset:
        request = cast("C_STORE", event.request)
        uid, sop_class = str(request.AffectedSOPInstanceUID or ""), str(request.AffectedSOPClassUID or "")
        caller = event.assoc.requestor.ae_title.strip()
        status, comment = self._kept(event, uid, sop_class, caller)
        self.answers[status] += 1
        self._audit.write("received", caller=caller, uid=uid[:64], sop_class=sop_class[:64], answer=f"0x{status:04X}")
        if status == SUCCESS:
            return SUCCESS
        log("a film was refused", level=30, answer=f"0x{status:04X}", reason=comment)
        answer = Dataset()
        answer.Status, answer.ErrorComment = status, comment[:64]
        return answer

    def _kept(self, event: Event, uid: str, sop_class: str, caller: str) -> tuple[int, str]:
        if not UID(uid).is_valid:  # before it becomes a file's name
            return BAD, "the SOP Instance UID is not valid"
        content = event.encoded_dataset()
        head = head_of(content)
        if head["SOPClassUID"] not in ("", sop_class) or head["SOPInstanceUID"] not in ("", uid):
            return BAD, "the data set names another SOP class or instance"
        try:
            self._films.receive(content, uid, caller, head)
        except OutputError as error:
            log("a film cannot be kept", level=40, error=str(error.what), cause=str(error.got))
            return FULL, "out of resources: the film cannot be kept"
        return SUCCESS, ""

    def _report(self, event: Event) -> tuple[int, None]:
        commitment_told(self._jobs, self._audit, event.event_information)
        return SUCCESS, None

    def _rejected(self, event: Event) -> None:
        self._audit.write("turned away", caller=str(event.assoc.requestor.ae_title).strip())


def server_tls(config: Config) -> ssl.SSLContext | None:
    """The certificates of the door.

    Raises:
        ConfigurationError: They cannot be read.
    """
    if config.tls is None:
        return None
    files = ", ".join(str(path) for path in (config.tls.certificate, config.tls.key, config.tls.authority) if path)
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(config.tls.certificate, config.tls.key)
        if config.tls.authority is not None:
            context.load_verify_locations(config.tls.authority)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"the DICOM port's files cannot be read: {files}", got=error) from error
    return context

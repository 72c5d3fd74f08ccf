"""An archive that speaks DICOMweb: results out by STOW-RS, films asked for by QIDO-RS and WADO-RS."""

from __future__ import annotations

import io
import ssl
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fracture.errors import ConfigurationError, OutputError, needing
from fracture.jobs import Job, Keep
from fracture.node.config import Config, Target, Webhook
from fracture.node.outcome import DELIVERED, Outcome, Unreachable

with needing("node"):
    from dicomweb_client import DICOMwebClient
    from pydicom import dcmread
    from pydicom.filewriter import dcmwrite
    from requests import RequestException, Session
    from requests.exceptions import HTTPError

_ANSWER = 60  # seconds
_LATER = {401, 403, 408, 429}  # not the object's fault: credentials, time


def secret(path: Path) -> str:
    """A password or token: the text of a file, stripped.

    Raises:
        ConfigurationError: It cannot be read, or is empty.
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the secret in {path} cannot be read", got=error) from None
    if not text:
        raise ConfigurationError(f"the secret in {path} is empty")
    return text


def trusting(other: Target | Webhook) -> ssl.SSLContext | None:
    """Trust in the authority that the settings name for an archive or a webhook; None where they name none.

    Raises:
        ConfigurationError: The certificate cannot be read.
    """
    if other.tls_authority is None:
        return None
    try:
        return ssl.create_default_context(cafile=other.tls_authority)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"the certificate of {other.name} cannot be read", got=error) from error


class _Session(Session):
    """Trusts the authority of the settings; requests itself prefers what ``$REQUESTS_CA_BUNDLE`` names."""

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        chosen = self.verify if verify is None and isinstance(self.verify, str) else verify
        return super().merge_environment_settings(url, proxies, stream, chosen, cert)


def _client(target: Target) -> DICOMwebClient:
    headers = {} if target.token_file is None else {"Authorization": f"Bearer {secret(target.token_file)}"}
    session = _Session()
    if target.tls_authority is not None:
        session.verify = str(target.tls_authority)
    return DICOMwebClient(target.url or "", session=session, headers=headers, timeout=_ANSWER)


class WebArchive:
    """Delivers the jobs of one target, one object a request."""

    def __init__(self, target: Target, results: Keep) -> None:
        self._target, self._results = target, results

    def deliver(self, jobs: Sequence[Job]) -> Mapping[int, Outcome]:
        """Send objects.

        Raises:
            Unreachable: It does not answer, or no more.
        """
        client, done = _client(self._target), dict[int, Outcome]()
        for job in jobs:
            done[job.id] = self._send(client, job, done)
        return done

    def _send(self, client: DICOMwebClient, job: Job, before: Mapping[int, Outcome]) -> Outcome:
        path = self._results.path(f"{job.key}.dcm")
        if not path.exists():
            return Outcome("the file of the result is gone")
        try:
            answer = client.store_instances([dcmread(path)])
        except HTTPError as error:
            code = error.response.status_code if error.response is not None else 500
            if 400 <= code < 500 and code not in _LATER:
                return Outcome(f"HTTP {code}")
            raise Unreachable(f"HTTP {code}", before) from error
        except (RequestException, OSError) as error:
            raise Unreachable(type(error).__name__, before) from error
        # Some archives say 200 and name what they did not take.
        failed = answer.get("FailedSOPSequence") or ()
        return Outcome(f"failure reason 0x{int(failed[0].get('FailureReason', 0)):04X}") if failed else DELIVERED


def films_of(config: Config, target: Target, wanted: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """The films of the studies that an archive has, of the SOP classes that the node receives, in the syntax in which
    the archive has them: SOP Instance UID and file.

    Raises:
        OutputError: The archive does not answer.
    """
    client = _client(target)
    try:
        for study in client.search_for_studies(search_filters=dict(wanted)):
            uid = _value(study, "0020000D")
            for one in client.search_for_instances(uid):
                if _value(one, "00080016") in config.receive:
                    series, instance = _value(one, "0020000E"), _value(one, "00080018")
                    film = client.retrieve_instance(uid, series, instance, media_types=(("application/dicom", "*"),))
                    stream = io.BytesIO()
                    dcmwrite(stream, film, enforce_file_format=True)
                    yield instance, stream.getvalue()
    except (RequestException, OSError) as error:
        raise OutputError(f"{target.name} does not answer the query", got=type(error).__name__) from error


def _value(found: Mapping[str, Mapping[str, list[str]]], tag: str) -> str:
    return str((found.get(tag, {}).get("Value") or [""])[0])

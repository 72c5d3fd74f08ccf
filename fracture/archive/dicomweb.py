"""Films of an archive that speaks DICOMweb: listed by QIDO-RS, fetched by WADO-RS when their shard is read.

A film's source is its WADO-RS address, ``https://host/dicom-web/studies/1.2/series/1.2.3/instances/1.2.3.4``. A bearer
token is taken from ``$FRACTURE_DICOMWEB_TOKEN``.
"""

from __future__ import annotations

import functools
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from fracture.errors import DataError, OutputError, UnreadableFileError, needing
from fracture.io.ahead import ahead

with needing("archive", "node"):
    from dicomweb_client import DICOMwebClient
    from pydicom.filewriter import dcmwrite
    from requests import RequestException
    from requests.exceptions import HTTPError
    from retrying import RetryError

_TOKEN: Final = "FRACTURE_DICOMWEB_TOKEN"
_PAGE: Final = 500  # studies asked for at once
_ANSWER: Final = 60  # seconds
_OF_FILMS: Final = {"Modality", "BodyPartExamined", "SOPClassUID", "SeriesDescription"}
_ADDRESS: Final = re.compile(r"(https?://.+)/studies/([\d.]+)/series/([\d.]+)/instances/([\d.]+)")


def films_of_query(query: str) -> Iterator[str]:
    """The addresses of the films that a QIDO-RS query finds.

    Args:
        query: DICOMweb's root with the attributes asked for:
            ``https://host/dicom-web?StudyDate=20200101-20201231&Modality=DX``. Those of series and films (``Modality``,
            ``BodyPartExamined``, ``SeriesDescription``, ``SOPClassUID``) choose films, the others studies.

    Raises:
        DataError: The archive does not answer, or something that is no answer.
    """
    parts = urlsplit(query)
    root = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
    asked = dict(parse_qsl(parts.query))
    of_films = {key: value for key, value in asked.items() if key in _OF_FILMS}
    of_studies = {key: value for key, value in asked.items() if key not in _OF_FILMS}
    client, first = _client(root), 0
    try:
        while studies := client.search_for_studies(limit=_PAGE, offset=first, search_filters=of_studies):
            for study in (_value(one, "0020000D") for one in studies):
                for film in client.search_for_instances(study, search_filters=of_films):
                    series, instance = _value(film, "0020000E"), _value(film, "00080018")
                    yield f"{root}/studies/{study}/series/{series}/instances/{instance}"
            if len(studies) < _PAGE:
                return
            first += len(studies)
    except (RequestException, RetryError, OSError, ValueError) as error:
        raise DataError(f"{root} does not answer the query", got=f"{type(error).__name__}: {error}") from error


def fetched(sources: Iterable[str]) -> Iterator[Any]:
    """The same sources, those with an address as a file object of that name, fetched in threads a few films ahead.

    A film that the archive no longer has is a file object that cannot be read: its own failure.

    Raises:
        OutputError: The archive does not answer: nothing is said about these films, and their shard is not done.
    """
    return ahead(sources, _fetched, workers=2, depth=8)


class _Film(io.BytesIO):
    def __init__(self, name: str, content: bytes, trouble: str = "") -> None:
        super().__init__(content)
        self.name, self.trouble = name, trouble

    def read(self, size: int | None = -1, /) -> bytes:
        if self.trouble:
            raise UnreadableFileError(f"{self.name}: the archive does not give this film", got=self.trouble)
        return super().read(size)


def _fetched(source: str) -> Any:
    if (address := _ADDRESS.fullmatch(source)) is None:
        return source
    root, study, series, film = address.groups()
    try:
        found = _client(root).retrieve_instance(study, series, film, media_types=(("application/dicom", "*"),))
        stream = io.BytesIO()
        dcmwrite(stream, found, enforce_file_format=True)
        return _Film(source, stream.getvalue())
    except HTTPError as error:
        code = error.response.status_code if error.response is not None else 500
        if code in (400, 404, 406, 410):
            return _Film(source, b"", f"HTTP {code}")
        raise OutputError(f"{root} does not give its films", got=f"HTTP {code}") from error
    except (RequestException, RetryError, OSError) as error:
        raise OutputError(f"{root} does not answer", got=type(error).__name__) from error


@functools.lru_cache(maxsize=4)
def _client(root: str) -> DICOMwebClient:
    token = os.environ.get(_TOKEN)
    return DICOMwebClient(root, headers={"Authorization": f"Bearer {token}"} if token else None, timeout=_ANSWER)


def _value(found: Mapping[str, Mapping[str, list[str]]], tag: str) -> str:
    value = str((found.get(tag, {}).get("Value") or [""])[0])
    if not re.fullmatch(r"[\d.]{1,64}", value):
        raise ValueError(f"no UID at {tag}: {ascii(value)[:80]}")
    return value

"""What a node is told: ``node.toml``, checked before anything is opened."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from fracture.limb.study import Rule as StudyRule
from fracture.results.kinds import OBJECTS
from fracture.schema import STRICT, validated

SOP_CLASSES = {
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
    "DX-processing": "1.2.840.10008.5.1.4.1.1.1.1.1",
    "SC": "1.2.840.10008.5.1.4.1.1.7",
    "SC-byte": "1.2.840.10008.5.1.4.1.1.7.2",
    "SC-word": "1.2.840.10008.5.1.4.1.1.7.3",
    "RF": "1.2.840.10008.5.1.4.1.1.12.2",
}
"""Films that are received by default, by short names; any other storage class can be given by its UID."""

SLICES = {
    "CT": ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"),
    "MR": ("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"),
}
"""Classes of slices and of multi-frame files by modality, received where a wing reads their series."""


def _ae(value: str) -> str:
    if not re.fullmatch(r"[ -\[\]-~]{1,16}", value) or not value.strip():
        raise ValueError("must be 1 to 16 characters, not all blanks, and no backslash")
    return value


def _sop_class(value: str) -> str:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)+", found := SOP_CLASSES.get(value, value)):
        raise ValueError(f"must be a UID or one of {', '.join(SOP_CLASSES)}")
    return found


def _object(value: str) -> str:
    if value not in OBJECTS:
        raise ValueError(f"must be one of {', '.join(OBJECTS)}")
    return value


def _address(value: str) -> str:
    if not re.match(r"https?://[^/\s]+", value):
        raise ValueError("must be an address that begins with http:// or https://")
    return value.rstrip("/")


AE = Annotated[str, AfterValidator(_ae)]
Port = Annotated[int, Field(ge=1, le=65535)]
Address = Annotated[str, AfterValidator(_address)]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
File = Annotated[Path, Field(strict=False)]
Seconds = Annotated[float, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, **STRICT)


class Rule(_Section):
    """Which films are read by which weights; the first rule that fits a film decides. What is not given fits all.

    Attributes:
        modality, body_part, caller: Values that fit, in any case: Modality, BodyPartExamined, who sent it.
        weights: Names or folders; each reads the film. None: it is kept and not read.
    """

    modality: list[str] = []
    body_part: list[str] = []
    caller: list[str] = []
    weights: list[str] = []


class Tls(_Section):
    """Certificates of the DICOM port; with ``authority`` callers need one that it has signed."""

    certificate: File
    key: File
    authority: File | None = None


class Target(_Section):
    """An archive that takes results, by C-STORE or by STOW-RS (``url``).

    Attributes:
        name: How jobs and the log call it.
        ae, host, port: For C-STORE; also where ``pull`` asks.
        url: DICOMweb's root, instead of the three.
        commitment: Ask the archive to commit itself to what it has taken; results are kept until it did.
        tls_authority: Speak TLS, and trust certificates signed by this one; with ``url``, this one alone.
        token_file: A file whose text is sent as a bearer token; DICOMweb alone.
        results: Whether results are sent there; false for one that is only asked for films.
    """

    name: Label
    ae: AE = ""
    host: str = ""
    port: Port = 104
    url: Address | None = None
    commitment: bool = False
    tls_authority: File | None = None
    token_file: File | None = None
    results: bool = True

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.url) == bool(self.ae and self.host):
            raise ValueError("needs either ae and host, or url")
        if self.url and self.commitment:
            raise ValueError("storage commitment needs ae and host: DICOMweb's answer already confirms storage")
        return self


class Webhook(_Section):
    """Where a positive study is told.

    Attributes:
        name: How jobs and the log call it.
        url: Gets a POST with a JSON document.
        secret_file: A file whose bytes, stripped, are the key of the signature in ``X-Fracture-Signature``.
        tls_authority: Trust certificates signed by this one alone.
    """

    name: Label
    url: Address
    secret_file: File
    tls_authority: File | None = None


class Web(_Section):
    """The worklist page, ``/metrics``, ``/healthz`` and ``/readyz``.

    Attributes:
        host, port: Where; 0 for none at all.
        open_to_network: Must be said where ``host`` is not this machine's own address: the page has no password.
        show: Further columns of the worklist, by DICOM keyword, read from the films: ``["AccessionNumber"]``.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    open_to_network: bool = False
    show: list[str] = []

    @model_validator(mode="after")
    def _own(self) -> Self:
        if self.host not in ("127.0.0.1", "::1", "localhost") and not self.open_to_network:
            raise ValueError("the page has no password: say open_to_network = true, or put a proxy with one before it")
        return self


class Keeping(_Section):
    """How long films and results are kept once nothing is left to be done for them.

    Attributes:
        days: At most so long.
        gigabytes: At most so much; the oldest go first.
        spare_megabytes: Below so much free disk films are refused (0xA700).
    """

    days: Annotated[float, Field(gt=0)] = 30
    gigabytes: Annotated[float, Field(gt=0)] = 100
    spare_megabytes: Annotated[int, Field(ge=0)] = 1024


class Config(_Section):
    """A node.

    Attributes:
        data: Folder of films, results, jobs and the audit trail.
        database: URL of a PostgreSQL that several nodes share (and then ``data`` too); SQLite in ``data`` otherwise.
        ae, host, port: The DICOM door; host ``"0.0.0.0"`` opens it to the network.
        callers: AE titles that may come in; empty for all.
        receive: What is taken: names of :data:`SOP_CLASSES` or UIDs; and, unnamed, slices whose series weights read.
        tls: Of the door.
        weights: Read what no rule fits.
        rules: See :class:`Rule`.
        device, precision, engine: As of ``fracture predict``.
        objects: Kinds of DICOM objects that are made of a result.
        workers: Processes that read.
        film_seconds: A film that takes longer has hung.
        quiet_seconds: A study is judged when no film of it came in for so long.
        study_rule: How its films are fused: ``"or"``, ``"mean"``, ``"and"``, as ``predict_study`` does.
        tries, pause_seconds: Failures until a job is dead, and the first wait between them, then doubled.
        lease_seconds: How long the work of a node that vanished lies idle.
        send, webhook, http, keep: See their classes.
    """

    data: File
    database: str | None = None
    ae: AE = "FRACTURE"
    host: str = "127.0.0.1"
    port: Port = 11112
    callers: list[AE] = []
    receive: list[Annotated[str, AfterValidator(_sop_class)]] = list(SOP_CLASSES.values())
    tls: Tls | None = None
    weights: list[str] = ["fracatlas-small"]
    rules: list[Rule] = []
    device: str = "auto"
    precision: str = "auto"
    engine: str = "auto"
    objects: list[Annotated[str, AfterValidator(_object)]] = ["sr", "sc", "gsps", "ko"]
    workers: Annotated[int, Field(ge=0, le=64)] = 1
    film_seconds: Seconds = 600
    quiet_seconds: Annotated[float, Field(ge=0)] = 30
    study_rule: StudyRule = "or"
    tries: Annotated[int, Field(ge=1, le=100)] = 3
    pause_seconds: Seconds = 10
    lease_seconds: Seconds = 60
    send: list[Target] = []
    webhook: list[Webhook] = []
    http: Web = Web()
    keep: Keeping = Keeping()

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [*(one.name for one in self.send), *(one.name for one in self.webhook)]
        if len(set(names)) != len(names):
            raise ValueError(f"names of send and webhook must differ: {', '.join(names)}")
        return self

    @property
    def table(self) -> str | Path:
        """Where the jobs are."""
        return self.database or self.data / "jobs.sqlite"

    @property
    def readers(self) -> list[str]:
        """All weights that are named."""
        return sorted({*self.weights, *(name for rule in self.rules for name in rule.weights)})

    @property
    def targets(self) -> list[Target]:
        """Archives that take results."""
        return [target for target in self.send if target.results]

    @property
    def receivers(self) -> list[str]:
        """Names of all that something is sent to."""
        return [*(one.name for one in self.targets), *(one.name for one in self.webhook)]

    @classmethod
    def of(cls, values: object, source: str) -> Self:
        """From plain values.

        Raises:
            ConfigurationError: An unknown key, or a wrong value; all of them are named.
        """
        return validated(cls, values, f"{source} does not describe a node")

"""The worklist page, metrics and health, by a small server of the standard library that only answers GET."""

from __future__ import annotations

import contextlib
import html
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from socketserver import ThreadingMixIn
from threading import Thread
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from fracture.errors import ConfigurationError, FractureError, needing
from fracture.io.quiet import FAULTS, quiet
from fracture.jobs import DEAD, DONE, Job, Jobs
from fracture.node.films import Films
from fracture.node.kinds import READ, STUDY
from fracture.wing.scene import NOTE

with needing("node"):
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.exposition import CONTENT_TYPE_LATEST
    from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from fracture.node.config import Config
    from fracture.node.family import Child

_MOST = 500  # studies of the worklist
_HEADERS = [
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
]
_STYLE = (
    "body{font:16px sans-serif;margin:2em;background:#111;color:#ddd}table{border-collapse:collapse}"
    "td,th{padding:.3em 1em;text-align:left;border-bottom:1px solid #444}.yes{font-weight:bold;color:#ffb454}"
)


class Page(Collector):
    """What a node shows of itself."""

    def __init__(
        self, config: Config, jobs: Jobs, films: Films, answers: Counter[int], children: Sequence[Child]
    ) -> None:
        self._config, self._jobs, self._films, self._answers, self._children = config, jobs, films, answers, children
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._paths: dict[str, Callable[[], tuple[int, str, bytes]]] = {
            "/": self._worklist,
            "/metrics": lambda: (200, CONTENT_TYPE_LATEST, generate_latest(self._registry)),
            "/healthz": lambda: (200, "text/plain", b"ok\n"),
            "/readyz": self._ready,
            "/worklist.json": lambda: (200, "application/json", json.dumps(self._studies()).encode()),
        }

    @contextlib.contextmanager
    def open(self) -> Iterator[int]:
        """Serve while the block runs; gives the port.

        Raises:
            ConfigurationError: It is taken.
        """
        host, port = self._config.http.host, self._config.http.port
        if port == 0:
            yield 0
            return
        try:
            server = make_server(host, port, self.answer, server_class=_Server, handler_class=_Silent)
        except OSError as error:
            raise ConfigurationError("the port of the page cannot be opened", got=f"{host}:{port}: {error}") from error
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()

    def answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """The WSGI application."""
        path = self._paths.get(environ.get("PATH_INFO") or "/")
        try:
            if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
                status, kind, body = 405, "text/plain", b"only GET\n"
            elif path is None:
                status, kind, body = 404, "text/plain", b"not here\n"
            else:
                status, kind, body = path()
        except FractureError as error:
            status, kind, body = 503, "text/plain", f"{error}\n".encode()
        words = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}
        start(f"{status} {words[status]}", [("Content-Type", kind), ("Content-Length", str(len(body))), *_HEADERS])
        return [body if environ["REQUEST_METHOD"] != "HEAD" else b""]

    def _ready(self) -> tuple[int, str, bytes]:
        counts = self._jobs.counts()
        faults = [f"the {child.role} {child.name} is not ready".strip() for child in self._children if not child.ready]
        if self._films.free() < self._config.keep.spare_megabytes * 2**20:
            faults.append("the disk is too full to take films")
        told = {"ready": not faults, "faults": faults, "dead": sum(n for (_, s), n in counts.items() if s == DEAD)}
        return (503 if faults else 200), "application/json", json.dumps(told).encode()

    def collect(self) -> Iterator[Metric]:
        """Of the table as it is now, so that several processes and nodes say the same."""
        jobs = GaugeMetricFamily("fracture_jobs", "Jobs by kind and state", labels=["kind", "state"])
        for (kind, state), count in self._jobs.counts().items():
            jobs.add_metric([kind, state], count)
        oldest = GaugeMetricFamily("fracture_oldest_due_seconds", "How long the oldest due job waits", labels=["kind"])
        for kind, seconds in self._jobs.oldest().items():
            oldest.add_metric([kind], seconds)
        answers = CounterMetricFamily("fracture_received", "C-STORE answers by status", labels=["status"])
        for status, count in list(self._answers.items()):
            answers.add_metric([f"0x{status:04X}"], count)
        ready = GaugeMetricFamily(
            "fracture_process_ready", "Whether a process works", labels=["role", "name", "number"]
        )
        restarts = CounterMetricFamily(
            "fracture_process_restarts", "Processes that died", labels=["role", "name", "number"]
        )
        for number, child in enumerate(self._children):
            ready.add_metric([child.role, child.name, str(number)], child.ready)
            restarts.add_metric([child.role, child.name, str(number)], child.restarts)
        free = GaugeMetricFamily("fracture_disk_free_bytes", "Free on the disk of the films", self._films.free())
        yield from (jobs, oldest, answers, ready, restarts, free)

    def _studies(self) -> list[dict[str, Any]]:
        """Judged studies, the most suspicious first."""
        judged = self._jobs.listing(kinds=[STUDY], states=[DONE], limit=_MOST)
        found = [job for job in judged if job.result and job.result["suspicion"] is not None]
        found.sort(key=lambda job: (-job.result["suspicion"], job.changed))
        return [self._study(job) for job in found]

    def _study(self, job: Job) -> dict[str, Any]:
        told = {key: job.result[key] for key in ("suspicion", "films", "failed", "weights")}
        judged = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.changed))
        return {
            **self._shown(job),
            "study": job.key,
            "positive": bool(job.result["positive"]),
            "judged": judged,
            **told,
        }

    def _shown(self, job: Job) -> dict[str, str]:
        """What the configuration asks for, of the study's first film; empty where it is not kept any more."""
        words = self._config.http.show
        first = self._jobs.listing(kinds=[READ], batch=job.key, newest=False, limit=1) if words else []
        for film in first:
            from pydicom import dcmread

            with contextlib.suppress(OSError, *FAULTS), quiet():
                header = dcmread(self._films.path(film.key), stop_before_pixels=True, specific_tags=list(words))
                return {word: str(header.get(word) or "") for word in words}
        return dict.fromkeys(words, "")

    def _worklist(self) -> tuple[int, str, bytes]:
        words = self._config.http.show
        head = ["Suspicion", "", *words, "Study", "Films", "Judged", "Weights"]
        rows = []
        for one in self._studies():
            failed = f" ({one['failed']} failed)" if one["failed"] else ""
            verdict = '<td class="yes">finding</td>' if one["positive"] else "<td>no finding</td>"
            cells = [*(one[word] for word in words), one["study"], f"{one['films']}{failed}", one["judged"]]
            cells.append(", ".join(one["weights"]))
            plain = "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells)
            rows.append(f"<tr><td>{one['suspicion']:.2f}</td>{verdict}{plain}</tr>")
        heads = "".join(f'<th scope="col">{html.escape(word)}</th>' for word in head)
        body = (
            f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
            if rows
            else "<p>None yet.</p>"
        )
        text = (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Worklist</title><style>{_STYLE}</style>'
            f"<h1>Studies by suspicion</h1><p>0.5 is the threshold. {html.escape(NOTE)}</p>{body}</html>"
        )
        return 200, "text/html; charset=utf-8", text.encode()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    timeout = 30  # seconds that a caller may take for its request

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

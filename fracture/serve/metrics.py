"""What Prometheus is told; nothing in it tells of a film or a person."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

from fracture.errors import needing

with needing("serve"):
    from prometheus_client import CollectorRegistry, Counter, Histogram
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

if TYPE_CHECKING:
    from fastapi import Request, Response
    from prometheus_client.metrics_core import Metric

    from fracture.jobs import Jobs
    from fracture.serve.crew import Crew


class Metrics:
    """Requests by route and status, and how the jobs and the worker stand.

    Args:
        jobs: The table.
        crew: Of the worker.
    """

    def __init__(self, jobs: Jobs, crew: Crew) -> None:
        self._jobs, self._crew = jobs, crew
        self._registry = CollectorRegistry()
        labels = ["method", "route", "status"]
        self._requests = Counter("fracture_requests", "Requests", labels, registry=self._registry)
        self._seconds = Histogram("fracture_request_seconds", "Time to the answer", ["route"], registry=self._registry)
        self._registry.register(self)  # it collects

    async def count(self, request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        """Count one request."""
        start = time.perf_counter()
        response = await call_next(request)
        route = getattr(request.scope.get("route"), "path", "none")  # never the path itself: it holds a number
        self._requests.labels(request.method, route, response.status_code).inc()
        self._seconds.labels(route).observe(time.perf_counter() - start)
        return response

    def collect(self) -> Iterator[Metric]:
        """What is counted when it is asked for."""
        jobs = GaugeMetricFamily("fracture_jobs", "Jobs by kind and state", labels=["kind", "state"])
        for labels, count in self._jobs.counts().items():
            jobs.add_metric(labels, count)
        yield jobs
        oldest = GaugeMetricFamily("fracture_oldest_job_seconds", "How long the oldest job waits", labels=["kind"])
        for kind, seconds in self._jobs.oldest().items():
            oldest.add_metric([kind], seconds)
        yield oldest
        yield GaugeMetricFamily("fracture_ready", "1 where films can be read", value=self._crew.about is not None)
        yield GaugeMetricFamily(
            "fracture_worker_restarts", "Workers that had to be replaced", value=self._crew.restarts
        )

    def text(self) -> tuple[bytes, str]:
        """All of it in Prometheus' format, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

"""Tells a webhook of a positive study, signed so that it can be believed."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from fracture.jobs import Job
from fracture.node.config import Webhook
from fracture.node.dicomweb import secret, trusting
from fracture.node.outcome import DELIVERED, Outcome, Unreachable

_ANSWER = 10  # seconds
_LATER = {401, 403, 408, 429}


def signature(key: str, when: str, body: bytes) -> str:
    """What ``X-Fracture-Signature`` says: HMAC-SHA256 of ``<X-Fracture-Time>.<body>`` as ``sha256=<hexadecimal>``.

    The receiver makes it anew, compares, and turns away what is older than it likes.
    """
    return "sha256=" + hmac.new(key.encode(), when.encode() + b"." + body, hashlib.sha256).hexdigest()


class Hook:
    """Delivers the events of one webhook. Redirections are not followed."""

    def __init__(self, webhook: Webhook) -> None:
        self._webhook = webhook
        trust = urllib.request.HTTPSHandler(context=trusting(webhook))  # None: the machine's authorities
        self._open = urllib.request.build_opener(_Stay, trust).open

    def deliver(self, jobs: Sequence[Job]) -> Mapping[int, Outcome]:
        """Send events.

        Raises:
            Unreachable: It does not answer, or no more.
        """
        done: dict[int, Outcome] = {}
        for job in jobs:
            done[job.id] = self._send(job, done)
        return done

    def _send(self, job: Job, before: Mapping[int, Outcome]) -> Outcome:
        body = json.dumps({"id": job.key, **job.payload}, allow_nan=False).encode()
        when = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "X-Fracture-Time": when,
            "X-Fracture-Signature": signature(secret(self._webhook.secret_file), when, body),
        }
        request = urllib.request.Request(self._webhook.url, body, headers, method="POST")
        try:
            with self._open(request, timeout=_ANSWER):
                return DELIVERED
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in _LATER:
                return Outcome(f"HTTP {error.code}")
            raise Unreachable(f"HTTP {error.code}", before) from error
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "reason", error)  # an URLError holds what it was: a wrong certificate, no connection
            raise Unreachable(type(why if isinstance(why, Exception) else error).__name__, before) from error


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None

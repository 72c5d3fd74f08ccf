"""Who may ask, from where, and how often; what every answer forbids a browser to do."""

from __future__ import annotations

import hmac
import json
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fracture.errors import needing
from fracture.serve.settings import Settings

with needing("serve"):
    from starlette.datastructures import Headers, MutableHeaders

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
_LOCAL = {"127.0.0.1", "localhost", "[::1]"}
_CLIENTS = 10_000  # whose rate is remembered; the one not seen for longest is forgotten


def problem(type: str, what: str, **more: Any) -> dict[str, Any]:  # noqa: A002 - as the body names it
    """The body of an answer that is none, as ``answers.Problem``."""
    fault = {"type": type, "what": what, "got": None, "allowed": [], "hint": None, **more}
    said = [what, *([f"got {fault['got']}"] if fault["got"] else []), *([fault["hint"]] if fault["hint"] else [])]
    return {"error": {**fault, "message": "; ".join(said)}}


class Rate:
    """So many a minute for each client: a bucket that fills evenly.

    Args:
        a_minute: On average, and at once.
        clock: Seconds that only grow.
    """

    def __init__(self, a_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = a_minute, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str, count: int = 1) -> float:
        """Take ``count``: 0 where they were there, else the seconds until they will be; then nothing is taken."""
        now = self._clock()
        left, then = self._left.pop(client, (float(self._most), now))
        left = min(self._most, left + (now - then) * self._most / 60)
        wanted = min(count, self._most)  # more than fits at once is given from a full bucket
        lacking = wanted - left
        self._left[client] = (left if lacking > 0 else left - wanted, now)
        while len(self._left) > _CLIENTS:
            self._left.popitem(last=False)
        return max(0.0, lacking * 60 / self._most)


class Guard:
    """ASGI middleware: refuses what may not come in, and gives every answer its headers.

    - The API and the metrics need the token, where there is one.
    - Without a token the server is this machine's alone: a request that names another host is a trick (DNS rebinding).
    - A request that changes something must not come from another site's page.
    - Every POST counts against the client's rate.
    """

    def __init__(self, app: ASGIApp, settings: Settings, rate: Rate) -> None:
        self._app, self._settings, self._rate = app, settings, rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if (refused := self._refused(scope, Headers(scope=scope))) is None:
            await self._app(scope, receive, with_headers)
            return
        status, body, more = refused
        content = json.dumps(body).encode()
        head = {"content-type": "application/json", "content-length": str(len(content)), **more}
        if status >= 400 and scope["method"] not in ("GET", "HEAD"):
            head["connection"] = "close"  # the body that was not read
        raw = [(name.encode(), value.encode()) for name, value in head.items()]
        await with_headers({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": content})

    def _refused(self, scope: Scope, headers: Headers) -> tuple[int, dict[str, Any], dict[str, str]] | None:
        host = headers.get("host", "")
        if self._settings.token is None and re.sub(r":\d+$", "", host) not in {*_LOCAL, self._settings.host}:
            return 421, problem("Misdirected", "this server answers this machine only", got=host[:80]), {}
        unsafe = scope["method"] not in ("GET", "HEAD", "OPTIONS")
        if unsafe and (origin := headers.get("origin")) is not None and origin.partition("://")[2] != host:
            hint = "a proxy before this server must pass the Host header on"
            return (
                403,
                problem("Forbidden", "a page of another site may not send requests", got=origin[:80], hint=hint),
                {},
            )
        path = scope["path"]
        if (path.startswith("/v1/") or path == "/metrics") and not self._allowed(headers):
            hint = "send the header 'Authorization: Bearer TOKEN'"
            return 401, problem("Unauthorized", "the server needs its token", hint=hint), {"www-authenticate": "Bearer"}
        if unsafe and (seconds := self._rate.wait(client_of(scope))):
            return too_many("too many requests", seconds)
        return None

    def _allowed(self, headers: Headers) -> bool:
        if self._settings.token is None:
            return True
        kind, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip().encode("utf-8", "surrogateescape")
        return kind.lower() == "bearer" and hmac.compare_digest(given, self._settings.token.encode())


def client_of(scope: Scope) -> str:
    """Whose rate a request counts against: an address."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def too_many(what: str, seconds: float) -> tuple[int, dict[str, Any], dict[str, str]]:
    """An answer of 429: status, body, headers."""
    whole = str(max(1, round(seconds + 0.5)))
    return 429, problem("TooMany", what, hint=f"try again in {whole} s"), {"retry-after": whole}

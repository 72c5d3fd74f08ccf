"""``fracture node --check``: everything that can be found wrong before the node runs."""

from __future__ import annotations

from collections.abc import Iterator

from fracture.node.config import Config
from fracture.node.dicomweb import secret, trusting
from fracture.node.receiver import server_tls
from fracture.results.kinds import require_highdicom
from fracture.wing.contract import find_wing


def examine(config: Config) -> Iterator[str]:
    """One line for each thing that was found well. Nothing is called, written or listened to.

    Raises:
        FractureError: The first thing that is not.
    """
    opened = "" if config.host in ("127.0.0.1", "::1", "localhost") else ", open to the network"
    opened += ", TLS" if server_tls(config) else ""
    callers = ", ".join(config.callers) or "every AE title"
    yield f"door: {config.ae} at {config.host}:{config.port}{opened}, for {callers}"
    require_highdicom()
    for name in config.readers:
        wing, folder = find_wing(name)
        what = f", which reads series of {' and '.join(wing.series)}" if wing.series else ""
        yield f"weights {name}: {wing.store.card.read(folder).label} of the wing {wing.name}{what}"
    for target in config.send:
        trusting(target)
        if target.token_file is not None:
            secret(target.token_file)
        where = target.url or f"{target.ae} at {target.host}:{target.port}"
        yield f"archive {target.name}: {where}{', storage commitment' if target.commitment else ''}"
    for hook in config.webhook:
        secret(hook.secret_file)
        trusting(hook)
        yield f"webhook {hook.name}: {hook.url}"
    yield f"page: {config.http.host}:{config.http.port}" if config.http.port else "no page"
    yield f"jobs in {'SQLite' if config.database is None else 'PostgreSQL'}, everything else in {config.data}"

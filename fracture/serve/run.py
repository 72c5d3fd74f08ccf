"""The server as a process: a socket, uvicorn, and an orderly end."""

from __future__ import annotations

import socket
import sys
from contextlib import nullcontext

from fracture.atomic import hold
from fracture.errors import ConfigurationError, needing
from fracture.serve.app import create_app
from fracture.serve.readings import open_weights
from fracture.serve.settings import Settings
from fracture.serve.worker import Load
from fracture.wing.contract import find_wing

with needing("serve"):
    import uvicorn


def run(settings: Settings, load: Load = open_weights) -> None:
    """Serve until SIGINT or SIGTERM; what is being read is finished, what waits goes on at the next start.

    Raises:
        WeightsError: No such weights; said before anything is opened.
        ConfigurationError: The address is taken.
        OutputError: Another server has the folder, and they share no database.
    """
    if load is open_weights:
        for name in settings.weights:
            wing, folder = find_wing(name)
            wing.store.card.read(folder)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    lock = hold(settings.data / "serve.lock", f"the data of a server in {settings.data}")
    with nullcontext() if settings.database else lock, socket.socket(family) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((settings.host, settings.port))
        except OSError as error:
            raise ConfigurationError(
                "the address cannot be listened on",
                got=f"{settings.host}:{settings.port}: {error.strerror}",
                hint="another server may run there; give --port",
            ) from error
        listening.listen(128)  # who comes before the server is up waits
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        sys.stderr.write(f"fracture: http://{host}:{listening.getsockname()[1]}/ (Ctrl-C ends it)\n")
        sys.stderr.flush()
        config = uvicorn.Config(
            create_app(settings, load),
            access_log=False,  # names no one
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=20,
        )
        uvicorn.Server(config).run(sockets=[listening])

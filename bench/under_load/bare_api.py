"""A bare starlette handler, which `check_api.py` asks as it asks the product: `python -m bench.under_load.bare_api PORT PROCESSES`.

It reads the body of a check and answers with a stamp that it has ready, on the product's own HTTP server, uvicorn with
httptools and uvloop. What it costs is what any service in Python pays to be asked.
"""

import os
import socket
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_STAMP = (
    b'{"verdict":"allowed","reason":"clear","number":"+33612345678","index":1234567,"rules":"fr@51466c",'
    b'"at":"2026-11-24T12:00:00.123Z","until":"2026-12-24"}'
)


async def _check(request: Request) -> Response:
    await request.body()
    return Response(_STAMP, media_type="application/json")


def serve(port: int) -> None:
    """Serve until a signal."""
    app = Starlette(routes=[Route("/v1/check", _check, methods=["POST"])])
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind(("127.0.0.1", port))
        config = uvicorn.Config(
            app, http="httptools", loop="uvloop", ws="none", lifespan="off", access_log=False, log_config=None
        )
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    _, listen_port, processes = sys.argv
    for _ in range(int(processes) - 1):
        if not os.fork():
            break
    serve(int(listen_port))

"""What the relay is measured against: an aiohttp handler that verifies and answers, and one that only answers.

The same loop and the same settings as the relay's public side (relay/server.py, relay/listening.py), and nothing else:
no deadlines, no limits, no routes, no store. `python -m bench.floor PORT [KEY.pem]`; without a key nothing is verified.
"""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

_ANSWER = b'{"status":"accepted","id":"01931b2e-7f00-7000-8000-000000000001"}'
_PADDING, _HASH = padding.PKCS1v15(), hashes.SHA256()


def _answer() -> web.Response:
    return web.Response(body=_ANSWER, content_type="application/json")


async def bare(request: web.BaseRequest) -> web.StreamResponse:
    """Read the body and answer."""
    await request.read()
    return _answer()


class Verifying:
    """Reads the body, verifies its signature, and answers."""

    def __init__(self, pem: bytes) -> None:
        key = load_pem_public_key(pem)
        if not isinstance(key, rsa.RSAPublicKey):
            raise TypeError("Dyte signs with RSA")
        self._key = key

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        body = await request.read()
        try:
            signature = base64.b64decode(request.headers["dyte-signature"], validate=True)
            self._key.verify(signature, body, _PADDING, _HASH)
        except (KeyError, ValueError, InvalidSignature):
            return web.Response(status=401)
        return _answer()


async def serve(port: int, key: Path | None) -> None:
    """Serve until the process is ended."""
    await listen(port, bare if key is None else Verifying(await asyncio.to_thread(key.read_bytes)))


async def listen(port: int, handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
    """Let this answer requests, until the process is ended."""
    server = web.Server(handle, access_log=None, auto_decompress=False, keepalive_timeout=15.0, lingering_time=1.0)
    runner = web.ServerRunner(server)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None))

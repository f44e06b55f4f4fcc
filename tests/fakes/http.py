"""An HTTP service on loopback that does what it is told: answer, redirect, hang, reset, drip, or never end.

It takes every method and path, records each request, and can speak TLS with a certificate that nobody trusts.
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from multidict import CIMultiDictProxy

from tests.ports import free_port

WAIT = 30.0
"""Seconds that a test waits for something to happen before it fails."""


@dataclass(frozen=True)
class Answer:
    """Answer with exactly this."""

    status: int = 204
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hang:
    """Take the request and never answer."""


@dataclass(frozen=True)
class Reset:
    """Take the request and break the connection."""


@dataclass(frozen=True)
class Endless:
    """Answer with this status and a body that goes on, as fast as it is read."""

    status: int = 200


@dataclass(frozen=True)
class SlowBody:
    """Answer with this status and half a body; the rest never comes."""

    status: int = 200


Step: TypeAlias = Answer | Hang | Reset | Endless | SlowBody


@dataclass(frozen=True)
class Request:
    """One request, as it came."""

    method: str
    path: str
    headers: CIMultiDictProxy[str]
    body: bytes
    connection: tuple[str, int]
    """The client's address: two requests of the same one came over one connection."""


class FakeHttp:
    """An async context manager that listens at `url`. `stop` and `start` take it down and up on the same port."""

    def __init__(
        self, *, default: Step | None = None, tls: bool | ssl.SSLContext = False, host: str = "127.0.0.1"
    ) -> None:
        self.default: Step = default or Answer()
        self.requests: list[Request] = []
        self.connections = 0
        """Requests whose connection had carried none before."""
        self.written = 0
        """Bytes of endless bodies that were sent."""
        self.tls = tls
        """Its context; True for a certificate that nobody trusts. Takes effect at the next start."""
        self._host = host
        self._port = 0
        self._script: deque[Step] = deque()
        self._came = asyncio.Condition()
        self._released = asyncio.Event()
        self._runner: web.AppRunner | None = None

    def will(self, *steps: Step) -> Self:
        """Script the next answers, one per request; after them comes `default` again."""
        self._script.extend(steps)
        return self

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self._host}:{self._port}"

    async def wait_for(self, count: int, *, timeout: float = WAIT) -> list[Request]:
        """Return the requests as soon as there are so many."""
        async with asyncio.timeout(timeout), self._came:
            await self._came.wait_for(lambda: len(self.requests) >= count)
        return self.requests

    async def start(self) -> None:
        application = web.Application(client_max_size=8 * 1024 * 1024)
        application.router.add_route("*", "/{path:.*}", self._take)
        self._released.clear()
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5, auto_decompress=False)
        await self._runner.setup()
        context = untrusted_tls() if self.tls is True else self.tls or None
        self._port = self._port or free_port()
        await web.TCPSite(self._runner, self._host, self._port, ssl_context=context).start()

    async def stop(self) -> None:
        self._released.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        assert request.transport is not None
        connection = request.transport.get_extra_info("peername")[:2]
        self.connections += all(known.connection != connection for known in self.requests)
        async with self._came:
            self.requests.append(
                Request(
                    method=request.method,
                    path=request.raw_path,
                    headers=request.headers,
                    body=body,
                    connection=connection,
                )
            )
            step = self._script.popleft() if self._script else self.default
            self._came.notify_all()
        return await self._act(step, request)

    async def _act(self, step: Step, request: web.Request) -> web.StreamResponse:
        match step:
            case Answer():
                return web.Response(status=step.status, body=step.body, headers=step.headers)
            case Reset():
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            case Endless():
                return await self._pour(request, step.status)
            case SlowBody():
                response = web.StreamResponse(status=step.status, headers={"content-length": "2"})
                await response.prepare(request)
                await response.write(b"{")
                await self._released.wait()
                return response
            case Hang():
                await self._released.wait()
                return web.Response(status=500)

    async def _pour(self, request: web.Request, status: int) -> web.StreamResponse:
        response = web.StreamResponse(status=status)
        await response.prepare(request)
        for _ in range(4096):  # 64 MiB: far more than anybody should read, and not for ever
            await response.write(b"o" * 16_384)
            self.written += 16_384
        return response


def untrusted_tls() -> ssl.SSLContext:
    """A server's TLS context with a fresh self-signed certificate for localhost and 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "both.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
        context.load_cert_chain(file)
    return context

"""The two servers: how long their clients may take, how they begin to listen, and how they end."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

from aiohttp import web

from relay.admin import Admin
from relay.config import Address, parse_address
from relay.errors import StartError
from relay.gateway import Gateway
from relay.gateway.answers import SERVER_NAME
from relay.gateway.options import GatewayOptions
from relay.server import Limits, Server
from relay.telemetry import Telemetry

_FINISH_ANSWERS = 3.0
"""No request outlives the gateway's hard end of 2.5 s."""
_BACKLOG = 1024
_KEEP_ALIVE = 15.0
_LINGER = 1.0
_HEADER_TIME = 2.0
_ANSWER_TIME = 3.0
"""The sender has given up by then."""


def public_runner(gateway: Gateway, options: GatewayOptions, telemetry: Telemetry) -> web.ServerRunner:
    """The public side's server."""
    limits = Limits(
        connections=options.max_connections,
        header_seconds=_HEADER_TIME,
        idle_seconds=_KEEP_ALIVE,
        answer_seconds=_ANSWER_TIME,
        linger_seconds=_LINGER,
    )
    server = Server(gateway.handle, name=SERVER_NAME, max_body=options.max_body, limits=limits, watcher=telemetry)
    return web.ServerRunner(server, shutdown_timeout=_FINISH_ANSWERS)


def private_runner(admin: Admin) -> web.AppRunner:
    """The private side's server."""
    return web.AppRunner(
        admin.application(), access_log=None, keepalive_timeout=_KEEP_ALIVE, shutdown_timeout=_FINISH_ANSWERS
    )


async def listen(
    runner: web.BaseRunner,
    part: str,
    where: str,
    *,
    until: AsyncExitStack,
    idle: Callable[[], Awaitable[None]] | None = None,
    beside_others: bool = False,
) -> Address:
    """Begin to listen, and end it with the stack; where it listens.

    With `idle`, what is at work when the end comes is waited for. `part` names the side in relay.yaml. `beside_others`
    listens where other processes do, too; the system gives each of them its part of the connections.

    Raises:
        StartError: it cannot listen there; the message says why.
    """
    address = parse_address(where)
    await runner.setup()
    until.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(
            runner, address.host, address.port, backlog=_BACKLOG, reuse_port=beside_others or None
        ).start()
    except OSError as error:
        raise StartError(_cannot_listen(part, where, error)) from error
    if idle is not None:
        until.push_async_callback(_finish, runner, idle)
    return Address(host=address.host, port=runner.addresses[0][1])


async def reserve(part: str, where: str, *, until: AsyncExitStack) -> Address:
    """See to it that several processes of ours, and nobody else, can listen there; where that is, with a port that is
    no longer 0. Nothing is listened to yet.

    Raises:
        StartError: that is not possible; the message says why.
    """
    address = parse_address(where)
    port = address.port
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            address.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, *_, target in dict.fromkeys(found):
            host, _, *rest = target
            if port:
                _bound(family, (host, port, *rest), alone=True).close()  # who listens there already does not share
            holder = _bound(family, (host, port, *rest), alone=False)
            until.callback(holder.close)
            port = holder.getsockname()[1]
    except OSError as error:
        raise StartError(_cannot_listen(part, where, error)) from error
    return Address(host=address.host, port=port)


def _bound(family: int, target: tuple[Any, ...], *, alone: bool) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR if alone else socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(target)
    except OSError:
        bound.close()
        raise
    return bound


def _cannot_listen(part: str, where: str, error: OSError) -> str:
    return f"{part}.listen: cannot listen on {where}: {_problem(error)}"


async def _finish(runner: web.BaseRunner, idle: Callable[[], Awaitable[None]]) -> None:
    """Take nobody in any more, and answer who is here: aiohttp's own shutdown throws away what is left of a body."""
    for site in list(runner.sites):
        await site.stop()
    with suppress(TimeoutError):
        async with asyncio.timeout(_FINISH_ANSWERS):
            await idle()


def _problem(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "the port is in use; stop the other program, or choose another port"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address"
        case errno.EACCES:
            return "not allowed; take a port above 1023"
        case _:
            return error.strerror or type(error).__name__

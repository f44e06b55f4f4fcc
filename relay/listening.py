"""The two servers: how long their clients may take, how they begin to listen, and how they end."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

from aiohttp import web

from relay.admin import Admin
from relay.config import Address, parse_address
from relay.errors import StartError
from relay.gateway import SERVER_NAME, Gateway, GatewayOptions
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
    sockets: Sequence[socket.socket] = (),
) -> Address:
    """Begin to listen, and end it with the stack; where it listens.

    With `idle`, what is at work when the end comes is waited for. `part` names the side in relay.yaml. With `sockets`,
    which somebody has opened there, these are used.

    Raises:
        StartError: it cannot listen there; the message says why.
    """
    address = parse_address(where)
    await runner.setup()
    until.push_async_callback(runner.cleanup)
    sites: Sequence[web.BaseSite] = [web.SockSite(runner, each, backlog=_BACKLOG) for each in sockets]
    try:
        for site in sites or [web.TCPSite(runner, address.host, address.port, backlog=_BACKLOG)]:
            await site.start()
    except OSError as error:
        raise StartError(_cannot_listen(part, where, error)) from error
    if idle is not None:
        until.push_async_callback(_finish, runner, idle)
    return Address(host=address.host, port=runner.addresses[0][1])


async def open_sockets(part: str, where: str) -> list[socket.socket]:
    """Open what several processes are to listen on together: one socket for each address of the host.

    Raises:
        StartError: that is not possible; the message says why.
    """
    address, opened = parse_address(where), list[socket.socket]()
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, *_, target in dict.fromkeys(found):
            opened.append(_bound(family, target))
    except OSError as error:
        for each in opened:
            each.close()
        raise StartError(_cannot_listen(part, where, error)) from error
    return opened


def _bound(family: int, target: tuple[Any, ...]) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(target)
        opened.listen(_BACKLOG)  # two may bind to one address, but only one can listen
        opened.setblocking(False)  # noqa: FBT003 - the name of the method says what it is
    except OSError:
        opened.close()
        raise
    return opened


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

"""Opening connections: settings on which the promise rests, and what errors mean."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TypeAlias

from asyncpg import exceptions

from relay.errors import StartError, StoreError, StoreUnavailable, StoreUnusable
from relay.stores.postgres import dialing, texts
from relay.stores.postgres.server import Server

Connection: TypeAlias = dialing.Connection

APPLICATION = "dyte-relay"
CONNECT_SECONDS = 2.0
"""How long a connection may take to come about; with a statement it stays about within the gateway's hard end."""
WRITING_MS, READING_MS = 2_000, 30_000
"""How long a statement may take."""
_LOCK_MS = 1_500
_IDLE_MS = 5_000
_OUTAGE = (
    OSError,
    TimeoutError,
    EOFError,
    exceptions.PostgresConnectionError,
    exceptions.InterfaceError,
    exceptions.InternalClientError,
    exceptions.AdminShutdownError,
    exceptions.CrashShutdownError,
    exceptions.CannotConnectNowError,
    exceptions.ReadOnlySQLTransactionError,
    exceptions.IdleInTransactionSessionTimeoutError,
)
"""The connection is of no use any more: another one may be."""
_BUSY = (
    exceptions.QueryCanceledError,
    exceptions.LockNotAvailableError,
    exceptions.DeadlockDetectedError,
    exceptions.SerializationError,
    exceptions.OutOfMemoryError,
)
_NO_ENTRY = (
    exceptions.TooManyConnectionsError,
    exceptions.InvalidAuthorizationSpecificationError,
    exceptions.InvalidCatalogNameError,
)
"""No connection comes about; those that there are may be as good as ever."""
_IO = (exceptions.PostgresIOError, exceptions.DataCorruptedError, exceptions.IndexCorruptedError)
_GAVE_WAY = (exceptions.LockNotAvailableError, exceptions.DeadlockDetectedError)
_KEPT = "a transaction of somebody else keeps its tables: find it in pg_stat_activity, end it, and start again"
_AWAY = "is PostgreSQL running there, and can it be reached from here?"
TROUBLE = (exceptions.PostgresError, exceptions.InterfaceError, exceptions.InternalClientError, OSError, EOFError)
"""All that asyncpg raises."""


# What people ask differs much from one time to the next, and a plan that is made for all of it is bad for some.
_READING = {"default_transaction_read_only": "on", "plan_cache_mode": "force_custom_plan"}


def settings(statement_ms: int, *, reads: bool = False) -> dict[str, str]:
    """What each session keeps. The server's own limits are for all that use it, and may be any."""
    return (_READING if reads else {}) | {
        "default_transaction_isolation": "read committed",
        "statement_timeout": str(statement_ms),
        "lock_timeout": str(_LOCK_MS),
        "idle_in_transaction_session_timeout": str(_IDLE_MS),
        "jit": "off",
    }


# What is acknowledged survives the server's crash, whatever its default is; where it is stronger, it stays so.
_DURABLY = """
SELECT set_config('synchronous_commit',
                  CASE WHEN current_setting('synchronous_commit') IN ('on', 'remote_apply')
                       THEN current_setting('synchronous_commit') ELSE 'on' END, {local})"""


def prelude(statement_ms: int, *, reads: bool = False) -> str:
    """What comes first in a transaction on a connection that keeps nothing from the one before."""
    kept = "; ".join(f"SET LOCAL {name} = '{value}'" for name, value in settings(statement_ms, reads=reads).items())
    return f"{kept}; {_DURABLY.format(local='true')}"


@contextmanager
def heeding_cancellation() -> Iterator[None]:
    """Who is cancelled ends so. asyncpg rolls a transaction back before it lets a cancellation through, and where the
    connection is lost meanwhile it tells of that instead: whoever tries again after trouble would never end."""
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    try:
        yield
    except TROUBLE as error:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError from error
        raise


async def connect(server: Server, *, statement_ms: int = WRITING_MS, reads: bool = False) -> Connection:
    """A new connection; through one that `reads` nothing can be written.

    Raises what `classify` knows, or ValueError where the URL cannot be used.
    """
    if server.pooled:
        connection = await dialing.dial(
            server.urls,
            seconds=CONNECT_SECONDS,
            statement_cache_size=0,
            server_settings={"application_name": APPLICATION},
        )
    else:
        connection = await dialing.dial(
            server.urls,
            seconds=CONNECT_SECONDS,
            server_settings={
                "application_name": APPLICATION,
                "tcp_keepalives_idle": "60",  # a firewall forgets what is silent, and nobody would be told
                **settings(statement_ms, reads=reads),
            },
        )
    try:
        with heeding_cancellation():
            async with asyncio.timeout(CONNECT_SECONDS):
                with watched(connection):
                    await _set_up(connection, pooled=server.pooled)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _set_up(connection: Connection, *, pooled: bool) -> None:
    if not pooled:
        await connection.execute(_DURABLY.format(local="false"))
    async with connection.transaction():
        await connection.set_type_codec(
            "text", schema="pg_catalog", encoder=texts.encode, decoder=texts.decode, format="binary"
        )


@contextmanager
def watched(connection: Connection) -> Iterator[None]:
    """Whatever comes of a connection that ends is trouble with it: asyncpg stumbles where it ends between two questions
    of its own."""
    try:
        yield
    except Exception as error:
        if isinstance(error, TROUBLE) or not connection.is_closed():
            raise
        raise ConnectionResetError(f"the connection ended: {error}") from error


@asynccontextmanager
async def reaching(server: Server) -> AsyncIterator[Connection]:
    """A connection for one who opens the store; StartError or StoreUnusable say what stands in the way."""
    try:
        connection = await connect(server)
        try:
            with watched(connection):
                yield connection
        finally:
            connection.terminate()
    except TROUBLE as error:
        raise refusal(error, server) from error


def is_outage(error: BaseException) -> bool:
    """Whether the connection is to blame, and is not to be used again."""
    return isinstance(error, _OUTAGE) and not isinstance(error, ValueError)  # which are wrong arguments, to asyncpg


def classify(error: BaseException, server: Server) -> StoreUnavailable:
    """What an error means to the one who waits."""
    kind = "other"
    if is_outage(error):
        kind = "conn"
    elif isinstance(error, _BUSY):
        kind = "busy"
    elif isinstance(error, exceptions.DiskFullError):
        kind = "full"
    elif isinstance(error, _IO):
        kind = "io"
    elif isinstance(error, _NO_ENTRY):
        kind = "conn"
    return StoreUnavailable(f"store: {server.name}: {describe(error, server)}", kind=kind)


_STRANGE = (exceptions.UndefinedFunctionError, exceptions.UndefinedTableError, exceptions.UndefinedColumnError)
_MENDS: Mapping[type[BaseException], str] = {
    exceptions.InvalidAuthorizationSpecificationError: (
        "check user and password in `store`, and the server's pg_hba.conf"
    ),
    exceptions.InvalidCatalogNameError: "create it: `createdb --encoding=UTF8 NAME`, or name another",
    exceptions.InsufficientPrivilegeError: (
        "let the user create the schema: `GRANT CREATE ON DATABASE … TO …`, or run `relay migrate` as one who may, "
        "and grant this one what docs/scaling.md says"
    ),
    exceptions.ReadOnlySQLTransactionError: "it is read-only, perhaps a standby; name the primary",
    exceptions.UndefinedObjectError: (
        "neither the relay nor the server knows it behind the `?` of `store`: correct it, or take it out"
    ),
    exceptions.ClientConfigurationError: "correct `store`",
    ssl.SSLCertVerificationError: "check `sslrootcert`, and whether the server's certificate bears the name in `store`",
}
"""What to do about errors at the opening."""


def refusal(error: BaseException, server: Server) -> StoreError | StartError:
    """What an error means to the one who opens the store, and what to do about it."""
    told = describe(error, server)
    where = f"store: cannot use {server.name}: {told}"
    if isinstance(error, _STRANGE):
        return StoreUnusable(
            f"store: cannot use {server.name}: its schema is not as we made it: {told}; restore it", kind="corrupt"
        )
    if isinstance(error, exceptions.ProtocolViolationError) and "startup parameter" in told:
        return StartError(f"{where}; behind PgBouncer write `?pool_mode=transaction` at the end of `store`")
    if isinstance(error, ConnectionError) and "rejected SSL" in told:
        return StartError(
            f"{where}; let the server speak TLS (`ssl = on`), or write `sslmode=prefer` where none can listen"
        )
    if isinstance(error, OSError) and (missing := server.missing_files()):
        return StartError(f"{where}; `store` names a file that cannot be read: {', '.join(missing)}")
    for kind, mend in _MENDS.items():
        if isinstance(error, kind):
            return StartError(f"{where}; {mend}")
    return StartError(f"{where}; {_KEPT if isinstance(error, _GAVE_WAY) else _AWAY}")


def describe(error: BaseException, server: Server) -> str:
    """An error in a few words, without the password."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    words = f"{error}".strip().splitlines()
    return server.hides(f"{type(error).__name__}: {words[0]}" if words else type(error).__name__)

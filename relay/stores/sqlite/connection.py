"""Opening the file: settings on which the promise rests, checks before anything is written, migrations."""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from relay.errors import StartError, StoreUnavailable, StoreUnusable
from relay.records import Schema
from relay.stores.migrations import migrations
from relay.stores.sqlite import marks

APPLICATION_ID = 0x44797465
"""`Dyte` in ASCII, in the file's header: tells our files from others."""

UNFINISHED_ID = 0x44797463
"""The same of a file that another store is copied into: `Dytc`."""

_OLDEST_SAFE_SQLITE = (3, 51, 3)
"""3.7.0 to 3.51.2 can lose a commit in WAL mode with two connections: https://sqlite.org/wal.html#walresetbug."""

_QUICK_CHECK_BELOW = 64 * 1024 * 1024
"""Bytes of a file that is checked at the start; larger ones would keep the sender waiting."""

_STATEMENTS = 256
"""Compiled statements that are kept: above what accepting needs, by kind and number of rows (`intake._chunks`)."""

BUSY_TIMEOUT_MS = 1000
"""How long a statement waits for another process; below the gateway's hard end of 2.5 s."""


def open_file(path: Path, *, create: bool) -> apsw.Connection:
    """Open or create the file, check it, and migrate it.

    Raises:
        StartError: the path cannot be used; nothing was changed.
        StoreUnusable: the file is corrupt, foreign, or of a newer relay; nothing was changed.
    """
    _check_sqlite_version()
    if not create and not path.exists():
        raise StartError(f"store: there is no {path} yet; `relay serve` creates it")
    if path.is_dir():
        raise StartError(f"store: cannot use {path}: it is a folder; name a file in it, such as {path / 'relay.db'}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _create_private(path)
        try:
            _check(path, create=create, flags=apsw.SQLITE_OPEN_READONLY)
        except apsw.ReadOnlyError:  # a crash left half a transaction: nothing can be read until it is rolled back
            _check(path, create=create, flags=apsw.SQLITE_OPEN_READWRITE)
        connection = connect(path)
        _migrate(connection)
    except OSError as error:
        raise StartError(f"store: cannot use {path}: {error.strerror}; {_mend(error)}") from error
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise StoreUnusable(
            f"store: {path} is damaged or is no SQLite file ({error}); it is left as it is: move it, or restore a copy",
            kind="corrupt",
        ) from error
    except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.IOError, apsw.PermissionsError, apsw.FullError) as error:
        raise StartError(f"store: cannot write {path}: {error}; check permissions and free space") from error
    except apsw.BusyError as error:
        raise StartError(f"store: {path} is locked by another process; stop it, or wait for it") from error
    return connection


def open_to_look(path: Path) -> apsw.Connection:
    """Open the file for somebody who looks on: nothing can be written through it, and it never moves the log.

    Raises:
        StartError: there is no file, or it cannot be read.
        StoreUnusable: the file is corrupt, foreign, or of another relay.
    """
    _check_sqlite_version()
    if not path.exists():
        raise StartError(f"store: there is no {path} yet; `relay serve` creates it")
    try:
        _check(path, create=False, flags=apsw.SQLITE_OPEN_READONLY)
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # whatever stands in the way shows now
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise StoreUnusable(f"store: {path} is damaged or is no SQLite file ({error})", kind="corrupt") from error
    except apsw.Error as error:
        mend = "run this as the user that runs `relay serve`"
        raise StartError(f"store: cannot read {path}: {error}; {mend}") from error
    return connection


def schema_of(path: Path) -> Schema:
    """What is there; nothing is changed. Raises as `open_file` does."""
    steps = migrations("sqlite")
    found = 0
    if path.exists():
        try:
            _check(path, create=True, flags=apsw.SQLITE_OPEN_READONLY)
            connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
            found = connection.pragma("user_version")
            connection.close()
        except (apsw.NotADBError, apsw.CorruptError) as error:
            raise StoreUnusable(f"store: {path} is damaged or is no SQLite file ({error})", kind="corrupt") from error
        except apsw.Error as error:
            raise StartError(f"store: cannot read {path}: {error}; check permissions") from error
    return Schema(found=found, known=len(steps), due=[step.name for step in steps[found:]])


def connect(path: Path | str, *, vfs: str | None = None, exclusive: bool = False) -> apsw.Connection:
    """A connection with the settings on which durability rests.

    `exclusive` is for file systems without shared memory, as in power-loss tests: one connection only.
    """
    connection = apsw.Connection(str(path), vfs=vfs, statementcachesize=_STATEMENTS)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    if exclusive:
        connection.pragma("locking_mode", "exclusive")
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")  # NORMAL loses acknowledged commits at a power cut
    connection.pragma("foreign_keys", 1)
    connection.pragma("wal_autocheckpoint", 0)  # a timer does it; otherwise the unlucky committer waits for it
    connection.pragma("journal_size_limit", 128 * 1024 * 1024)  # not by whoever commits (checkpoints.LOG_LIMIT)
    connection.pragma("cache_size", -32 * 1024)
    connection.pragma("temp_store", "memory")  # a statement over many rows keeps a way back, else in a file of its own
    return connection


def classify(error: apsw.Error) -> StoreUnavailable:
    """What an SQLite error means to the one who waits for a commit."""
    match error:
        case apsw.BusyError() | apsw.LockedError():
            kind = "busy"
        case apsw.FullError():
            kind = "full"
        case apsw.IOError() | apsw.CantOpenError() | apsw.ReadOnlyError() | apsw.CorruptError() | apsw.NotADBError():
            kind = "io"
        case _:
            kind = "other"
    return StoreUnavailable(f"store: {type(error).__name__}: {error}", kind=kind)


def _check_sqlite_version() -> None:
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if version < _OLDEST_SAFE_SQLITE:
        raise StoreUnusable(
            f"store: SQLite {apsw.sqlite_lib_version()} can lose commits (WAL-reset bug); install apsw 3.51.3 or newer",
            kind="version",
        )


def _create_private(path: Path) -> None:
    """Make the file before SQLite does, readable by its owner only: it holds personal data."""
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _check(path: Path, *, create: bool, flags: int) -> None:
    """Look before anything is touched: the settings of `connect` alone would rewrite another program's file."""
    connection = apsw.Connection(str(path), flags=flags)
    try:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        _check_content(connection, path)
        if not create and connection.pragma("user_version") < len(migrations("sqlite")):
            raise StoreUnusable(
                f"store: {path} was written by an older relay; `relay serve` brings it up to date, and so does "
                "`relay migrate`",
                kind="version",
            )
    finally:
        connection.close()


def _check_content(connection: apsw.Connection, path: Path) -> None:
    # In this order: another process may be making it just now.
    is_empty = connection.execute("SELECT count(*) FROM sqlite_schema").get == 0
    program = connection.pragma("application_id")
    if not is_empty and program == UNFINISHED_ID:
        raise StoreUnusable(
            f"store: {path} is a copy that was not finished; run `relay store copy` again", kind="corrupt"
        )
    if not is_empty and program != APPLICATION_ID:
        raise StoreUnusable(f"store: {path} is an SQLite file of another program; name another file", kind="corrupt")
    newest, found = len(migrations("sqlite")), connection.pragma("user_version")
    if found > newest:
        raise StoreUnusable(
            f"store: {path} was written by a newer relay (schema {found}, this one knows {newest}); upgrade the relay",
            kind="version",
        )
    if path.stat().st_size < _QUICK_CHECK_BELOW:
        verdict = connection.pragma("quick_check")
        if verdict != "ok":
            raise apsw.CorruptError(str(verdict))


def _migrate(connection: apsw.Connection) -> None:
    """Apply what is missing, each step in one transaction with its number: a crash leaves it done or not begun."""
    marks.register(connection)
    for step in migrations("sqlite"):
        with_number = f"{step.sql}\nPRAGMA user_version = {step.number};\nPRAGMA application_id = {APPLICATION_ID};"
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Asked again under the lock: another process may be first.
            if connection.pragma("user_version") < step.number:
                connection.execute(with_number)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def _mend(error: OSError) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "a part of its path is a file and no folder"
    return (
        "name a file in a folder that this user may write"
        if isinstance(error, PermissionError)
        else "name another file"
    )

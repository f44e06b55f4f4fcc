"""A PostgreSQL server of its own, on loopback and on a Unix socket, whose data is thrown away."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.freezing import freeze, thaw
from tests.ports import free_port
from tests.postgres.binaries import NoPostgres, find

HOST = "127.0.0.1"
USER = "relay"
_SECONDS = 60.0
_POLL_SECONDS = 0.01
_UNPRIVILEGED = ("postgres", "nobody")
_SETTINGS: Mapping[str, str] = {
    "jit": "off",
    "log_lock_waits": "on",
    "max_connections": "150",
    "shared_buffers": "64MB",
    "timezone": "UTC",
}
UNSAFE: Mapping[str, str] = {"fsync": "off", "full_page_writes": "off"}
"""For tests that prove nothing about a crash of the server: they take a tenth of the time on a slow disk."""


class Server:
    """One server. Its port and its data stay the same over stop, kill and start."""

    def __init__(
        self,
        kind: str = "debian",
        settings: Mapping[str, str] | None = None,
        *,
        port: int | None = None,
        within: Path | None = None,
    ) -> None:
        """`kind` is `debian` or `newest`; `settings` are those of postgresql.conf; its folder is `within` that one, or
        where temporary files are. Raises NoPostgres."""
        self.port = port or free_port()
        self._binaries = find(kind)
        self._settings = {**_SETTINGS, **(settings or {})}
        self._identity = _identity()
        self.folder = Path(tempfile.mkdtemp(prefix="relay-postgres-", dir=within))
        """Its Unix socket is here."""
        if self._identity:
            os.chown(self.folder, self._identity["user"], self._identity["group"])
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        """The address of one of its databases."""
        return f"postgresql://{USER}@{HOST}:{self.port}/{database}"

    @property
    def running(self) -> bool:
        """Whether the process lives; a paused one does."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the process that the others have sprung from."""
        if self._process is None:
            raise NoPostgres("it does not run")
        return self._process.pid

    def start(self) -> None:
        """Start, and return when it answers. Nothing to do if it runs. Raises NoPostgres with the end of its log."""
        if self.running:
            return
        if not (self.folder / "data").exists():
            self._initialize()
        options = (f"-c{name}={text}" for name, text in self._settings.items())
        command = (
            "postgres",
            "-D",
            str(self.folder / "data"),
            "-p",
            str(self.port),
            "-h",
            HOST,
            "-k",
            str(self.folder),
        )
        with (self.folder / "log").open("ab") as log:
            self._process = self._spawn(*command, *options, stdout=log)
        self._wait_for_answer()

    def stop(self) -> None:
        """Shut down in order: transactions that are open are rolled back."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """What `pg_ctl stop -m immediate` does: end without writing anything, so that the next start has to recover."""
        self._end(signal.SIGQUIT)

    def pause(self) -> None:
        """SIGSTOP to the server and all that it has begun: connections stay open, and nobody answers."""
        if self.running:
            freeze(self.pid)  # so that it begins no other
            freeze(*self._children())

    def resume(self) -> None:
        """SIGCONT."""
        if self.running:
            thaw(*self._children(), self.pid)

    def close(self) -> None:
        """Stop, and remove the data."""
        self.resume()
        self.crash()
        shutil.rmtree(self.folder)

    def wait(self) -> None:
        """Block until the process ends."""
        if self._process is not None:
            self._process.wait()

    def log(self) -> str:
        """All that it has logged."""
        return (self.folder / "log").read_text(errors="replace")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _initialize(self) -> None:
        # A collation that is not "C": one that is would hide where the store forgot to say which it means.
        collation = ("--encoding=UTF8", "--locale=C", "--locale-provider=icu", "--icu-locale=en-US")
        options = ("--no-sync", "--no-instructions", "--auth=trust", f"--username={USER}", *collation)
        process = self._spawn("initdb", "-D", str(self.folder / "data"), *options, stdout=subprocess.PIPE)
        told, _ = process.communicate(timeout=_SECONDS)
        if process.returncode != 0:
            raise NoPostgres(f"initdb failed: {told.decode(errors='replace')[-2000:]}")

    def _spawn(self, program: str, *arguments: str, stdout: Any) -> subprocess.Popen[bytes]:
        libraries = ":".join(map(str, self._binaries.libraries))
        return subprocess.Popen(
            (str(self._binaries.folder / program), *arguments),
            stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.STDOUT, cwd=self.folder,
            start_new_session=True,  # Ctrl-C at the tests is no business of the server's
            env={"PATH": os.environ["PATH"], "LC_ALL": "C", "LD_LIBRARY_PATH": libraries}, **self._identity,
        )  # fmt: skip

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(_SECONDS)

    def _children(self) -> list[int]:
        """Those that serve its connections, and others that it has begun."""
        return [int(each) for each in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def _wait_for_answer(self) -> None:
        deadline = time.monotonic() + _SECONDS
        while not answers(self.port):
            if not self.running or time.monotonic() > deadline:
                self._end(signal.SIGQUIT)
                raise NoPostgres(
                    f"PostgreSQL did not start on port {self.port}; its log ends with:\n{self.log()[-2000:]}"
                )
            time.sleep(_POLL_SECONDS)


def answers(port: int) -> bool:
    """Whether a server on that port lets somebody in: it says R for that, and E while it starts or recovers."""
    parameters = f"user\0{USER}\0database\0postgres\0\0".encode()
    try:
        with socket.create_connection((HOST, port), timeout=1.0) as connection:
            connection.sendall(struct.pack(">ii", len(parameters) + 8, 3 << 16) + parameters)
            return connection.recv(1) == b"R"
    except OSError:
        return False


def _identity() -> dict[str, Any]:
    """As whom the server runs: PostgreSQL refuses to be run by root."""
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    for name in _UNPRIVILEGED:
        if name in known:
            return {"user": known[name].pw_uid, "group": known[name].pw_gid, "extra_groups": []}
    raise NoPostgres(f"PostgreSQL cannot be run by root, and there is no user {' or '.join(_UNPRIVILEGED)}")

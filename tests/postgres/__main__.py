"""Run a PostgreSQL in the foreground: `python -m tests.postgres [PORT] [newest]` (default 5432). Ctrl-C stops it.

Its data is temporary. `--fetch` fetches both kinds instead.
"""

from __future__ import annotations

import signal
import subprocess
import sys

from tests.postgres.binaries import KINDS, NoPostgres, fetch
from tests.postgres.server import Server, answers


def main() -> int:
    """Start, print the address, wait for Ctrl-C or SIGTERM, stop."""
    if "--fetch" in sys.argv[1:]:
        return _fetch()
    kind = "newest" if "newest" in sys.argv[1:] else "debian"
    ports = [int(word) for word in sys.argv[1:] if word.isdecimal()]
    port = ports[0] if ports else 5432
    if answers(port):
        sys.stderr.write(f"something answers on port {port} already: stop it, or give another port\n")
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Server(kind, port=port) as server:
            sys.stdout.write(f"PostgreSQL answers at {server.url()}; Ctrl-C stops it\n")
            sys.stdout.flush()
            server.wait()
            sys.stderr.write(f"it ended by itself; its log ends with:\n{server.log()[-2000:]}\n")
    except NoPostgres as error:
        sys.stderr.write(f"{error}\n")
    except KeyboardInterrupt:
        return 0
    return 1


def _fetch() -> int:
    """Fetch what is not here, and say where it is."""
    try:
        for kind in KINDS:
            sys.stdout.write(f"{fetch(kind).folder}\n")
    except (NoPostgres, subprocess.SubprocessError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

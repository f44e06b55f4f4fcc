"""Where the server is, from a URL; and what may be shown of it, which is never a password."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from relay.errors import StartError
from relay.model import value

SCHEMES = ("postgresql://", "postgres://")
_EXAMPLE = "postgresql://relay:password@db.example.com:5432/relay"
_POOL_MODES = {"session": False, "transaction": True}


@value
class Server:
    """A database, and how to come to it."""

    url: str
    """With the password: not for messages."""
    name: str
    """What messages call it: host, port and database."""
    passwords: tuple[str, ...] = ()
    """In all the ways in which they stand in the URL."""
    pooled: bool = False
    """A pooler hands its connections to somebody else after each transaction, as PgBouncer does with
    `pool_mode = transaction`: nothing can be left in a session."""

    def __repr__(self) -> str:
        return f"Server({self.name})"

    def hides(self, text: str) -> str:
        """The text without the passwords."""
        for password in self.passwords:
            text = text.replace(password, "***")
        return text


def parse(url: str) -> Server:
    """Read a URL. Raises StartError, with nothing of the URL in it: what is wrong may be the password."""
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        password = parts.password or ""
        unread = parts.path + parts.query + parts.fragment
        _ = parts.port if "," not in parts.netloc else None  # raises where it is no number
    except ValueError:
        raise StartError(f"store: cannot read the URL; write it as {_EXAMPLE}") from None
    if "@" in unread or parts.fragment:
        raise StartError(
            f"store: cannot read the URL; write it as {_EXAMPLE}, with / ? # @ in a password as %2F %3F %23 %40"
        )
    mode = query.pop("pool_mode", "session")
    if mode not in _POOL_MODES:
        raise StartError("store: pool_mode is session or transaction, as PgBouncer's setting says")
    written = {password, unquote(password), query.get("password", "")} - {""}
    return Server(
        url=urlunsplit(parts._replace(query=urlencode(query))),
        name=_shown(parts.netloc.rpartition("@")[2], parts.path, query),
        passwords=tuple(sorted(written, key=len, reverse=True)),
        pooled=_POOL_MODES[mode],
    )


def _shown(hosts: str, path: str, query: Mapping[str, str]) -> str:
    database = unquote(path.removeprefix("/")) or query.get("database") or query.get("dbname")
    where = hosts or query.get("host") or "the local server"
    return f"{where}/{database}" if database else where

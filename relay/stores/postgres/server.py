"""Where the server is, from a URL; and what may be shown of it, which is never a password."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from relay.errors import StartError
from relay.model import value

SCHEMES = ("postgresql://", "postgres://")
_EXAMPLE = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
_UNREADABLE = f"store: cannot read the URL; write it as {_EXAMPLE}, with / ? # @ in a password as %2F %3F %23 %40"
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile")
_SECRETS = ("password", "sslpassword")
_POOL_MODES = {"session": False, "transaction": True}


@value
class Server:
    """A database, and how to come to it."""

    urls: Sequence[str]
    """Of each server that may be the one, in order. With the password: not for messages."""
    name: str
    """What messages call it: host, port and database."""
    passwords: tuple[str, ...] = ()
    """In all the ways in which they stand in the URL."""
    pooled: bool = False
    """A pooler hands its connections to somebody else after each transaction, as PgBouncer does with
    `pool_mode = transaction`: nothing can be left in a session."""

    def __repr__(self) -> str:
        return f"Server({self.name})"

    def missing_files(self) -> Sequence[str]:
        """Files that the URL names and that cannot be read, as `name=path`."""
        query = dict(parse_qsl(urlsplit(self.urls[0]).query))
        return [f"{name}={query[name]}" for name in _FILES if name in query and not os.access(query[name], os.R_OK)]

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
        raise StartError(_UNREADABLE) from None
    if "@" in unread or parts.fragment or parts.netloc.count("@") > 1:
        raise StartError(_UNREADABLE)
    if not _database(parts.path, query):
        raise StartError(f"store: names no database; write {_EXAMPLE}")
    if query.get("sslmode", "prefer") not in _SSL_MODES:
        raise StartError(f"store: sslmode is one of {', '.join(_SSL_MODES)}")
    mode = query.pop("pool_mode", "session")
    if mode not in _POOL_MODES:
        raise StartError("store: pool_mode is session or transaction, as PgBouncer's setting says")
    written = {password, unquote(password), *(query.get(name, "") for name in _SECRETS)} - {""}
    return Server(
        urls=_each(parts._replace(query=urlencode(query))),
        name=_shown(parts.netloc.rpartition("@")[2], parts.path, query),
        passwords=tuple(sorted(written, key=len, reverse=True)),
        pooled=_POOL_MODES[mode],
    )


def _each(parts: SplitResult) -> Sequence[str]:
    """A URL for each server that this one names."""
    user, at, hosts = parts.netloc.rpartition("@")
    return [urlunsplit(parts._replace(netloc=f"{user}{at}{host}")) for host in hosts.split(",")]


def _shown(hosts: str, path: str, query: Mapping[str, str]) -> str:
    return f"{hosts or query.get('host') or 'the local server'}/{_database(path, query)}"


def _database(path: str, query: Mapping[str, str]) -> str:
    return unquote(path.removeprefix("/")) or query.get("database") or query.get("dbname") or ""

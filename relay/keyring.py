"""One source's public keys: fetched, cached on disk, refreshed, rotated; or pinned, and never fetched."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import aiohttp
import orjson
from pydantic import AwareDatetime, BaseModel, ValidationError

from relay.ports import Clock
from relay.publickey import BadKey, PublicKey, read_document

FETCH_TIMEOUT = 5.0
MAX_DOCUMENT = 64 * 1024
REFRESH_EVERY = timedelta(hours=1)
MIN_INTERVAL = timedelta(seconds=60)
"""Between two fetches, whatever makes us want one: a flood of forged signatures must not become a flood of fetches."""
FRESH_FOR = MIN_INTERVAL
"""A key set that was fetched so recently is taken to be the provider's current one."""
KEEP_PREVIOUS = timedelta(hours=24)
"""How long a replaced key still verifies: retries of what it signed may be on their way."""
_RETRY_WITHOUT_KEY = 2.0
"""Seconds between tries while there is no key at all: until then every webhook is answered 503."""


class KeyFetchFailed(Exception):
    """The key document could not be had; `result` is a metric label."""

    def __init__(self, result: str, detail: str) -> None:
        super().__init__(detail)
        self.result = result


class Observer(Protocol):
    """Who is told about fetches."""

    def key_fetched(self, source: str, result: str, detail: str = "") -> None:
        """A fetch ended."""


class PinnedKeys:
    """Keys from the configuration: nothing is fetched, and a signature that fits none is wrong."""

    def __init__(self, keys: Sequence[PublicKey]) -> None:
        self._keys = tuple(keys)

    def current(self) -> Sequence[PublicKey]:
        """See `Keys.current`."""
        return self._keys

    def fresh(self) -> bool:
        """See `Keys.fresh`."""
        return True

    async def refresh(self) -> bool:
        """See `Keys.refresh`."""
        return True

    def age(self) -> timedelta | None:
        """Pinned keys have none."""
        return None


class _Cached(BaseModel):
    """What is kept on disk."""

    url: str
    current: str
    fetched_at: AwareDatetime
    previous: str | None = None
    replaced_at: AwareDatetime | None = None


class FetchedKeys:
    """Keys from the provider's well-known URL."""

    def __init__(
        self,
        source: str,
        *,
        url: str,
        cache: Path,
        fetch: Callable[[str], Awaitable[bytes]],
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._source = source
        self.url = url
        self._cache = cache
        self._fetch = fetch
        self._clock = clock
        self._observer = observer
        self._keys: tuple[PublicKey, ...] = ()
        self._state: _Cached | None = None
        self._tried_at: datetime | None = None
        self._flight: asyncio.Task[bool] | None = None
        self._load()

    def current(self) -> Sequence[PublicKey]:
        """See `Keys.current`."""
        state = self._state
        if len(self._keys) > 1 and state and state.replaced_at and self._ago(state.replaced_at) > KEEP_PREVIOUS:
            self._keys = self._keys[:1]
        return self._keys

    def fresh(self) -> bool:
        """See `Keys.fresh`."""
        return self._state is not None and self._ago(self._state.fetched_at) <= FRESH_FOR

    async def refresh(self) -> bool:
        """See `Keys.refresh`."""
        if self._flight is None:
            if self._tried_at is not None and self._ago(self._tried_at) < MIN_INTERVAL:
                return self.fresh()
            self._flight = asyncio.create_task(self._fetch_once(), name=f"key-{self._source}")
            self._flight.add_done_callback(self._landed)
        flight = self._flight
        await asyncio.wait({flight})  # our own cancellation does not end it, and its end does not cancel us
        return not flight.cancelled() and flight.result()

    async def run(self) -> None:
        """Fetch at the start and then every hour; sooner after a failure, and soonest while there is no key at all."""
        pause = _RETRY_WITHOUT_KEY
        try:
            while True:
                self._tried_at = None
                if await self.refresh():
                    await asyncio.sleep(REFRESH_EVERY.total_seconds())
                elif self._keys:
                    await asyncio.sleep(MIN_INTERVAL.total_seconds())
                else:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, MIN_INTERVAL.total_seconds())
        finally:
            if self._flight is not None:
                self._flight.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._flight

    def age(self) -> timedelta | None:
        """Since the last fetch that succeeded."""
        return None if self._state is None else self._ago(self._state.fetched_at)

    def _landed(self, _task: asyncio.Task[bool]) -> None:
        self._flight = None

    def _ago(self, moment: datetime) -> timedelta:
        return abs(self._clock.now() - moment)  # a clock that jumped back must not make a key fresh for ever

    async def _fetch_once(self) -> bool:
        self._tried_at = self._clock.now()
        try:
            key = read_document(await self._fetch(self.url))
        except KeyFetchFailed as error:
            self._observer.key_fetched(self._source, error.result, str(error))
            return False
        except BadKey as error:
            self._observer.key_fetched(self._source, "invalid", f"{self.url}: {error}")
            return False
        self._take(key)
        return True

    def _take(self, key: PublicKey) -> None:
        now = self._clock.now()
        known, state = self._keys[:1], self._state
        changed = bool(known) and known[0] != key
        previous, replaced_at = (state.previous, state.replaced_at) if state else (None, None)
        if changed:
            previous, replaced_at = known[0].pem, now
        self._keys = (key, *(known if changed else self._keys[1:]))
        self._state = _Cached(url=self.url, current=key.pem, fetched_at=now, previous=previous, replaced_at=replaced_at)
        uncached = self._save(self._state)
        result, verb = ("changed", "now ") if changed else ("ok", "")
        self._observer.key_fetched(self._source, result, f"{verb}{key.fingerprint[:16]}{uncached}")

    def _load(self) -> None:
        """Start from the last good key; one that was fetched from elsewhere counts for nothing."""
        try:
            state = _Cached.model_validate_json(self._cache.read_bytes())
            keys = [PublicKey.read(pem) for pem in (state.current, state.previous) if pem]
        except (FileNotFoundError, NotADirectoryError):
            return
        except (OSError, ValidationError, BadKey) as error:
            self._observer.key_fetched(self._source, "invalid", f"cached key {self._cache}: {type(error).__name__}")
            return
        if state.url == self.url:
            self._state, self._keys = state, tuple(keys)

    def _save(self, state: _Cached) -> str:
        """Replace the file in one step. Without a disk the key still serves from memory; what is returned says so."""
        beside = self._cache.with_suffix(f".{os.getpid()}.new")  # other workers fetch it at the same time
        try:
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(orjson.dumps(state.model_dump(mode="json")))
            os.replace(beside, self._cache)  # noqa: PTH105 - the atomic one, by its name
        except OSError as error:
            return f"; not cached: {error.strerror} ({self._cache})"
        return ""


async def fetch_document(session: aiohttp.ClientSession, url: str) -> bytes:
    """GET the key document: no redirects, at most `MAX_DOCUMENT` bytes, within `FETCH_TIMEOUT` seconds.

    Raises:
        KeyFetchFailed: it could not be had.
    """
    try:
        async with (
            asyncio.timeout(FETCH_TIMEOUT),
            session.get(url, allow_redirects=False, headers={"accept": "application/json"}) as response,
        ):
            if response.status != 200:
                raise KeyFetchFailed("unreachable", f"{url} answered {response.status}")
            body = await response.content.read(MAX_DOCUMENT + 1)
            while len(body) <= MAX_DOCUMENT and not response.content.at_eof():
                body += await response.content.read(MAX_DOCUMENT + 1 - len(body))
    except TimeoutError as error:
        raise KeyFetchFailed("unreachable", f"{url} did not answer within {FETCH_TIMEOUT:g} s") from error
    except (aiohttp.ClientError, OSError, UnicodeError) as error:  # the last: a host that can be no name
        raise KeyFetchFailed("unreachable", f"{url}: {type(error).__name__}: {error}") from error
    if len(body) > MAX_DOCUMENT:
        raise KeyFetchFailed("invalid", f"{url} answered more than {MAX_DOCUMENT} bytes")
    return body

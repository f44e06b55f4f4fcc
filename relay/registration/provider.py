"""The API of either provider, through aiohttp's client: four calls of one shape.

The key goes to the configured address alone: no redirects, no proxies of the environment, no cookies. Cloudflare's own
`cloudflare` package knows one of the two providers, and weighs 54 MB; the tests hold this client against it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Self

import aiohttp
import orjson

from relay import __version__
from relay.errors import ProviderError
from relay.registration.answers import MAX_ANSWER, Answer, read_list, read_one, wait_asked
from relay.registration.options import Account
from relay.registration.plan import Registration

LONGEST_WAIT = timedelta(seconds=60)
"""More than that is not waited for a 429; whoever asked is told instead."""
_TRIES = 4
_CONNECT_SECONDS = 5.0


class Provider:
    """One account at one provider. `told` hears what takes time."""

    def __init__(
        self, account: Account, session: aiohttp.ClientSession, *, told: Callable[[str], None] = lambda _text: None
    ) -> None:
        self.account = account
        self._session = session
        self._told = told

    @classmethod
    @asynccontextmanager
    async def opened(cls, account: Account, *, told: Callable[[str], None]) -> AsyncIterator[Self]:
        """With connections of its own."""
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
            headers={"accept-encoding": "identity", "user-agent": f"dyte-relay/{__version__}"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        ) as session:
            yield cls(account, session, told=told)

    async def list(self) -> Sequence[Registration]:
        """All registrations of the account."""
        return read_list(self.account, await self._call("GET"))

    async def create(self, *, name: str, url: str, events: Collection[str]) -> Registration:
        """Register an address. Not repeated by itself, not even after a 429: see `carry_out`."""
        body = {"name": name, "url": url, "events": sorted(events), "enabled": True}
        return read_one(self.account, await self._call("POST", body=body, tries=1))

    async def change(self, registration: Registration, *, events: Collection[str]) -> Registration:
        """Subscribe to these events instead. `enabled` is said as it was: left out, it might become true."""
        body = {"events": sorted(events), "enabled": registration.enabled}
        return read_one(self.account, await self._call("PATCH", registration.id, body=body))

    async def delete(self, registration: Registration) -> bool:
        """Take a registration away; False where it was gone already."""
        try:
            read_one(self.account, await self._call("DELETE", registration.id))
        except ProviderError as error:
            if error.status != 404:
                raise
            return False
        return True

    async def wait(self, asked: timedelta) -> None:
        """Wait as a 429 asked, and say so."""
        self._told(f"{self.account.label} asks to wait {asked.total_seconds():g} s (429); waiting …")
        await asyncio.sleep(asked.total_seconds())

    async def _call(
        self, method: str, registration_id: str = "", *, body: Mapping[str, Any] | None = None, tries: int = _TRIES
    ) -> Answer:
        """One answer, whatever its status; a 429 only where waiting did not help."""
        url = f"{self.account.url}/{registration_id}" if registration_id else self.account.url
        answer = await self._once(method, url, body)
        for _ in range(tries - 1):
            if answer.status != 429 or wait_asked(answer) > LONGEST_WAIT:
                break
            await self.wait(wait_asked(answer))
            answer = await self._once(method, url, body)
        if answer.status == 429:
            raise _throttled(self.account, wait_asked(answer))
        return answer

    async def _once(self, method: str, url: str, body: Mapping[str, Any] | None) -> Answer:
        failure: ProviderError
        seconds = self.account.timeout.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                return await self._request(method, url, body)
        except aiohttp.ClientError as error:  # before the next: some are both, and tell that nothing was sent
            failure = _broken(self.account, error)
        except TimeoutError:
            failure = _unreached(self.account, f"did not answer within {seconds:g} s", unsure=True)
        except (OSError, UnicodeError) as error:  # the latter: a host that can be no name
            failure = _broken(self.account, error)
        raise failure  # outside of `except`: what the client says may repeat headers

    async def _request(self, method: str, url: str, body: Mapping[str, Any] | None) -> Answer:
        headers = {"authorization": self.account.authorization.get_secret_value(), "accept": "application/json"}
        if body is not None:
            headers["content-type"] = "application/json"
        data = None if body is None else orjson.dumps(body)
        async with self._session.request(method, url, data=data, headers=headers, allow_redirects=False) as response:
            return Answer(
                status=response.status,
                body=await self._read(response),
                retry_after=response.headers.get("retry-after", ""),
            )

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        read = bytearray()
        while chunk := await response.content.readany():
            read += chunk
            if len(read) > MAX_ANSWER:
                response.close()
                text = f"answered more than {MAX_ANSWER // 1024} KiB; check `api.url`"
                raise ProviderError(f"{self.account.label} {text}", unsure=True)
        return bytes(read)


def _throttled(account: Account, asked: timedelta) -> ProviderError:
    text = f"{account.label} answered 429: too many calls; wait {asked.total_seconds():g} s, then try again"
    return ProviderError(text, status=429, retry_after=asked)


def _unreached(account: Account, why: str, *, unsure: bool) -> ProviderError:
    return ProviderError(f"{account.label}'s API {why}; check `api.url` and the network, then try again", unsure=unsure)


def _broken(account: Account, error: Exception) -> ProviderError:
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return _unreached(account, "has no certificate that is trusted here", unsure=False)
        case aiohttp.ClientConnectorDNSError():
            return _unreached(account, f"has a name that does not resolve ({error.host})", unsure=False)
        case aiohttp.ClientConnectorError():
            return _unreached(account, f"cannot be reached ({error.host}:{error.port})", unsure=False)
        case aiohttp.ConnectionTimeoutError():
            return _unreached(account, f"cannot be reached within {_CONNECT_SECONDS:g} s", unsure=False)
        case aiohttp.InvalidURL() | UnicodeError():
            return _unreached(account, "is at a host that is no name", unsure=False)
        case _:
            return _unreached(account, f"broke off ({type(error).__name__})", unsure=True)

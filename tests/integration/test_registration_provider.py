"""The client of the management API and what it makes of it, against both providers on loopback."""

from __future__ import annotations

import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import orjson
import pytest

from relay.errors import ProviderError
from relay.options import Secret
from relay.registration import Account, Action, ApiOptions, Provider, account, carry_out, plan
from relay.registration import applying as applying_module
from relay.registration import provider as provider_module
from relay.registration.plan import Step
from relay.routing import Route, RouteOptions
from tests.fakes.http import Answer, Endless, FakeHttp, Hang, Reset, SlowBody
from tests.fakes.provider import (
    ACCOUNT,
    API_KEY,
    API_TOKEN,
    APP,
    ORGANIZATION,
    After,
    FakeProvider,
    Meanwhile,
    Obey,
    basic,
)

URL = "https://relay.example/webhooks/dyte"
EVENTS = ("meeting.ended", "recording.statusUpdate")
ROUTES = [Route(RouteOptions(name="r", events=EVENTS, to=("log",)))]
THROTTLED = Answer(429, headers={"retry-after": "1"})


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits are told, and not waited for."""
    monkeypatch.setattr(applying_module, "LOOK_SECONDS", 0.0)


def dyte(fake: FakeProvider, *, key: str = API_KEY, seconds: float = 30.0) -> Account:
    options = ApiOptions(
        organization_id=ORGANIZATION, api_key=Secret(key), url=fake.dyte_url, timeout=timedelta(seconds=seconds)
    )
    return account("dyte", options)


def kit(fake: FakeProvider, *, token: str = API_TOKEN, app: str = APP) -> Account:
    options = ApiOptions(account_id=ACCOUNT, app_id=app, api_token=Secret(token), url=fake.cloudflare_url)
    return account("realtimekit", options)


class Hasty(Provider):
    """Notes how long it was asked to wait instead of waiting."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.waited: list[float] = []

    async def wait(self, asked: timedelta) -> None:
        self.waited.append(asked.total_seconds())


@asynccontextmanager
async def client(at: Account) -> AsyncIterator[Hasty]:
    async with Hasty.opened(at, told=lambda _text: None) as provider:
        yield provider


async def step(provider: Provider) -> Step:
    return plan("dyte", URL, ROUTES, await provider.list())


@pytest.mark.parametrize("of", [dyte, kit])
async def test_each_provider_is_spoken_to_in_its_own_way(of: Callable[[FakeProvider], Account]) -> None:
    async with FakeProvider() as fake, client(of(fake)) as provider:
        assert await provider.list() == []
        made = await provider.create(name="n", url=URL, events=EVENTS)
        changed = await provider.change(made, events=("meeting.started",))
        assert (changed.id, sorted(changed.events)) == (made.id, ["meeting.started"])
        assert await provider.list() == [changed]
        assert await provider.delete(made)
        assert not await provider.delete(made), "it was gone already"
    path = "/v2/webhooks" if of is dyte else f"/client/v4/accounts/{ACCOUNT}/realtime/kit/{APP}/webhooks"
    login = basic(ORGANIZATION, API_KEY) if of is dyte else f"Bearer {API_TOKEN}"
    one = f"{path}/{made.id}"
    assert [(each.method, each.path) for each in fake.asked] == [
        ("GET", path), ("POST", path), ("PATCH", one), ("GET", path), ("DELETE", one), ("DELETE", one),
    ]  # fmt: skip
    assert {each.authorization for each in fake.asked} == {login}
    assert fake.asked[1].body == {"name": "n", "url": URL, "events": list(EVENTS), "enabled": True}


async def test_what_is_disabled_stays_disabled() -> None:
    async with FakeProvider() as fake, client(dyte(fake)) as provider:
        fake.add(URL, "meeting.started", enabled=False)
        done = await carry_out(provider, await step(provider))
        assert done.registration is not None
        assert (done.registration.enabled, sorted(done.registration.events)) == (False, list(EVENTS))
        assert fake.webhooks[0]["enabled"] is False, "although the API would enable it by default"
        assert fake.webhooks[0]["name"] == "by hand"


async def test_what_is_right_or_not_for_us_to_judge_is_left_alone() -> None:
    async with FakeProvider() as fake, client(dyte(fake)) as provider:
        fake.add(URL, *EVENTS)
        assert (await carry_out(provider, await step(provider))).registration is None
        fake.add(URL, *EVENTS)
        doubled = await step(provider)
        assert doubled.action is Action.DOUBLED
        assert not (await carry_out(provider, doubled)).whole
    assert set(fake.calls) == {"GET"}


LOST = (
    After(Hang()),
    After(Reset()),
    After(Answer(502, b"bad gateway")),
    After(Answer(201, b"<html>")),
    After(SlowBody()),
)


@pytest.mark.parametrize("trouble", LOST, ids=lambda each: type(each.step).__name__)
async def test_an_address_whose_answer_was_lost_is_found_and_not_registered_again(trouble: After) -> None:
    async with FakeProvider() as fake, client(dyte(fake, seconds=0.2)) as provider:
        fake.on("POST", trouble)
        done = await carry_out(provider, await step(provider))
        assert done.note == "the answer was lost, but it is there"
        assert done.registration is not None
        assert [done.registration.id] == [each["id"] for each in fake.webhooks]
    assert fake.calls.count("POST") == 1


@pytest.mark.parametrize("looks", [(), (Answer(503), Reset(), Answer(503))])
async def test_where_it_is_not_known_whether_it_was_registered_nothing_more_is_done(looks: tuple[Any, ...]) -> None:
    async with FakeProvider() as fake, client(dyte(fake, seconds=0.2)) as provider:
        wanted = await step(provider)
        fake.on("POST", Hang()).on("GET", *looks)
        with pytest.raises(ProviderError, match="it may be registered yet, so it was not tried again") as raised:
            await carry_out(provider, wanted)
        assert raised.value.unsure
    assert fake.calls.count("POST") == 1
    assert fake.calls.count("GET") >= 1 + applying_module.LOOKS


async def test_a_refused_registration_is_not_looked_for() -> None:
    async with FakeProvider() as fake, client(dyte(fake)) as provider:
        wanted = await step(provider)
        with pytest.raises(ProviderError, match='"url" must be a valid uri'):
            await carry_out(provider, Step(source="s", url="ftp://x", action=wanted.action, wanted=wanted.wanted))
    assert fake.calls == ["GET", "POST"]


async def test_after_a_wait_it_looks_before_it_registers() -> None:
    async with FakeProvider() as fake, client(dyte(fake)) as provider:
        fake.on("POST", THROTTLED)
        done = await carry_out(provider, await step(provider))
        assert (done.note, provider.waited, len(fake.webhooks)) == ("", [1.0], 1)
    assert fake.calls == ["GET", "POST", "GET", "POST", "GET"]


async def test_what_somebody_registered_during_the_wait_is_enough() -> None:
    other = {"name": "theirs", "url": URL, "events": ["meeting.ended"]}
    async with FakeProvider() as fake, client(dyte(fake)) as provider:
        fake.on("POST", THROTTLED).on("GET", Meanwhile(other))
        wanted = plan("dyte", URL, ROUTES, [])
        done = await carry_out(provider, wanted)
        assert done.registration is not None
        assert (done.registration.name, len(fake.webhooks)) == ("theirs", 1)
        assert "somebody else" in done.note


async def test_of_two_who_register_at_the_same_moment_the_younger_gives_way() -> None:
    other = {"name": "theirs", "url": URL, "events": ["meeting.ended"]}
    async with FakeProvider() as fake, client(dyte(fake)) as provider:
        fake.on("POST", Meanwhile(other))
        done = await carry_out(provider, await step(provider))
        assert done.registration is not None
        assert [each["name"] for each in fake.webhooks] == ["theirs"]
        assert "somebody else" in done.note
        fake.webhooks.clear()
        fake.on("GET", Meanwhile(other))
        done = await carry_out(provider, plan("dyte", URL, ROUTES, []))
        assert [each["name"] for each in fake.webhooks] == ["dyte-relay/dyte", "theirs"], "ours is older: theirs goes"


async def test_what_was_registered_is_told_though_the_last_look_fails() -> None:
    async with FakeProvider() as fake, client(dyte(fake)) as provider:
        fake.on("POST", Obey()).on("GET", Answer(503))
        done = await carry_out(provider, plan("dyte", URL, ROUTES, []))
        assert done.registration is not None
        assert [each["id"] for each in fake.webhooks] == [done.registration.id]
        assert done.note.startswith("it could not be seen whether somebody else")
        assert "Dyte answered 503" in done.note


async def test_one_too_many_that_cannot_be_taken_back_is_told() -> None:
    other = {"name": "theirs", "url": URL, "events": ["meeting.ended"]}
    async with FakeProvider() as fake, client(dyte(fake)) as provider:
        fake.on("POST", Meanwhile(other)).on("DELETE", Answer(503))
        with pytest.raises(
            ProviderError, match=r"somebody else registered this address too, and ours \(.+\) could not"
        ):
            await carry_out(provider, plan("dyte", URL, ROUTES, []))
        assert len(fake.webhooks) == 2


async def test_a_429_that_does_not_end_is_told() -> None:
    async with FakeProvider() as fake, client(dyte(fake)) as provider:
        wanted = await step(provider)
        fake.on("GET", *[THROTTLED] * 9)
        with pytest.raises(ProviderError, match="answered 429: too many calls; wait 1 s, then try again"):
            await provider.list()
        assert provider.waited == [1.0] * 3
        fake._script.clear()
        for _ in range(3):
            fake.on("POST", THROTTLED).on("GET", Answer(200, orjson.dumps({"data": []})))
        with pytest.raises(ProviderError, match="answers 429 again and again"):
            await carry_out(provider, wanted)
    assert fake.webhooks == []


async def test_a_wait_beyond_all_patience_is_not_waited_for() -> None:
    async with FakeProvider() as fake, client(dyte(fake)) as provider:
        wanted = await step(provider)
        long = Answer(429, headers={"retry-after": "36000000"})
        fake.on("GET", long)
        with pytest.raises(ProviderError, match="wait 36000000 s, then try again"):
            await provider.list()
        fake.on("POST", long)
        with pytest.raises(ProviderError, match="wait 36000000 s, then try again"):
            await carry_out(provider, wanted)
        assert provider.waited == []


async def test_a_wait_is_told_and_waited_for() -> None:
    heard: list[str] = []
    async with FakeProvider() as fake, Provider.opened(dyte(fake), told=heard.append) as provider:
        fake.on("GET", THROTTLED)
        await provider.wait(timedelta(0))
        assert heard == ["Dyte asks to wait 0 s (429); waiting …"]


async def test_the_key_is_not_taken_elsewhere() -> None:
    async with FakeProvider() as fake, FakeProvider() as elsewhere, client(dyte(fake)) as provider:
        fake.on("GET", Answer(302, headers={"location": elsewhere.dyte_url + "/webhooks"}))
        with pytest.raises(ProviderError, match="redirects are not followed"):
            await provider.list()
    assert elsewhere.asked == []


async def test_proxies_and_logins_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with FakeProvider() as fake, client(dyte(fake)) as provider:
        assert await provider.list() == []


PACKED = Answer(200, gzip.compress(b'{"data": {"id": "a", "url": "", "events": []}}'), {"content-encoding": "gzip"})
"""Nobody asked for that; unpacked, it might be without end."""
TROUBLE: list[tuple[Any, str, bool]] = [
    (Hang(), "did not answer within 0.2 s; check `api.url` and the network, then try again", True),
    (SlowBody(), "did not answer within 0.2 s", True),
    (Reset(), "broke off (ServerDisconnectedError)", True),
    (Endless(), "answered more than 1024 KiB; check `api.url`", True),
    (PACKED, "something else than webhooks (no JSON", True),
]


@pytest.mark.parametrize(("trouble", "said", "unsure"), TROUBLE, ids=[type(each[0]).__name__ for each in TROUBLE])
async def test_each_trouble_on_the_wire_has_its_words(trouble: Any, said: str, *, unsure: bool) -> None:
    seconds = 0.2 if "0.2 s" in said else 30.0
    async with FakeProvider() as fake, client(dyte(fake)) as known, client(dyte(fake, seconds=seconds)) as provider:
        fake.on("PATCH", trouble)
        fake.add(URL)
        [found] = await known.list()
        with pytest.raises(ProviderError) as raised:
            await provider.change(found, events=EVENTS)
        assert said in str(raised.value)
        assert raised.value.unsure is unsure
        assert raised.value.__context__ is None or raised.value.__suppress_context__


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1", "Dyte's API cannot be reached (127.0.0.1:1); check `api.url`"),
        (f"https://{'a' * 64}.example", "Dyte's API is at a host that is no name; check `api.url`"),
        ("https://nowhere.invalid", "Dyte's API has a name that does not resolve (nowhere.invalid)"),
    ],
)
async def test_where_nobody_answers_it_is_sure_that_nothing_was_done(
    monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    real = socket.getaddrinfo

    def resolve(host: str | bytes | None, *given: Any, **more: Any) -> Any:  # no name server is asked
        if host == "nowhere.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *given, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    at = account("dyte", ApiOptions(organization_id="o", api_key=Secret("k"), url=url))
    async with client(at) as provider:
        with pytest.raises(ProviderError) as raised:
            await provider.list()
    assert said in str(raised.value)
    assert not raised.value.unsure


async def test_a_host_that_takes_no_connection_got_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_module, "_CONNECT_SECONDS", 0.1)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        host, port = deaf.getsockname()
        queued = [socket.socket() for _ in range(2)]  # the queue is full: the next connection is not answered
        for each in queued:
            each.settimeout(0)
            each.connect_ex((host, port))
        at = account("dyte", ApiOptions(organization_id="o", api_key=Secret("k"), url=f"http://{host}:{port}"))
        async with client(at) as provider:
            with pytest.raises(ProviderError, match=r"Dyte's API cannot be reached within 0\.1 s") as raised:
                await provider.list()
        assert not raised.value.unsure
        for each in queued:
            each.close()


async def test_the_key_is_not_sent_to_a_server_that_nobody_vouches_for() -> None:
    async with FakeHttp(tls=True) as http:
        at = account("dyte", ApiOptions(organization_id="o", api_key=Secret("k"), url=http.url))
        async with client(at) as provider:
            with pytest.raises(ProviderError, match="Dyte's API has no certificate that is trusted here") as raised:
                await provider.list()
        assert not raised.value.unsure
        assert http.requests == []


REFUSED: list[tuple[Callable[[FakeProvider], Account], str]] = [
    (lambda fake: dyte(fake, key="other"), "Dyte answered 401: Unauthorized; check `api.organization_id`"),
    (lambda fake: kit(fake, token="other"), "RealtimeKit answered 401: Authentication error; check `api.api_token`"),
    (lambda fake: kit(fake, app="other"), "RealtimeKit answered 404: NOT_FOUND: no such app; check `api.account_id`"),
]


@pytest.mark.parametrize(("of", "said"), REFUSED)
async def test_wrong_credentials_are_told_apart(of: Callable[[FakeProvider], Account], said: str) -> None:
    async with FakeProvider() as fake, client(of(fake)) as provider:
        calls: list[Callable[[], Awaitable[Any]]] = [
            provider.list,
            lambda: provider.create(name="n", url=URL, events=EVENTS),
        ]
        for call in calls:
            with pytest.raises(ProviderError) as raised:
                await call()
            assert said in str(raised.value) or "not there any more" in str(raised.value)
            assert not raised.value.unsure


async def test_one_that_is_gone_cannot_be_changed() -> None:
    async with FakeProvider() as fake, client(dyte(fake)) as provider:
        fake.add(URL)
        [found] = await provider.list()
        fake.webhooks.clear()
        with pytest.raises(ProviderError, match="the registration is not there any more; see `relay webhooks plan`"):
            await provider.change(found, events=EVENTS)
        fake.add(URL)
        fake.on("DELETE", Answer(403))
        with pytest.raises(ProviderError, match="the API key may not do this"):
            await provider.delete(found)

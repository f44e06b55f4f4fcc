"""Cloudflare's own client as a judge of ours: the loopback API satisfies it, and both send the same.

It is in the `dev` group, and not a dependency: it knows one of the two providers only, and brings fifty megabytes.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from cloudflare import AsyncCloudflare, AuthenticationError, BadRequestError, NotFoundError, RateLimitError

from relay.options import Secret
from relay.registration import ApiOptions, Provider, account
from tests.fakes.http import Answer
from tests.fakes.provider import ACCOUNT, API_TOKEN, APP, EVENTS, Asked, FakeProvider

URL = "https://relay.example/webhooks/realtimekit"
WHERE = {"account_id": ACCOUNT, "app_id": APP}


@pytest.fixture
async def fake() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as fake:
        yield fake


def theirs(fake: FakeProvider, token: str = API_TOKEN) -> AsyncCloudflare:
    return AsyncCloudflare(api_token=token, base_url=fake.cloudflare_url, max_retries=0)


async def asked_by_them(fake: FakeProvider) -> list[Asked]:
    async with theirs(fake) as client:
        webhooks = client.realtime_kit.webhooks
        assert (await webhooks.get_webhooks(**WHERE)).data == []
        made = await webhooks.create_webhook(**WHERE, name="n", url=URL, events=sorted(EVENTS), enabled=True)
        assert made.success
        assert (made.data.url, set(made.data.events), made.data.enabled) == (URL, EVENTS, True)
        edited = await webhooks.edit_webhook(made.data.id, **WHERE, events=["meeting.ended"], enabled=True)
        assert edited.data.events == ["meeting.ended"]
        assert (await webhooks.get_webhook_by_id(made.data.id, **WHERE)).data.name == "n"
        assert (await webhooks.delete_webhook(made.data.id, **WHERE)).data.id == made.data.id
    return [each for each in fake.asked if each.method != "GET" or each.path.endswith("/webhooks")]


async def asked_by_us(fake: FakeProvider) -> list[Asked]:
    before = len(fake.asked)
    options = ApiOptions(account_id=ACCOUNT, app_id=APP, api_token=Secret(API_TOKEN), url=fake.cloudflare_url)
    async with Provider.opened(account("realtimekit", options), told=print) as provider:
        await provider.list()
        made = await provider.create(name="n", url=URL, events=EVENTS)
        await provider.change(made, events=["meeting.ended"])
        await provider.delete(made)
    return fake.asked[before:]


def shape(asked: Asked) -> tuple[str, str, str, object, str | None]:
    """What counts of a request; the id in its path is another one each time."""
    path = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", asked.path)
    kind = None if asked.body is None else asked.headers.get("Content-Type")
    return asked.method, path, asked.authorization, asked.body, kind


async def test_both_clients_send_the_same(fake: FakeProvider) -> None:
    they, we = await asked_by_them(fake), await asked_by_us(fake)
    assert [shape(each) for each in we] == [shape(each) for each in they]
    assert [each.method for each in we] == ["GET", "POST", "PATCH", "DELETE"]


async def test_their_client_understands_what_the_loopback_api_refuses(fake: FakeProvider) -> None:
    async with theirs(fake, token="other") as client:
        with pytest.raises(AuthenticationError):
            await client.realtime_kit.webhooks.get_webhooks(**WHERE)
    async with theirs(fake) as client:
        webhooks = client.realtime_kit.webhooks
        with pytest.raises(BadRequestError, match='"events' + r"\[0\]"):
            await webhooks.create_webhook(**WHERE, name="n", url=URL, events=["meeting.exploded"])
        with pytest.raises(NotFoundError):
            await webhooks.delete_webhook("00000000-0000-0000-0000-000000000000", **WHERE)
        fake.on("GET", Answer(429, headers={"retry-after": "1"}))
        with pytest.raises(RateLimitError):
            await webhooks.get_webhooks(**WHERE)

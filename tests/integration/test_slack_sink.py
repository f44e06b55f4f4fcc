"""SlackSink against a Slack on loopback: both ways to post, every class of refusal, and that no secret gets out."""

from __future__ import annotations

import asyncio
import gzip
import logging
import socket
import traceback
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from pydantic import TypeAdapter, ValidationError

from relay.errors import DeliveryError, Misconfigured, Rejected, Unavailable
from relay.model import Delivery, Reason
from relay.sinks.slack import SlackOptions, SlackSink
from relay.sinks.slack import errors as slack_errors
from relay.templates import TemplateError
from tests.fakes.delivery import delivery
from tests.fakes.slack import CHANNEL, TOKEN, WEBHOOK_PATH, Answer, Endless, FakeSlack, Hang, Refuse, Reset

STARTED = {"event": "meeting.started", "meeting": {"id": "m-1", "title": "Weekly <sync>"}}
CANARIES = ("canary", "T0000", "2718281828")
WAYS = ("webhook", "api")


def options(**fields: Any) -> SlackOptions:
    return TypeAdapter(SlackOptions).validate_python({"type": "slack", "timeout": "60s", **fields})


def way_to(slack: FakeSlack, way: str) -> dict[str, Any]:
    if way == "webhook":
        return {"webhook_url": slack.webhook_url}
    return {"token": TOKEN, "channel": CHANNEL, "api_url": slack.api_url}


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with FakeSlack() as fake:
        yield fake


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


MakeSink = Callable[..., SlackSink]


@pytest.fixture
async def make_sink(slack: FakeSlack) -> AsyncIterator[MakeSink]:
    made: list[SlackSink] = []

    def make(way: str = "webhook", **fields: Any) -> SlackSink:
        made.append(SlackSink("oncall", options(**way_to(slack, way) | fields)))
        return made[-1]

    yield make
    for sink in made:
        await sink.close()


@pytest.fixture(autouse=True)
def no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> Any:
    """Everything that any logger says at any level, while each of these tests runs."""
    caplog.set_level(logging.DEBUG)
    yield
    said = [record.getMessage() for record in caplog.get_records("call")]  # `text` has only the teardown's
    assert not [message for message in said if any(name in message for name in CANARIES)]


async def failure(sink: SlackSink, item: Delivery | None = None) -> DeliveryError:
    """The error of one delivery, after a look at all that it could give away."""
    with pytest.raises(DeliveryError) as caught:
        await sink.deliver(item or delivery(STARTED))
    error = caught.value
    told = "".join([str(error), repr(error), repr(error.failure), *traceback.format_exception(error, chain=True)])
    assert not [name for name in CANARIES if name in told]
    assert error.__context__ is None or isinstance(
        error.__context__, TemplateError
    )  # a client's would hold the address
    return error


async def test_a_webhook_gets_the_card(slack: FakeSlack, make_sink: MakeSink) -> None:
    sink = make_sink()
    item = delivery(STARTED)

    assert await sink.deliver(item) == "ok"
    assert slack.messages == [sink.message(item)]
    assert slack.messages[0]["text"] == "Meeting started: Weekly &lt;sync&gt;"
    assert slack.messages[0]["unfurl_links"] is slack.messages[0]["unfurl_media"] is False


async def test_a_channel_gets_the_card_and_the_receipt_tells_where(slack: FakeSlack, make_sink: MakeSink) -> None:
    sink = make_sink("api")
    item = delivery(STARTED)

    assert await sink.deliver(item) == f"{CHANNEL}/1503435956.000000"
    assert slack.messages == [sink.message(item) | {"channel": CHANNEL, "parse": "none"}]


async def test_a_template_takes_the_place_of_the_card(slack: FakeSlack, make_sink: MakeSink, way: str) -> None:
    text = (
        "{{ event }}: <https://x.example/{{ relay.id }}|{{ meeting.title }}>{{ meeting.nothing.at.all }} "
        "{{ relay.source }}/{{ relay.route }} {{ relay.received_at }} {{ 65|duration }} {{ 2e6|size }} {{ at|date }}"
    )
    sink = make_sink(way, text=text)

    await sink.deliver(delivery(STARTED | {"at": "2026-06-03T10:00:00.000Z", "relay": "not this"}))

    expected = (
        "meeting.started: <https://x.example/01931b2e-7f00-7000-8000-000000000001|Weekly &lt;sync&gt;> "
        "dyte/r 2026-11-23T11:30:00+00:00 1 min 2.0 MB "
        "<!date^1780480800^{date_short_pretty} {time}|2026-06-03 10:00 UTC>"
    )
    assert slack.messages[0]["text"] == expected
    section = {"type": "section", "text": {"type": "mrkdwn", "text": expected, "verbatim": True}}
    assert slack.messages[0]["blocks"] == [section]


async def test_a_template_shows_what_opens_a_file_or_a_stream_only_where_that_is_said(
    slack: FakeSlack, make_sink: MakeSink
) -> None:
    secret = "https://files.example/a.mp4?X-Amz-Signature=abc"
    item = delivery(
        {"event": "x", "recording": {"downloadUrl": secret, "audioDownloadUrl": secret}, "streamKey": "k3y"}
    )
    text = "{{ recording.downloadUrl }} {{ recording.audioDownloadUrl }} {{ streamKey }}"

    await make_sink(text=text).deliver(item)
    await make_sink(text=text, reveal=("recording.downloadUrl",)).deliver(item)

    hidden, revealed = (message["text"] for message in slack.messages)
    assert hidden == "[hidden] [hidden] [hidden]"
    assert revealed == f"{secret} [hidden] [hidden]"


async def test_a_long_template_is_cut_into_sections(slack: FakeSlack, make_sink: MakeSink) -> None:
    sink = make_sink(text="{% for i in range(900) %}{{ words }} {% endfor %}")

    await sink.deliver(delivery({"event": "x", "words": "one & two"}))

    texts = [block["text"]["text"] for block in slack.messages[0]["blocks"]]
    assert len(texts) > 3
    assert all(len(text) <= 3000 for text in texts)
    assert sum(map(len, texts)) <= 10_000
    assert texts[-1].endswith("…")


async def test_a_template_that_fails_or_says_nothing_kills_the_event_and_posts_nothing(
    slack: FakeSlack, make_sink: MakeSink
) -> None:
    for text, said in (("{{ meeting.size > 3 }}", "sinks.oncall.text: Undefined"), ("{{ nothing }} ", "no text")):
        error = await failure(make_sink(text=text))

        assert isinstance(error, Rejected)
        assert error.failure.reason is Reason.TEMPLATE
        assert said in error.failure.detail
    assert slack.requests == []


EVENT_CODES = [
    ("invalid_payload", Reason.REFUSED),
    ("no_text", Reason.REFUSED),
    ("invalid_blocks", Reason.REFUSED),
    ("invalid_blocks_format", Reason.REFUSED),
    ("invalid_metadata_format", Reason.REFUSED),
    ("too_many_attachments", Reason.TOO_LARGE),
    ("msg_too_long", Reason.TOO_LARGE),
    ("msg_blocks_too_long", Reason.TOO_LARGE),
    ("metadata_too_large", Reason.TOO_LARGE),
]


@pytest.mark.parametrize(("code", "reason"), EVENT_CODES)
async def test_a_refused_card_is_sent_once_more_as_plain_text(
    slack: FakeSlack, make_sink: MakeSink, way: str, code: str, reason: Reason
) -> None:
    del reason
    slack.will(Refuse(code))

    receipt = await make_sink(way).deliver(delivery(STARTED))

    assert receipt.startswith("ok" if way == "webhook" else f"{CHANNEL}/15")
    assert code in receipt
    plain = slack.messages[0]
    assert "blocks" not in plain
    assert plain["mrkdwn"] is False
    assert plain["text"] == "Meeting started: Weekly &lt;sync&gt;"
    assert len(slack.requests) == 2


@pytest.mark.parametrize(("code", "reason"), EVENT_CODES)
async def test_what_is_refused_as_plain_text_too_is_dead(
    slack: FakeSlack, make_sink: MakeSink, way: str, code: str, reason: Reason
) -> None:
    slack.will(Refuse(code), Refuse("msg_too_long"))

    error = await failure(make_sink(way))

    assert isinstance(error, Rejected)
    assert error.failure.reason is reason
    assert code in error.failure.detail
    assert "as plain text: Slack answered msg_too_long" in error.failure.detail
    assert len(slack.requests) == 2


@pytest.mark.parametrize(("status", "reason"), [(413, Reason.TOO_LARGE), (400, Reason.REFUSED), (422, Reason.REFUSED)])
async def test_a_status_that_blames_the_message_is_enough(
    slack: FakeSlack, make_sink: MakeSink, way: str, status: int, reason: Reason
) -> None:
    slack.will(Answer(status, "<html>"), Answer(status, "<html>"))

    error = await failure(make_sink(way))

    assert isinstance(error, Rejected)
    assert error.failure.reason is reason
    assert len(slack.requests) == 2


async def test_the_plain_text_is_short(slack: FakeSlack, make_sink: MakeSink) -> None:
    slack.will(Refuse("msg_too_long"))

    await make_sink(text="{{ words }}").deliver(delivery({"event": "x", "words": "& " * 2000}))

    assert 900 < len(slack.messages[0]["text"]) <= 1000
    assert slack.messages[0]["text"].endswith("&amp;…")


async def test_trouble_at_the_second_try_is_not_the_events_fault(slack: FakeSlack, make_sink: MakeSink) -> None:
    slack.will(Refuse("invalid_blocks"), Answer(503, "upstream"))

    assert isinstance(await failure(make_sink()), Unavailable)


async def test_slacks_explanation_is_passed_on_without_the_token(slack: FakeSlack, make_sink: MakeSink) -> None:
    hint = f"[ERROR] must be less than 151 characters {TOKEN} [json-pointer:/blocks/0/text]"
    slack.will(Refuse("invalid_blocks", (hint,)), Refuse("invalid_blocks", (hint,)))

    error = await failure(make_sink("api"))

    assert "must be less than 151 characters *** [json-pointer:/blocks/0/text]" in error.failure.detail


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("action_prohibited", Reason.UNAUTHORIZED),
        ("posting_to_general_channel_denied", Reason.UNAUTHORIZED),
        ("invalid_token", Reason.UNAUTHORIZED),
        ("account_inactive", Reason.UNAUTHORIZED),
        ("invalid_auth", Reason.UNAUTHORIZED),
        ("not_authed", Reason.UNAUTHORIZED),
        ("token_revoked", Reason.UNAUTHORIZED),
        ("token_expired", Reason.UNAUTHORIZED),
        ("missing_scope", Reason.UNAUTHORIZED),
        ("not_in_channel", Reason.UNAUTHORIZED),
        ("restricted_action", Reason.UNAUTHORIZED),
        ("restricted_action_read_only_channel", Reason.UNAUTHORIZED),
        ("ekm_access_denied", Reason.UNAUTHORIZED),
        ("team_access_not_granted", Reason.UNAUTHORIZED),
        ("access_denied", Reason.UNAUTHORIZED),
        ("no_service", Reason.NOT_FOUND),
        ("no_service_id", Reason.NOT_FOUND),
        ("no_active_hooks", Reason.NOT_FOUND),
        ("no_team", Reason.NOT_FOUND),
        ("channel_not_found", Reason.NOT_FOUND),
        ("user_not_found", Reason.NOT_FOUND),
        ("team_disabled", Reason.GONE),
        ("channel_is_archived", Reason.GONE),
        ("is_archived", Reason.GONE),
    ],
)
async def test_a_destination_that_is_wrong_is_told_at_once(
    slack: FakeSlack, make_sink: MakeSink, way: str, code: str, reason: Reason
) -> None:
    slack.will(Refuse(code))

    error = await failure(make_sink(way))

    assert isinstance(error, Misconfigured)
    assert error.certain
    assert error.failure.reason is reason
    assert code in error.failure.detail
    assert len(slack.requests) == 1


@pytest.mark.parametrize(
    ("answer", "kind", "reason", "certain"),
    [
        (Answer(403, "<html>forbidden</html>"), Misconfigured, Reason.UNAUTHORIZED, False),
        (Answer(401, ""), Misconfigured, Reason.UNAUTHORIZED, False),
        (Answer(404, "404: Not Found"), Misconfigured, Reason.NOT_FOUND, False),
        (Answer(405, ""), Misconfigured, Reason.NOT_FOUND, False),
        (Answer(410, ""), Misconfigured, Reason.GONE, True),
        (Answer(302, "", {"Location": "/services/elsewhere"}), Misconfigured, Reason.REDIRECT, False),
        (Answer(307, "", {"Location": "/api/chat.postMessage"}), Misconfigured, Reason.REDIRECT, False),
        (Answer(500, "rollup_error"), Unavailable, Reason.UNAVAILABLE, None),
        (Answer(502, "<html>"), Unavailable, Reason.UNAVAILABLE, None),
        (Answer(503, "service_unavailable"), Unavailable, Reason.UNAVAILABLE, None),
        (Answer(408, "request_timeout"), Unavailable, Reason.UNAVAILABLE, None),
        (Answer(425, ""), Unavailable, Reason.UNAVAILABLE, None),
        (Answer(402, "<html>a proxy that wants money"), Unavailable, Reason.REFUSED, None),
        (Answer(407, ""), Unavailable, Reason.REFUSED, None),
        (Answer(200, "<html>log in to the hotel</html>"), Unavailable, Reason.UNAVAILABLE, None),
        (Answer(200, ""), Unavailable, Reason.UNAVAILABLE, None),
        (Answer(200, "[]", {"Content-Type": "application/json"}), Unavailable, Reason.UNAVAILABLE, None),
        (Answer(200, '{"ok":', {"Content-Type": "application/json"}), Unavailable, Reason.UNAVAILABLE, None),
        (Answer(200, '{"ok":false}', {"Content-Type": "application/json"}), Unavailable, Reason.UNAVAILABLE, None),
        (Answer(200, "1", {"Content-Type": "application/json"}), Unavailable, Reason.UNAVAILABLE, None),
        (
            Answer(200, gzip.compress(b"ok", mtime=0), {"Content-Encoding": "gzip"}),
            Unavailable,
            Reason.UNAVAILABLE,
            None,
        ),
        (Answer(200, "x", {"Content-Type": "text/plain; charset=nonsense"}), Unavailable, Reason.UNAVAILABLE, None),
        (Reset(), Unavailable, Reason.RESET, None),
    ],
    ids=repr,
)
async def test_the_status_decides_where_no_code_is_known(
    slack: FakeSlack,
    make_sink: MakeSink,
    way: str,
    answer: Any,
    kind: type[DeliveryError],
    reason: Reason,
    certain: object,
) -> None:
    slack.will(answer)

    error = await failure(make_sink(way))

    assert type(error) is kind
    assert error.failure.reason is reason
    assert getattr(error, "certain", None) is certain
    assert len(slack.requests) == 1


@pytest.mark.parametrize("answer", [Answer(200, "x" * 100_000), Endless()], ids=["long", "endless"])
async def test_no_more_of_an_answer_is_read_than_slack_ever_sends(
    slack: FakeSlack, make_sink: MakeSink, way: str, answer: Answer | Endless
) -> None:
    slack.will(answer)

    assert "more than 64 KiB" in (await failure(make_sink(way))).failure.detail


@pytest.mark.parametrize("code", ["internal_error", "fatal_error", "a_code_of_tomorrow"])
async def test_an_api_error_that_may_pass_is_tried_again(slack: FakeSlack, make_sink: MakeSink, code: str) -> None:
    slack.will(Refuse(code))

    error = await failure(make_sink("api"))

    assert isinstance(error, Unavailable)
    assert error.retry_after is None  # so that it counts, and ends as a dead letter one day
    assert code in error.failure.detail


@pytest.mark.parametrize("code", ["ratelimited", "rate_limited", "message_limit_exceeded"])
async def test_a_throttle_without_a_time_has_a_default(slack: FakeSlack, make_sink: MakeSink, code: str) -> None:
    slack.will(Refuse(code))

    error = await failure(make_sink("api"))

    assert isinstance(error, Unavailable)
    assert error.failure.reason is Reason.THROTTLED
    assert error.retry_after == slack_errors.DEFAULT_WAIT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7), (" 30 ", 30), ("0", 0), ("-1", 0), ("99999999999", 3600), ("9" * 90, 3600),
        ("٣", 30), ("soon", 30), ("1.5", 30), ("1e9", 30), ("", 30), (None, 30), ("9" * 200, 30),
        ("Wed, 21 Oct 2099 07:28:00 GMT", 30),
    ],
)  # fmt: skip
async def test_a_throttle_is_obeyed_within_reason(
    slack: FakeSlack, make_sink: MakeSink, way: str, value: str | None, seconds: int
) -> None:
    slack.will(Answer(429, "rate_limited", {} if value is None else {"Retry-After": value}))

    error = await failure(make_sink(way))

    assert isinstance(error, Unavailable)
    assert error.failure.reason is Reason.THROTTLED
    assert error.retry_after == timedelta(seconds=seconds)


async def test_slacks_own_pace_is_told(slack: FakeSlack, make_sink: MakeSink, way: str) -> None:
    slack.min_interval = 3600.0
    sink = make_sink(way)
    await sink.deliver(delivery(STARTED))

    error = await failure(sink)

    assert isinstance(error, Unavailable)
    assert error.retry_after == timedelta(seconds=1)


async def test_an_outage_may_say_for_how_long(slack: FakeSlack, make_sink: MakeSink) -> None:
    slack.will(Answer(503, "", {"Retry-After": "12"}), Answer(503, ""))
    sink = make_sink()

    errors = [await failure(sink), await failure(sink)]

    assert [error.retry_after for error in errors if isinstance(error, Unavailable)] == [timedelta(seconds=12), None]


async def test_a_silent_slack_is_a_time_out_that_may_have_posted(
    slack: FakeSlack, make_sink: MakeSink, way: str
) -> None:
    slack.will(Hang())

    error = await failure(make_sink(way, timeout="200ms"))

    assert isinstance(error, Unavailable)
    assert error.failure.reason is Reason.TIMEOUT
    assert "may have been posted" in error.failure.detail


async def test_both_tries_share_one_time_out(slack: FakeSlack, make_sink: MakeSink, way: str) -> None:
    slack.will(Refuse("invalid_blocks"), Hang())

    error = await failure(make_sink(way, timeout="300ms"))

    assert error.failure.reason is Reason.TIMEOUT
    assert len(slack.requests) == 2


async def test_a_reset_may_have_posted(slack: FakeSlack, make_sink: MakeSink, way: str) -> None:
    slack.will(Reset())

    assert "may have been posted" in (await failure(make_sink(way))).failure.detail


@pytest.mark.parametrize("way", WAYS)
async def test_nobody_listens(way: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{free.getsockname()[1]}"
        fields = {"webhook_url": origin + WEBHOOK_PATH} if way == "webhook" else {"token": TOKEN, "channel": CHANNEL}
        sink = SlackSink("oncall", options(**fields, api_url=f"{origin}/api/"))

        error = await failure(sink)
        await sink.close()

    assert isinstance(error, Unavailable)
    assert error.failure.reason is Reason.CONNECT
    assert "nothing was sent" in error.failure.detail


async def test_what_does_not_speak_tls_is_misconfigured(slack: FakeSlack) -> None:
    sink = SlackSink("oncall", options(webhook_url=slack.webhook_url.replace("http:", "https:")))

    error = await failure(sink)
    await sink.close()

    assert isinstance(error, Misconfigured)
    assert error.failure.reason is Reason.TLS


def test_what_cannot_be_made_to_happen_on_loopback() -> None:
    key: Any = type("Key", (), {"host": "canary", "port": 1, "ssl": True, "is_ssl": True})()
    dns = slack_errors.of_transport(aiohttp.ClientConnectorDNSError(key, OSError("canary")))
    slow = slack_errors.of_transport(aiohttp.ConnectionTimeoutError("canary"))
    certificate = slack_errors.of_transport(aiohttp.ClientConnectorCertificateError(key, ValueError("canary")))

    assert [error.failure.reason for error in (dns, slow, certificate)] == [Reason.DNS, Reason.CONNECT, Reason.TLS]
    assert isinstance(certificate, Misconfigured)
    assert not [error for error in (dns, slow, certificate) if "canary" in error.failure.detail]


async def test_proxies_of_the_environment_are_left_alone(
    slack: FakeSlack, make_sink: MakeSink, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    await make_sink(way).deliver(delivery(STARTED))

    assert len(slack.messages) == 1


async def test_many_at_once_share_the_connections(slack: FakeSlack, make_sink: MakeSink, way: str) -> None:
    sink = make_sink(way)

    await asyncio.gather(*(sink.deliver(delivery(STARTED)) for _ in range(50)))

    assert len(slack.messages) == 50


async def test_cancelling_leaves_the_sink_usable(slack: FakeSlack, make_sink: MakeSink, way: str) -> None:
    slack.will(Hang())
    sink = make_sink(way)
    task = asyncio.create_task(sink.deliver(delivery(STARTED)))
    async with asyncio.timeout(30):
        await slack.asked.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await sink.deliver(delivery(STARTED))

    assert len(slack.messages) == 1


async def test_close_ends_what_hangs_and_may_come_twice_or_first(
    slack: FakeSlack, make_sink: MakeSink, way: str
) -> None:
    slack.will(Hang())
    sink, unused = make_sink(way), make_sink(way)
    task = asyncio.create_task(failure(sink))
    async with asyncio.timeout(30):
        await slack.asked.wait()
        for each in (sink, sink, unused):
            await each.close()
        broken = await task

    assert isinstance(broken, Unavailable)
    assert (await failure(sink)).failure.reason is Reason.STOPPING


def test_a_constructor_needs_no_loop() -> None:
    sink = SlackSink("oncall", options(webhook_url=f"https://hooks.slack.com{WEBHOOK_PATH}"))

    assert not [name for name in CANARIES if name in repr(sink)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "webhook_url, or token and channel is missing"),
        ({"webhook_url": ""}, "webhook_url, or token and channel is missing"),
        ({"token": TOKEN}, "channel is missing or empty"),
        ({"channel": "C1"}, "token is missing or empty"),
        ({"token": "", "channel": "C1"}, "token is missing or empty"),
        ({"webhook_url": f"https://h.example{WEBHOOK_PATH}", "token": TOKEN}, "excludes token and channel"),
        ({"webhook_url": f"https://h.example{WEBHOOK_PATH}", "channel": "C1"}, "excludes token and channel"),
        ({"webhook_url": f"http://h.example{WEBHOOK_PATH}"}, "must start with https://"),
        ({"webhook_url": f"https://user:pw@h.example{WEBHOOK_PATH}"}, "must not hold a user name"),
        ({"webhook_url": f"h.example{WEBHOOK_PATH}"}, "is not an address"),
        ({"webhook_url": f"https://h.example:x{WEBHOOK_PATH}"}, "is not an address"),
        ({"webhook_url": f"https://h.example{WEBHOOK_PATH}\n"}, "is not an address"),
        ({"webhook_url": f"https://[h.example{WEBHOOK_PATH}"}, "is not an address"),
        ({"token": f"{TOKEN}\r\nx: y", "channel": "C1"}, "holds characters that no token has"),
        ({"token": TOKEN, "channel": "C1", "api_url": "http://slack.example/api"}, "must start with https://"),
        ({"webhook_url": f"https://h.example{WEBHOOK_PATH}", "text": "\n\n{{ x }"}, "line 3 of the template"),
        ({"webhook_url": f"https://h.example{WEBHOOK_PATH}", "text": "{{ x|safe }}"}, "No filter named 'safe'"),
        ({"webhook_url": f"https://h.example{WEBHOOK_PATH}", "colour": "red"}, "Extra inputs"),
    ],
)
def test_options_say_what_is_wrong_and_no_secret(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        options(**fields)

    assert message in str(caught.value)
    assert not [name for name in CANARIES if name in str(caught.value) + repr(caught.value)]


def test_options_do_not_show_their_secrets() -> None:
    webhook = options(webhook_url=f"https://hooks.slack.com{WEBHOOK_PATH}")
    bot = options(token=TOKEN, channel=CHANNEL, api_url="https://slack-gov.com/api")

    assert bot.api_url == "https://slack-gov.com/api/"
    for shown in (webhook, bot):
        assert not [name for name in CANARIES if name in f"{shown!r} {shown} {shown.model_dump_json()}"]


def test_sinks_of_one_channel_are_paced_together() -> None:
    first, second = (options(webhook_url=f"https://hooks.slack.com{WEBHOOK_PATH}", concurrency=n) for n in (1, 2))
    bot, other = (options(token=TOKEN, channel=channel) for channel in ("C1", "C2"))

    assert first.pacing_key("a") == second.pacing_key("b")
    assert len({each.pacing_key("a") for each in (first, bot, other)}) == 3
    assert not [name for name in CANARIES if name in first.pacing_key("a") + bot.pacing_key("a")]

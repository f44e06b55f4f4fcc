"""Slack, by incoming webhook or bot token.

A template or, without one, a card for each event type. A card that Slack refuses is sent once more as short plain text
before its event becomes a dead letter: a message that looks plain is worth more than none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

from markupsafe import Markup
from pydantic import field_validator, model_validator

from relay.errors import Rejected
from relay.model import Delivery, Reason
from relay.options import LaneOptions, Order, Rate, Secret, Unfit
from relay.preview import Look, Preview
from relay.sensitive import CONCEALED, concealed
from relay.sinks.slack import cards as slack_cards
from relay.sinks.slack import errors as slack_errors
from relay.sinks.slack import text as slack_text
from relay.sinks.slack.cards import Message
from relay.sinks.slack.client import ApiClient, SlackClient, WebhookClient
from relay.templates import Template, TemplateError

_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_MAX_PLAIN: Final = 1000
"""UTF-16 units of the plain text that is sent when a card was refused."""
_HIDDEN: Final = f"the channel would read {CONCEALED} too; to show it there, name its path in `reveal` of the sink"


class SlackOptions(LaneOptions):
    """A Slack channel: `webhook_url`, or `token` with `channel`."""

    type: Literal["slack"]
    webhook_url: Secret | None = None
    """Incoming webhook. The URL is the credential: treat it as a secret."""
    token: Secret | None = None
    """Bot token (`xoxb-…`) with the scope `chat:write`."""
    channel: str | None = None
    """Channel id (`C…`) for the bot token."""
    api_url: str = "https://slack.com/api/"
    """Base address of Slack's Web API; another one for GovSlack."""
    text: str | None = None
    """Jinja2 template over the payload; without it each event type has a card of its own.

    Its variables are the payload's fields, `event` (the event type) and `relay` (`id`, `source`, `route`,
    `received_at`, `replay`). Filters beside Jinja's: `date` (in each reader's time zone), `duration`, `size`. A field
    that is missing prints nothing. Values are escaped; addresses become links only when written `<address|text>`.
    """
    reveal: tuple[str, ...] = ()
    """Dotted paths that are shown although they are sensitive, for instance `recording.downloadUrl`. Without it, keys
    of livestreams and addresses that open a file without a login read `[hidden]`: a channel has many readers."""
    order: Order = Order.MEETING
    rate: Rate | None = Rate(count=1, per=timedelta(seconds=1))
    """Slack takes one message a second for each channel."""

    @field_validator("webhook_url")
    @classmethod
    def _check_webhook_url(cls, url: Secret | None) -> Secret | None:
        if url is not None and url.get_secret_value():
            _check_address(url.get_secret_value())
        return url

    @field_validator("token")
    @classmethod
    def _check_token(cls, token: Secret | None) -> Secret | None:
        if token is not None and not _is_plain(token.get_secret_value()):
            raise Unfit("holds characters that no token has: spaces, line breaks or non-ASCII")
        return token

    @field_validator("api_url")
    @classmethod
    def _check_api_url(cls, url: str) -> str:
        _check_address(url)
        return url if url.endswith("/") else f"{url}/"

    @field_validator("text")
    @classmethod
    def _check_text(cls, text: str | None) -> str | None:
        if text is not None:
            _compile(text)  # its error names the line in the template
        return text

    @model_validator(mode="after")
    def _check_destination(self) -> Self:
        webhook, token = bool(_reveal(self.webhook_url)), bool(_reveal(self.token))
        if webhook and (token or self.channel):
            raise Unfit("webhook_url excludes token and channel: keep one of the two ways to post")
        if not webhook and not (token and self.channel):
            missing = "channel" if token else "token" if self.channel else "webhook_url, or token and channel"
            raise Unfit(f"{missing} is missing or empty")
        return self

    def pacing_key(self, sink: str) -> str:  # noqa: ARG002  what counts here is the channel
        """The same for sinks that post to one channel in one way, which share its one message a second."""
        secret = _reveal(self.webhook_url) or f"{_reveal(self.token)}\n{self.channel}"
        return "slack:" + sha256(secret.encode()).hexdigest()[:16]


class SlackSink:
    """Posts each delivery as one message. Concurrent calls share a connection pool."""

    def __init__(self, name: str, options: SlackOptions) -> None:
        self._name = name
        self._options = options
        self._template = _compile(options.text) if options.text is not None else None
        # A moment before the lane's own limit, because only here it is known how far the attempt got.
        self._seconds = options.timeout.total_seconds() * 0.95
        self._client = _client(options, self._seconds)

    def message(self, delivery: Delivery) -> Message:
        """What would be posted, without posting it.

        Raises:
            Rejected: the template fails over this payload.
        """
        return slack_cards.card(delivery) if self._template is None else self._render(self._template, delivery)

    def preview(self, delivery: Delivery, look: Look) -> Preview:
        """See `Previewed.preview`. `text` is what a notification says, `card` what stands in the channel."""
        message = self._client.addressed(self.message(look.of(delivery)))
        return Preview(
            facts={
                "channel": self._options.channel,
                "text": message["text"],
                "card": slack_cards.readable(message),
            },
            headers={},
            payload=message,
            pictures={"card": slack_cards.picture(message, emoji=look.emoji)},
            notes=(_HIDDEN,) if CONCEALED in self.message(delivery)["text"] else (),
        )

    async def deliver(self, delivery: Delivery) -> str:
        """Post, and return `ok` (webhook) or `channel/ts` (bot token); with a note where it went as plain text."""
        message = self.message(delivery)
        try:
            async with asyncio.timeout(self._seconds):
                return await self._post_or_shorten(message)
        except TimeoutError as raised:
            error = slack_errors.of_transport(raised)
        raise error

    async def close(self) -> None:
        """Close the connections; what is under way fails as interrupted."""
        await self._client.close()

    async def _post_or_shorten(self, message: Message) -> str:
        try:
            return await self._client.post(message)
        except Rejected as raised:
            refused = raised
        try:
            receipt = await self._client.post(_shortened(message))
        except Rejected as raised:
            again = raised
        else:
            return f"{receipt} (as plain text: {refused.failure.detail[:200]})"
        detail = f"{refused.failure.detail}; then as plain text: {again.failure.detail}"
        raise Rejected(refused.failure.reason, detail)

    def _render(self, template: Template, delivery: Delivery) -> Message:
        try:
            markup = template.render(_variables(delivery, self._options.reveal))
        except TemplateError as raised:
            raise Rejected(Reason.TEMPLATE, f"sinks.{self._name}.text: {raised}") from None
        pieces = slack_text.split(markup)
        if not pieces:
            raise Rejected(Reason.TEMPLATE, f"sinks.{self._name}.text yields no text for this event")
        return slack_cards.envelope(pieces[0], slack_cards.markup_blocks(pieces))


def _client(options: SlackOptions, seconds: float) -> SlackClient:
    url = _reveal(options.webhook_url)
    if url:
        return WebhookClient(url, seconds=seconds)
    channel = options.channel or ""
    return ApiClient(_reveal(options.token), channel, api_url=options.api_url, seconds=seconds)


def _shortened(message: Message) -> Message:
    """The message without blocks and markup, and short."""
    pieces = slack_text.split(message["text"], size=_MAX_PLAIN, total=_MAX_PLAIN)
    return slack_cards.envelope(pieces[0] if pieces else "-") | {"mrkdwn": False}


def _compile(text: str) -> Template:
    filters = {"date": _date, "duration": slack_cards.duration, "size": slack_cards.size}
    return Template(text, escape=_print, filters=filters)


def _print(value: str) -> str:
    return slack_text.escape(slack_text.clean(value))


def _date(value: object) -> str:
    moment = slack_cards.moment(value)
    return Markup(slack_text.date(moment)) if moment else ""  # noqa: S704  made of a number and digits


def _variables(delivery: Delivery, reveal: Collection[str]) -> dict[str, Any]:
    event = delivery.event
    relay = {
        "id": event.id,
        "source": event.source,
        "route": delivery.route,
        "received_at": event.received_at.isoformat(),
        "replay": delivery.replay,
    }
    return {"event": event.type, **concealed(delivery.payload, reveal=reveal), "relay": relay}


def _reveal(secret: Secret | None) -> str:
    return secret.get_secret_value() if secret is not None else ""


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _check_address(url: str) -> None:
    """HTTPS, or loopback. The message never holds the address: it may be a credential."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if not host or not _is_plain(url) or parts.scheme not in ("https", "http"):
        raise Unfit("is not an address; write it like https://hooks.slack.com/services/…")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise Unfit("must start with https://: what it carries is secret")
    if "@" in parts.netloc:
        raise Unfit("must not hold a user name or password")

"""What relay.yaml says of a provider's API, and the account that follows from it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field

from relay.model import value
from relay.options import Duration, Options, Secret, Unfit
from relay.registration.url import web_address

ProviderName: TypeAlias = Literal["dyte", "realtimekit"]

LABELS: Mapping[str, str] = {"dyte": "Dyte", "realtimekit": "RealtimeKit"}
"""The providers as people call them."""
API_URLS: Mapping[str, str] = {
    "dyte": "https://api.dyte.io/v2",
    "realtimekit": "https://api.cloudflare.com/client/v4",
}
ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
_KEYS: Mapping[str, Sequence[str]] = {
    "dyte": ("organization_id", "api_key"),
    "realtimekit": ("account_id", "app_id", "api_token"),
}


def _sendable(secret: Secret) -> Secret:
    text = secret.get_secret_value()
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise Unfit("holds characters that no key has: spaces, line breaks or non-ASCII")
    return secret


def _api_address(url: str) -> str:
    return web_address(url, what="carries the key").rstrip("/")


_Key = Annotated[Secret, AfterValidator(_sendable)]


class ApiOptions(Options):
    """The provider's API and the key to it, which only `relay webhooks` uses.

    Dyte takes `organization_id` and `api_key`; RealtimeKit takes `account_id`, `app_id` and `api_token`. Write a secret
    as `${NAME:-}`: a relay that only serves then starts without it.
    """

    organization_id: str | None = Field(default=None, pattern=ID_PATTERN)
    """Dyte: the organization ID, from the developer portal."""
    api_key: _Key | None = None
    """Dyte: the API key of that organization. An empty text counts as none."""
    account_id: str | None = Field(default=None, pattern=ID_PATTERN)
    """RealtimeKit: the Cloudflare account ID."""
    app_id: str | None = Field(default=None, pattern=ID_PATTERN)
    """RealtimeKit: the ID of the app whose webhooks these are."""
    api_token: _Key | None = None
    """RealtimeKit: a Cloudflare API token with the permission Realtime Admin. An empty text counts as none."""
    url: Annotated[str, AfterValidator(_api_address)] | None = None
    """Base address of the API instead of the provider's own: HTTPS, or loopback. The key is sent there alone."""
    timeout: Duration = Field(default=timedelta(seconds=15), gt=timedelta(0))
    """How long one call may take."""


@value
class Account:
    """Where registrations are kept, and the key to it. Equal for sources that share one."""

    provider: str
    url: str
    """Of the list of registrations."""
    authorization: Secret
    """The header that opens it."""
    keys: tuple[Secret, ...]
    """What no text may repeat."""
    timeout: timedelta

    @property
    def label(self) -> str:
        """The provider as people call it."""
        return LABELS[self.provider]


def strange_keys(provider: str, options: ApiOptions) -> Sequence[str]:
    """Keys that are given, and belong to another provider."""
    others = (key for name, keys in _KEYS.items() if name != provider for key in keys)
    return [key for key in others if getattr(options, key) is not None]


def missing_keys(provider: str, options: ApiOptions | None) -> Sequence[str]:
    """Keys without which the API cannot be asked."""
    return [key for key in _KEYS[provider] if options is None or not _text(getattr(options, key))]


def keys_of(provider: str) -> Sequence[str]:
    """Keys that a provider takes."""
    return _KEYS[provider]


def account(provider: str, options: ApiOptions) -> Account:
    """The account that the options name; `missing_keys` must be none."""
    texts = [_text(getattr(options, key)) for key in _KEYS[provider]]
    base = options.url or API_URLS[provider]
    if provider == "dyte":
        pair = base64.b64encode(":".join(texts).encode()).decode()
        url, header, keys = f"{base}/webhooks", f"Basic {pair}", [texts[-1], pair]
    else:
        url = f"{base}/accounts/{texts[0]}/realtime/kit/{texts[1]}/webhooks"
        header, keys = f"Bearer {texts[-1]}", [texts[-1]]
    return Account(
        provider=provider,
        url=url,
        authorization=Secret(header),
        keys=tuple(Secret(key) for key in keys),
        timeout=options.timeout,
    )


def _text(given: str | Secret | None) -> str:
    return given.get_secret_value() if isinstance(given, Secret) else given or ""

"""What the provider's API answers, and what that means. Pure.

Success is `{"success": true, "data": …}` at both. A refusal comes in one of three forms: `{"success": false, "error":
{"code", "message"}}`; `{"message"}` alone, for 401; and Cloudflare's own `{"success": false, "errors": [{"code",
"message"}]}`, where it answers before RealtimeKit does. https://docs.dyte.io/api,
https://developers.cloudflare.com/api/resources/realtime_kit/subresources/webhooks/
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import orjson
from pydantic import BaseModel, Field, ValidationError

from relay.errors import ProviderError
from relay.model import value
from relay.registration.options import Account
from relay.registration.plan import Registration

MAX_ANSWER = 1024 * 1024
"""Bytes of an answer that are read: a registration has some 500."""
LONGEST_SAID = 300
_DEFAULT_WAIT = timedelta(seconds=5)
_HINTS = {
    ("dyte", 401): "check `api.organization_id` and `api.api_key`: both are in Dyte's developer portal, under API keys",
    ("realtimekit", 401): "check `api.api_token`: that it is whole, and has not expired",
    ("dyte", 403): "the API key may not do this; take one of the organization's own from the developer portal",
    ("realtimekit", 403): "the API token needs the permission Realtime Admin for this account",
    ("dyte", 404): "check `api.url`; Dyte's own is https://api.dyte.io/v2",
    ("realtimekit", 404): "check `api.account_id`, `api.app_id` and `api.url`",
}
_REFUSED = "it did not like what was sent; it wants a public https:// address and event types that it knows"
_GONE = "the registration is not there any more; see `relay webhooks plan`"


class _Data(BaseModel):
    """One registration as both providers show it; what else they say of it is none of our business."""

    id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")
    name: str | None = None
    url: str
    events: list[str] | None = None
    enabled: bool = True
    created_at: str | None = None

    def registration(self) -> Registration:
        return Registration(
            id=self.id,
            name=self.name or "",
            url=self.url,
            events=frozenset(self.events or ()),
            enabled=self.enabled,
            created=self.created_at or "",
        )


class _Paging(BaseModel):
    total_count: int = 0


class _List(BaseModel):
    data: list[_Data]
    paging: _Paging | None = None
    result_info: _Paging | None = None


class _One(BaseModel):
    data: _Data


@value
class Answer:
    """What came back, as far as it counts."""

    status: int
    body: bytes
    retry_after: str = ""


def read_list(account: Account, answer: Answer) -> Sequence[Registration]:
    """The registrations of an account; all of them, or an error: who misses one may register it twice."""
    _expect_success(account, answer)
    try:
        found = _List.model_validate_json(answer.body)
    except ValidationError as error:
        raise _unreadable(account, error) from None
    total = max((each.total_count for each in (found.paging, found.result_info) if each is not None), default=0)
    if total > len(found.data):
        text = f"{account.label} shows {len(found.data)} of {total} webhooks, and one of the others may be ours"
        raise ProviderError(f"{text}; delete some that nobody needs, then try again")
    return [each.registration() for each in found.data]


def read_one(account: Account, answer: Answer) -> Registration:
    """The registration that was made, changed or deleted."""
    _expect_success(account, answer, single=True)
    try:
        found = _One.model_validate_json(answer.body)
    except ValidationError as error:
        raise _unreadable(account, error) from None
    return found.data.registration()


def wait_asked(answer: Answer) -> timedelta:
    """How long a 429 asks to be left alone, in whole seconds; a little while where it does not say."""
    text = answer.retry_after.strip()
    seconds = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    return timedelta(seconds=seconds) if seconds else _DEFAULT_WAIT


def said(account: Account, body: bytes) -> str:
    """The message in an answer that refuses, in whichever form it comes; without the keys, should it repeat them."""
    text = next((text for text in _messages(_document(body)) if isinstance(text, str) and text.strip()), "").strip()
    for key in account.keys:
        text = text.replace(key.get_secret_value(), "***")
    return text[:LONGEST_SAID]


def _document(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _messages(document: Any) -> Sequence[Any]:
    if not isinstance(document, dict):
        return ()
    error, errors = document.get("error"), document.get("errors")
    several = [each.get("message") for each in errors if isinstance(each, dict)] if isinstance(errors, list) else []
    return (error.get("message") if isinstance(error, dict) else error, *several, document.get("message"))


def _expect_success(account: Account, answer: Answer, *, single: bool = False) -> None:
    """A status alone is not enough: both providers also say so in the body."""
    document = _document(answer.body)
    if not 200 <= answer.status < 300 or (isinstance(document, dict) and document.get("success") is False):
        raise _refusal(account, answer, single=single)


def _unreadable(account: Account, error: ValidationError) -> ProviderError:
    """An answer that is none of the API's: from another server, perhaps. It does not tell whether anything was done."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(step) for step in first["loc"])
    text = f"{account.label} answered something else than webhooks ({where or 'no JSON object'}); check `api.url`"
    return ProviderError(text, unsure=True)


def _refusal(account: Account, answer: Answer, *, single: bool) -> ProviderError:
    told = said(account, answer.body)
    text = f"{account.label} answered {answer.status}" + (f": {told}" if told else "")
    return ProviderError(
        f"{text}; {_hint(account.provider, answer.status, single=single)}",
        status=answer.status,
        unsure=_is_unsure(answer.status),
    )


def _is_unsure(status: int) -> bool:
    """Whether what was asked for may have been done."""
    return status >= 500 or status == 408


def _hint(provider: str, status: int, *, single: bool) -> str:
    if status == 404 and single:
        return _GONE
    if (provider, status) in _HINTS:
        return _HINTS[provider, status]
    if 300 <= status < 400:
        return "redirects are not followed, as they would take the key elsewhere; set `api.url` to the final address"
    if _is_unsure(status):
        return "the trouble is there; try again later"
    return _REFUSED

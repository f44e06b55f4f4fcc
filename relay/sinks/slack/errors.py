"""Whose fault an answer of Slack is: the event's, the sink's, or nobody's for long.

Texts are our own. An exception of a client holds the address, and a webhook's address is its credential; so nothing of
it is passed on but its class.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import aiohttp

from relay.errors import DeliveryError, Misconfigured, Rejected, Unavailable
from relay.model import Reason

LONGEST_WAIT: Final = timedelta(hours=1)
DEFAULT_WAIT: Final = timedelta(seconds=30)
"""After a throttle that does not say for how long."""

# https://docs.slack.dev/reference/methods/chat.postMessage#errors and
# https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#handling_errors
_EVENT: Mapping[str, Reason] = dict.fromkeys(
    [
        "invalid_payload", "no_text", "invalid_blocks", "invalid_blocks_format", "invalid_attachments",
        "invalid_metadata_format", "invalid_metadata_schema", "invalid_arguments", "invalid_arg_name",
        "invalid_array_arg", "invalid_charset", "invalid_form_data", "invalid_json", "invalid_post_type",
        "json_not_object", "missing_post_type",
    ],
    Reason.REFUSED,
) | dict.fromkeys(
    [
        "attachment_payload_limit_exceeded", "metadata_too_large", "msg_blocks_too_long", "msg_too_long",
        "too_many_attachments",
    ],
    Reason.TOO_LARGE,
)  # fmt: skip
_SINK: Mapping[str, Reason] = (
    dict.fromkeys(
        [
            "access_denied", "account_inactive", "accesslimited", "action_prohibited", "as_user_not_supported",
            "ekm_access_denied", "enterprise_is_restricted", "invalid_auth", "invalid_token", "missing_scope",
            "no_permission", "not_allowed_token_type", "not_authed", "not_in_channel", "org_login_required",
            "posting_to_general_channel_denied", "restricted_action", "restricted_action_non_threadable_channel",
            "restricted_action_read_only_channel", "restricted_action_thread_only_channel", "team_access_not_granted",
            "token_expired", "token_revoked", "two_factor_setup_required",
        ],
        Reason.UNAUTHORIZED,
    )
    | dict.fromkeys(
        ["channel_not_found", "no_active_hooks", "no_service", "no_service_id", "no_team", "user_not_found"],
        Reason.NOT_FOUND,
    )
    | dict.fromkeys(["channel_is_archived", "deprecated_endpoint", "is_archived", "team_disabled"], Reason.GONE)
)  # fmt: skip
_THROTTLE = frozenset({"message_limit_exceeded", "rate_limited", "ratelimited"})
_MAYBE_POSTED = frozenset({"fatal_error", "internal_error"})
_SENT = "it may have been posted"

_CODE = re.compile(r"[a-z][a-z0-9_]{1,63}")
_WHOLE_SECONDS = re.compile(r"-?[0-9]{1,100}")  # not \d: int() takes digits of every script


def code_in(body: object) -> str | None:
    """The error code that an answer starts with: `no_service`, `invalid_blocks`. None if there is none."""
    match = _CODE.match(body.strip()) if isinstance(body, str) else None
    return match[0] if match else None


def retry_after(value: str | None) -> timedelta | None:
    """Slack's `Retry-After` in whole seconds, clamped to 0 … 1 h; None if it is missing or anything else.

    https://docs.slack.dev/apis/web-api/rate-limits
    """
    text = (value or "").strip()
    if _WHOLE_SECONDS.fullmatch(text) is None:
        return None
    return timedelta(seconds=min(max(int(text), 0), int(LONGEST_WAIT.total_seconds())))


def of_status(status: int, headers: Mapping[str, str]) -> DeliveryError | None:
    """What the status alone decides; None where the body has to be read: 2xx, and 4xx but for 408, 425 and 429."""
    wait = retry_after(headers.get("Retry-After"))
    if status == 429:
        wait = DEFAULT_WAIT if wait is None else wait
        return Unavailable(Reason.THROTTLED, "Slack is throttling (HTTP 429)", retry_after=wait)
    if status >= 500:
        return Unavailable(Reason.UNAVAILABLE, f"Slack answered HTTP {status}; {_SENT}", retry_after=wait)
    if status in (408, 425):
        return Unavailable(Reason.UNAVAILABLE, f"Slack answered HTTP {status}", retry_after=wait)
    if 300 <= status < 400:
        detail = f"Slack answered with a redirect (HTTP {status}), which is not followed; is the address right?"
        return Misconfigured(Reason.REDIRECT, detail, certain=False)
    return None


def of_code(code: str | None, *, status: int, hint: str = "") -> DeliveryError:
    """What a refusal means, by its code, or by its status where the code is not known."""
    says = f"Slack answered {code or 'without an error code'} (HTTP {status}){hint and f': {hint}'}"
    if code is not None:
        if code in _EVENT:
            return Rejected(_EVENT[code], says)
        if code in _SINK:
            return Misconfigured(_SINK[code], says)
        if code in _THROTTLE:
            return Unavailable(Reason.THROTTLED, says, retry_after=DEFAULT_WAIT)
        if code in _MAYBE_POSTED:
            return Unavailable(Reason.UNAVAILABLE, f"{says}; {_SENT}")
    return _of_unknown(status, says)


def of_transport(error: Exception) -> DeliveryError:  # noqa: PLR0911  one case, one answer
    """What an exception of the client means. Of the exception itself, only the class is told."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return Unavailable(Reason.DNS, "Slack's host name cannot be resolved")
        case aiohttp.ClientSSLError():
            return Misconfigured(Reason.TLS, "the TLS connection to Slack failed; is a certificate missing or wrong?")
        case aiohttp.ConnectionTimeoutError():
            return Unavailable(Reason.CONNECT, "no connection to Slack in time; nothing was sent")
        case aiohttp.ClientConnectorError():
            return Unavailable(Reason.CONNECT, "no connection to Slack; nothing was sent")
        case TimeoutError():
            return Unavailable(Reason.TIMEOUT, f"no answer from Slack in time; {_SENT}")
        case aiohttp.ClientError() | OSError():
            name = type(error).__name__
            return Unavailable(Reason.RESET, f"the connection to Slack broke ({name}); {_SENT}")
        case _:
            return unreadable(type(error).__name__)


def unreadable(what: str) -> Unavailable:
    """An answer that is not Slack's."""
    return Unavailable(Reason.UNAVAILABLE, f"the answer is not Slack's ({what}); {_SENT}")


def _of_unknown(status: int, says: str) -> DeliveryError:
    if status in (401, 403):
        return Misconfigured(Reason.UNAUTHORIZED, says, certain=False)
    if status in (404, 405):
        return Misconfigured(Reason.NOT_FOUND, says, certain=False)
    if status == 410:
        return Misconfigured(Reason.GONE, says)
    if status in (400, 413, 415, 422):
        return Rejected(Reason.TOO_LARGE if status == 413 else Reason.REFUSED, says)
    # Another 4xx, which Slack never sends, so something on the way did; or `ok: false` with a code that nobody has
    # documented: tried again, and a dead letter when the attempts are used up
    return Unavailable(Reason.REFUSED, says)

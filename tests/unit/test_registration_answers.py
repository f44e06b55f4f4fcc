"""What the provider's API answers, in all its forms, and what people are told of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest

from relay.errors import ProviderError
from relay.options import Secret
from relay.registration import Account, ApiOptions, account
from relay.registration.answers import Answer, read_list, read_one, said, wait_asked

DYTE = account("dyte", ApiOptions(organization_id="org", api_key=Secret("c4n4ry-key")))
KIT = account("realtimekit", ApiOptions(account_id="acc", app_id="app", api_token=Secret("c4n4ry-token")))
HOOK = {"id": "h-1", "name": "n", "url": "https://a.example", "events": ["meeting.ended"], "enabled": False}


def answer(status: int = 200, **document: Any) -> Answer:
    return Answer(status=status, body=orjson.dumps(document))


def failure(given: Answer, *, of: Account = DYTE, one: bool = False) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        (read_one if one else read_list)(of, given)
    return raised.value


def test_a_list_is_read_whole_and_what_is_unknown_in_it_is_passed_over() -> None:
    [found, bare] = read_list(
        DYTE,
        answer(
            success=True,
            data=[HOOK | {"created_at": "2026-01-01", "more": 1}, {"id": "b", "url": "", "events": None, "name": None}],
        ),
    )
    assert (found.id, found.name, found.enabled, found.created) == ("h-1", "n", False, "2026-01-01")
    assert found.events == {"meeting.ended"}
    assert (bare.name, bare.enabled, bare.created, bare.events) == ("", True, "", frozenset())
    assert read_one(DYTE, answer(201, success=True, data=HOOK)).id == "h-1"


@pytest.mark.parametrize("paging", ["paging", "result_info"])
def test_a_list_that_is_not_whole_is_no_list(paging: str) -> None:
    one: dict[str, Any] = {"data": [HOOK], paging: {"total_count": 1}}
    assert read_list(DYTE, answer(**one))
    two: dict[str, Any] = {"data": [HOOK], paging: {"total_count": 2}}
    error = failure(answer(**two))
    assert "Dyte shows 1 of 2 webhooks, and one of the others may be ours" in str(error)


@pytest.mark.parametrize(
    ("status", "document", "text"),
    [
        (400, {"success": False, "error": {"code": 400, "message": "BAD: no"}}, "400: BAD: no; it did not like"),
        (400, {"success": False, "error": "plain"}, "400: plain; it did not like"),
        (401, {"message": "Unauthorized"}, "401: Unauthorized; check `api.organization_id` and `api.api_key`"),
        (403, {}, "403; the API key may not do this"),
        (404, {}, "404; check `api.url`; Dyte's own is https://api.dyte.io/v2"),
        (302, {}, "302; redirects are not followed"),
        (503, {"message": "upstream"}, "503: upstream; the trouble is there; try again later"),
        (200, {"success": False, "errors": [{"code": 7003, "message": "No route"}]}, "200: No route; it did not like"),
    ],
)  # fmt: skip
def test_a_refusal_by_dyte_says_why_and_what_to_do(status: int, document: dict[str, Any], text: str) -> None:
    error = failure(answer(status, **document))
    assert str(error).startswith(f"Dyte answered {text}")
    assert (error.status, error.unsure) == (status, status == 503)


@pytest.mark.parametrize(
    ("status", "document", "text"),
    [
        (401, {"success": False, "errors": [{"code": 10000, "message": "No"}]}, "401: No; check `api.api_token`"),
        (403, {"errors": [None, {"code": 9109}]}, "403; the API token needs the permission Realtime Admin"),
        (404, {"success": False, "error": {"message": " "}}, "404; check `api.account_id`, `api.app_id` and `api.url`"),
        (408, {}, "408; the trouble is there"),
    ],
)  # fmt: skip
def test_a_refusal_by_realtimekit_does_too(status: int, document: dict[str, Any], text: str) -> None:
    error = failure(answer(status, **document), of=KIT)
    assert str(error).startswith(f"RealtimeKit answered {text}")
    assert error.unsure is (status == 408)


def test_one_that_is_gone_is_not_an_account_that_is_wrong() -> None:
    assert "the registration is not there any more" in str(failure(answer(404), one=True))


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"data": {}}', b'{"data": [{"id": "../x", "url": "", "events": []}]}', b"\xff"],
)
def test_what_is_no_answer_of_the_api_leaves_it_open_what_was_done(body: bytes) -> None:
    for error in (failure(Answer(status=200, body=body)), failure(Answer(status=200, body=body), one=True)):
        assert "Dyte answered something else than webhooks" in str(error)
        assert error.unsure


@pytest.mark.parametrize(
    "body", [b"", b"[1]", b'"x"', b"{}", b'{"error": {"message": 7}, "errors": "x", "message": null}']
)
def test_a_refusal_without_words_has_none(body: bytes) -> None:
    assert said(DYTE, body) == ""


def test_a_refusal_that_repeats_the_key_or_never_ends_is_cut() -> None:
    key = DYTE.authorization.get_secret_value().removeprefix("Basic ")
    text = said(DYTE, orjson.dumps({"message": f"no c4n4ry-key, nor {key}"}))
    assert text == "no ***, nor ***"
    assert len(said(DYTE, orjson.dumps({"message": "x" * 1000}))) == 300


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7), (" 60 ", 60), ("", 5), ("0", 5), ("-1", 5), ("soon", 5), ("9" * 9, 5), ("٣", 5)]
)
def test_a_wait_is_read_or_guessed(header: str, seconds: int) -> None:
    assert wait_asked(Answer(status=429, body=b"", retry_after=header)) == timedelta(seconds=seconds)

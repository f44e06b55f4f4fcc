"""Standard Webhooks signatures, against the reference library in both directions."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from relay.standard_webhooks import TOLERANCE, read_secret, sign, verify

KEYS = st.binary(min_size=24, max_size=64)
IDS = st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SECRETS = [f"whsec_{base64.b64encode(bytes(range(size))).decode()}" for size in (24, 32, 33, 64)]
NOW = 1_795_435_200


def headers_of(signature: str, *, message_id: str = "msg_1", timestamp: object = NOW) -> dict[str, str]:
    return {"webhook-id": message_id, "webhook-timestamp": str(timestamp), "webhook-signature": signature}


@pytest.mark.parametrize("secret", SECRETS)
@given(message_id=IDS, text=TEXTS)
def test_the_reference_library_accepts_what_we_sign(secret: str, message_id: str, text: str) -> None:
    now = int(datetime.now(UTC).timestamp())  # the library looks at the clock itself
    body = json.dumps(text, ensure_ascii=False).encode()  # and reads the body as JSON
    signature = sign([read_secret(secret)], message_id=message_id, timestamp=now, body=body)
    assert Webhook(secret).verify(body, headers_of(signature, message_id=message_id, timestamp=now)) == text


@pytest.mark.parametrize("secret", SECRETS)
@given(message_id=IDS, text=TEXTS, timestamp=st.integers(0, 10**11))
def test_we_sign_as_the_reference_library_does_and_accept_it(
    secret: str, message_id: str, text: str, timestamp: int
) -> None:
    theirs = Webhook(secret).sign(message_id, datetime.fromtimestamp(timestamp, UTC), text)
    key = read_secret(secret)
    assert sign([key], message_id=message_id, timestamp=timestamp, body=text.encode()) == theirs
    headers = headers_of(theirs, message_id=message_id, timestamp=timestamp)
    assert verify([key], headers=headers, body=text.encode(), now=float(timestamp))


def test_while_rotating_a_receiver_may_know_either_secret_but_no_third() -> None:
    now = int(datetime.now(UTC).timestamp())
    old, new, stranger = SECRETS[:3]
    signature = sign([read_secret(new), read_secret(old)], message_id="m", timestamp=now, body=b"{}")
    headers = headers_of(signature, message_id="m", timestamp=now)
    for secret in (old, new):
        Webhook(secret).verify(b"{}", headers)
        assert verify([read_secret(secret)], headers=headers, body=b"{}", now=now)
    with pytest.raises(WebhookVerificationError):
        Webhook(stranger).verify(b"{}", headers)
    assert not verify([read_secret(stranger)], headers=headers, body=b"{}", now=now)


def test_a_receiver_of_two_secrets_accepts_a_sender_of_either() -> None:
    keys = [read_secret(secret) for secret in SECRETS[:2]]
    for key in keys:
        assert verify(
            keys, headers=headers_of(sign([key], message_id="msg_1", timestamp=NOW, body=b"x")), body=b"x", now=NOW
        )


def test_nobody_is_believed_without_a_key() -> None:
    assert sign([], message_id="m", timestamp=NOW, body=b"") == ""
    assert not verify([], headers=headers_of(""), body=b"", now=NOW)


@given(KEYS, st.binary(), st.integers(0, 10_000))
def test_one_changed_bit_of_the_body_is_noticed(key: bytes, body: bytes, where: int) -> None:
    headers = headers_of(sign([key], message_id="msg_1", timestamp=NOW, body=body))
    assert verify([key], headers=headers, body=body, now=NOW)
    changed = bytearray(body + b"x")
    changed[where % len(changed)] ^= 1
    assert not verify([key], headers=headers, body=bytes(changed), now=NOW)


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-id": "msg_2"},
        {"webhook-id": ""},
        {"webhook-id": "msg_1\udcff"},
        {"webhook-timestamp": str(NOW + 1)},
        {"webhook-timestamp": f"{NOW}.0"},
        {"webhook-timestamp": f" {NOW}"},
        {"webhook-timestamp": f"-{NOW}"},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "٣"},
        {"webhook-timestamp": str(NOW).translate({ord("0") + digit: 0x660 + digit for digit in range(10)})},
        {"webhook-timestamp": "²"},
        {"webhook-timestamp": "9" * 400},
        {"webhook-timestamp": "9" * 5000},
        {"webhook-signature": ""},
        {"webhook-signature": "v1"},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": "v1,\udcff"},
        {"webhook-signature": ", ,"},
    ],
)
def test_headers_that_are_not_ours_are_refused(changed: dict[str, str]) -> None:
    headers = headers_of(sign([b"k" * 32], message_id="msg_1", timestamp=NOW, body=b"{}"))
    assert verify([b"k" * 32], headers=headers, body=b"{}", now=NOW)
    assert not verify([b"k" * 32], headers=headers | changed, body=b"{}", now=NOW)


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_every_header_is_needed(missing: str) -> None:
    headers = headers_of(sign([b"k" * 32], message_id="msg_1", timestamp=NOW, body=b"{}"))
    del headers[missing]
    assert not verify([b"k" * 32], headers=headers, body=b"{}", now=NOW)


def test_an_empty_id_is_no_id_even_if_it_is_signed() -> None:
    signature = sign([b"k" * 32], message_id="", timestamp=NOW, body=b"{}")
    assert not verify([b"k" * 32], headers=headers_of(signature, message_id=""), body=b"{}", now=NOW)


def test_another_scheme_does_not_stand_in_for_ours() -> None:
    signature = sign([b"k" * 32], message_id="msg_1", timestamp=NOW, body=b"{}")
    asymmetric = signature.replace("v1,", "v1a,")
    assert not verify([b"k" * 32], headers=headers_of(asymmetric), body=b"{}", now=NOW)
    assert verify([b"k" * 32], headers=headers_of(f"{asymmetric} {signature}"), body=b"{}", now=NOW)


@pytest.mark.parametrize(("late", "accepted"), [(-301, False), (-300, True), (0, True), (300, True), (301, False)])
def test_a_timestamp_may_be_five_minutes_off(late: int, *, accepted: bool) -> None:
    assert TOLERANCE == 300
    headers = headers_of(sign([b"k" * 32], message_id="msg_1", timestamp=NOW, body=b"{}"))
    assert verify([b"k" * 32], headers=headers, body=b"{}", now=NOW + late) is accepted


@given(
    st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text()), st.binary()
)
def test_verifying_is_total_and_a_stranger_is_never_believed(headers: dict[str, str], body: bytes) -> None:
    assert not verify([b"k" * 32], headers=headers, body=body, now=NOW)


@given(KEYS)
def test_a_secret_is_read_back(key: bytes) -> None:
    assert read_secret(f"whsec_{base64.b64encode(key).decode()}") == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        "hunter2-hunter2-hunter2",
        base64.b64encode(b"k" * 32).decode(),
        "whsec_" + base64.b64encode(b"k" * 23).decode(),
        "whsec_" + base64.b64encode(b"k" * 65).decode(),
        "whsec_" + base64.b64encode(b"k" * 32).decode()[:-1],
        "whsec_" + base64.b64encode(b"k" * 32).decode() + "\n",
        "whsec_" + base64.urlsafe_b64encode(b"\xff" * 32).decode(),
        "whsec_ключ",
        "WHSEC_" + base64.b64encode(b"k" * 32).decode(),
        "whsk_" + base64.b64encode(b"k" * 32).decode(),
    ],
)
def test_what_is_no_secret_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="is no Standard Webhooks secret: write whsec_") as caught:
        read_secret(text)
    secret_part = text.removeprefix("whsec_")
    assert len(secret_part) < 4 or secret_part not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None

"""What is hidden from people's eyes, and what is not."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.sensitive import CONCEALED, concealed

SAMPLES = sorted((Path(__file__).parents[1] / "samples").glob("**/*.json"))
SIGNED = "https://files.example/a.mp4?X-Amz-Date=1&X-Amz-Signature=abc"


@pytest.mark.parametrize(
    "name",
    [
        "streamKey",
        "stream_key",
        "downloadUrl",
        "audioDownloadUrl",
        "chatDownloadUrl",
        "download_url",
        "authToken",
        "streamKeys",
        "rtmp-key",
        "passphrase",
    ],
)
def test_these_names_are_hidden_at_any_depth(name: str) -> None:
    assert concealed({"a": [{name: "x"}]}) == {"a": [{name: CONCEALED}]}
    assert concealed({name: {"deep": "x"}}) == {name: CONCEALED}


@pytest.mark.parametrize("name", ["downloadUrlExpiry", "playbackUrl", "streamId", "key", "title", "tokens_left"])
def test_these_are_not(name: str) -> None:
    assert concealed({name: "x"}) == {name: "x"}


@pytest.mark.parametrize("nothing", [None, "", False, True])
def test_that_there_is_nothing_is_no_secret(nothing: object) -> None:
    assert concealed({"streamKey": nothing}) == {"streamKey": nothing}


@pytest.mark.parametrize(
    ("address", "hidden"),
    [
        (SIGNED, True),
        (f"  {SIGNED}", True),
        ("HTTPS://files.example/a?Expires=1&Signature=abc&Key-Pair-Id=k", True),
        ("https://files.example/a?sv=2020&sig=abc", True),
        ("https://storage.example/a?X-Goog-Credential=abc", True),
        ("https://files.example/a?token=abc", True),
        ("rtmps://live.example/in?token=abc", True),
        ("https://files.example/a?x=1&access_token=abc", True),
        ("https://files.example/a", False),
        ("https://files.example/signature=1", False),
        ("see ?sig=1", False),
    ],
)
def test_an_address_that_opens_without_a_login_is_told_by_its_form(address: str, *, hidden: bool) -> None:
    expected = CONCEALED if hidden else address
    assert concealed({"anything": address, "list": [address]}) == {"anything": expected, "list": [expected]}
    assert concealed(address) == expected


def test_what_somebody_asked_to_see_is_shown() -> None:
    payload = {"recording": {"downloadUrl": SIGNED, "audioDownloadUrl": SIGNED}, "files": [{"url": SIGNED}]}
    assert concealed(payload, reveal=["recording.downloadUrl", "files.url"]) == {
        "recording": {"downloadUrl": SIGNED, "audioDownloadUrl": CONCEALED},
        "files": [{"url": SIGNED}],
    }


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_sample_shows_a_key_or_a_signed_address(sample: Path) -> None:
    payload = orjson.loads(sample.read_bytes())
    shown = orjson.dumps(concealed(payload)).decode()
    assert "sig=" not in shown
    assert "not-a-real-stream-key" not in shown
    assert concealed(payload).keys() == payload.keys()


def strings(value: Any) -> list[str]:
    match value:
        case dict():
            return [text for inner in value.values() for text in strings(inner)]
        case list():
            return [text for inner in value for text in strings(inner)]
        case str():
            return [value]
        case _:
            return []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just(SIGNED),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.just("streamKey"), inner, max_size=4),
)


@given(json_values)
def test_whatever_comes_nothing_signed_is_left_and_the_original_stays(payload: Any) -> None:
    before = copy.deepcopy(payload)
    assert SIGNED not in strings(concealed(payload))
    assert payload == before

"""`public_url` and `api` of a source: what is wrong with them, and what can be done without the rest of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay.config import InvalidConfig, check, load_sources, source_address
from relay.options import Secret
from relay.registration import ApiOptions, account, missing_keys

DYTE = "organization_id: org, api_key: c4n4ry"
KIT = "account_id: acc, app_id: app, api_token: c4n4ry"
ROUTES = "sinks: {crm: {type: http, url: '${CRM_URL}'}}\nroutes: [{name: all, to: [crm]}]\n"


def written(folder: Path, text: str) -> Path:
    file = folder / "relay.yaml"
    file.write_text(text, "utf-8")
    return file


def mistakes(folder: Path, source: str, **env: str) -> str:
    """What `relay check` and `relay webhooks` say of a source; both the same."""
    file = written(folder, f"sources:\n  kit: {source}\n")
    with pytest.raises(InvalidConfig) as raised:
        load_sources(file, env)
    said = str(raised.value).replace(f"{folder}/", "")
    assert said == "\n".join(map(str, check(file, env).errors)).replace(f"{folder}/", "")
    assert "c4n4ry" not in said
    return said


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{public_url: relay.example}", "public_url: is not a URL; write `https://host`"),
        ("{public_url: 'http://relay.example'}", "public_url: must start with https://; plain http is for loopback"),
        ("{public_url: 'https://c4n4ry@relay.example'}", "public_url: must hold no user, password, query or fragment"),
        ("{api: {organization_id: 'a:b'}}", "api.organization_id: is no ID; copy it from the provider"),
        ("{api: {account_id: ../x}}", "api.account_id: is no ID; copy it from the provider"),
        ("{api: {api_key: 'c4n4ry c4n4ry'}}", "api.api_key: holds characters that no key has: spaces"),
        ("{api: {api_tokn: x}}", "api.api_tokn: unknown key; did you mean `api_token`?"),
        ("{api: {url: 'http://c4n4ry.example'}}", "api.url: must start with https://: it carries the key"),
        ("{api: {url: 'https://a:c4n4ry@x.example'}}", "api.url: must hold no user"),
        ("{api: {timeout: 0}}", "api.timeout: must be more than"),
        (
            "{api: {api_key: '${KEY}'}}",
            "api.api_key: needs `KEY`, which is not set; set it, or write `${KEY:-default}`",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place_and_no_secret(tmp_path: Path, source: str, said: str) -> None:
    assert f"relay.yaml:2: sources.kit.{said}" in mistakes(tmp_path, source)


def test_keys_of_the_other_provider_are_a_mistake(tmp_path: Path) -> None:
    assert mistakes(tmp_path, f"{{api: {{{KIT}}}}}") == (
        "relay.yaml:2: sources.kit: has `api.account_id`, but `provider: dyte` has other keys; "
        "write `organization_id`, `api_key`"
    )
    said = mistakes(tmp_path, f"{{provider: realtimekit, api: {{{DYTE}}}}}")
    assert said.endswith(
        "has `api.organization_id`, but `provider: realtimekit` has other keys; write "
        "`account_id`, `app_id`, `api_token`"
    )


def test_two_sources_cannot_have_one_public_address(tmp_path: Path) -> None:
    file = written(
        tmp_path, "sources:\n  a: {public_url: 'https://x.example/in'}\n  b: {public_url: 'https://x.example/in'}\n"
    )
    with pytest.raises(
        InvalidConfig, match=r"3: sources\.b\.public_url: is the public address of source `a` too; give"
    ):
        load_sources(file, {})
    written(tmp_path, "sources:\n  a: {public_url: 'https://x.example'}\n  b: {public_url: 'https://x.example/'}\n")
    assert len(load_sources(file, {}).sources) == 2, "the path of each is added"


def test_a_private_public_address_is_hardly_meant(tmp_path: Path) -> None:
    report = check(written(tmp_path, "sources: {a: {public_url: 'https://10.0.0.1'}}\n"), {})
    assert report.errors == ()
    assert any("public_url: is a private address, which the sender cannot" in str(each) for each in report.warnings)


def test_a_relay_starts_without_the_keys(tmp_path: Path) -> None:
    api = "{organization_id: '${ORG:-}', api_key: '${KEY:-}'}"
    report = check(written(tmp_path, f"sources: {{dyte: {{api: {api}}}}}\n"), {})
    assert report.errors == ()
    assert report.config is not None
    assert missing_keys("dyte", report.config.sources["dyte"].api) == ["organization_id", "api_key"]
    assert missing_keys("realtimekit", None) == ["account_id", "app_id", "api_token"]


def test_registering_needs_no_secret_of_sinks_nor_pinned_keys(tmp_path: Path) -> None:
    source = (
        "{public_url: 'https://x.example', public_key: '${file:none}', webhook_ids: [a, '${ID}'], organizations: [o]}"
    )
    found = load_sources(written(tmp_path, f"store: '${{STORE}}'\nsources: {{dyte: {source}}}\n{ROUTES}"), {})
    options = found.sources["dyte"]
    assert (options.public_key, options.webhook_ids, options.organizations) == ((), (), ("o",))
    assert source_address("dyte", options) == "https://x.example/webhooks/dyte"
    assert [route.name for route in found.routes] == ["all"]
    assert found.warnings == []


def test_what_is_set_is_read(tmp_path: Path) -> None:
    file = written(tmp_path, "sources: {dyte: {webhook_ids: ['${ID}'], api: {api_key: '${KEY}'}}}\n" + ROUTES)
    options = load_sources(file, {"ID": "w-1", "KEY": "k-1"}).sources["dyte"]
    assert options.webhook_ids == ("w-1",)
    assert options.api is not None
    assert options.api.api_key == Secret("k-1")
    assert source_address("dyte", options) is None


def test_a_file_without_sources_has_the_one_named_dyte(tmp_path: Path) -> None:
    assert list(load_sources(written(tmp_path, ROUTES), {}).sources) == ["dyte"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "must be a mapping; start with"),
        ("a: b: c", "relay.yaml:1"),
        ("sources: 7", "sources: must be a mapping"),
        ("sources: {dyte: 7}", "sources.dyte: must be a mapping"),
        (ROUTES.replace("[crm]", "[crn]"), "there is no sink `crn`; did you mean `crm`?"),
        ("routes: [{name: a}]", "routes[0].to: is missing"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidConfig) as raised:
        load_sources(written(tmp_path, text), {})
    assert said in str(raised.value)
    with pytest.raises(InvalidConfig, match="does not exist; name the file with -c"):
        load_sources(tmp_path / "none.yaml", {})


def test_what_can_never_come_is_warned_of(tmp_path: Path) -> None:
    text = ROUTES.replace("to:", "events: [meeting.startd], to:") + "sources: {a: {public_url: 'https://127.0.0.1'}}\n"
    event, address = map(str, load_sources(written(tmp_path, text), {}).warnings)
    assert "routes[0].events[0]: matches none of the known event types; did you mean `meeting.started`?" in event
    assert "sources.a.public_url: is a private address, which the sender cannot reach" in address


def test_an_account_is_where_the_provider_keeps_webhooks() -> None:
    dyte = account("dyte", ApiOptions(organization_id="org", api_key=Secret("key")))
    kit = account("realtimekit", ApiOptions(account_id="acc", app_id="app", api_token=Secret("tok"), url="https://x/y"))
    assert (dyte.label, dyte.url) == ("Dyte", "https://api.dyte.io/v2/webhooks")
    assert dyte.authorization.get_secret_value() == "Basic b3JnOmtleQ=="
    assert (kit.label, kit.url) == ("RealtimeKit", "https://x/y/accounts/acc/realtime/kit/app/webhooks")
    assert kit.authorization.get_secret_value() == "Bearer tok"
    assert "tok" not in repr(kit)

"""What parts of relay.yaml say of each other and of the network, told together with all other mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay.config import Address, Report, check, parse_address

LOG = "sinks: {log: {type: file, path: '-'}}\n"


def check_text(folder: Path, text: str) -> Report:
    file = folder / "relay.yaml"
    file.write_text(text)
    return check(file, {})


def said(folder: Path, text: str) -> tuple[list[str], list[str]]:
    """Errors and warnings, without the name of the file."""
    report = check_text(folder, text)
    name = f"{folder}/relay.yaml:"
    return [str(error).removeprefix(name) for error in report.errors], [
        str(warning).removeprefix(name) for warning in report.warnings
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (LOG + "routes: [{name: a, to: [lg]}]", "2: routes[0].to[0]: there is no sink `lg`; did you mean `log`?"),
        (LOG + "routes: [{name: a, to: [x]}]", "2: routes[0].to[0]: there is no sink `x`; there are `log`"),
        ("routes: [{name: a, to: [x]}]", "1: routes[0].to[0]: there is no sink `x`; add it under `sinks`"),
        (
            LOG + "routes: [{name: a, to: [log], sources: [dite]}]",
            "2: routes[0].sources[0]: there is no source `dite`; did you mean `dyte`?",
        ),
        (
            LOG + "routes:\n- {name: a, to: [log]}\n- {name: a, to: [log]}",
            "4: routes[1].name: is the name of the route in line 3 too; choose another one",
        ),
        (
            "sources:\n  a: {path: /x}\n  b: {path: /x}",
            "3: sources.b.path: is the path of source `a` too; give each source a path of its own",
        ),
        (
            "sources:\n  a: {path: /webhooks/b}\n  b: {}",
            "3: sources.b.path: is the path of source `a` too",
        ),
        (
            "gateway: {listen: 0.0.0.0:8081}",
            "1: gateway.listen: gateway and admin listen on the same address; give one of them another port",
        ),
        ("admin: {listen: localhost:8080}", "1: admin.listen: gateway and admin listen on the same address"),
        (
            "retention: {delivered: 1m}",
            "1: retention.delivered: `retention.delivered` is shorter than `replay_window` of source `dyte`; keep",
        ),
        (
            "sources:\n  dyte:\n    replay_window: 30d",
            "3: sources.dyte.replay_window: `retention.delivered` is shorter than `replay_window` of source `dyte`",
        ),
        (
            "sources: {dyte: {public_key_url: 'http://keys.example/'}}",
            "1: sources.dyte.public_key_url: would fetch the key over plain http, where anybody can swap it; write",
        ),
        ("sources: {dyte: {public_key_url: keys}}", "1: sources.dyte.public_key_url: is not a URL"),
        ("sources: {dyte: {public_key_url: 'ftp://x/'}}", "1: sources.dyte.public_key_url: is not a URL"),
        ("sources: {dyte: {public_key_url: 'http://[::1/'}}", "1: sources.dyte.public_key_url: is not a URL"),
    ],
)
def test_parts_that_do_not_fit_together(tmp_path: Path, text: str, error: str) -> None:
    found, _ = said(tmp_path, f"{text}\n")
    assert len(found) == 1
    assert found[0].startswith(error)


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("store: sqlite:///a.db", " routes: is empty: events are stored and go nowhere; add a route"),
        (
            "sinks:\n  log: {type: file, path: '-'}\n  other: {type: file, path: x}\nroutes: [{name: a, to: [log]}]",
            "3: sinks.other: no route uses this sink; name it in the `to` of a route",
        ),
        (
            LOG + "routes: [{name: a, to: [log], events: ['recording.*', 'meeting.begun']}]",
            "2: routes[0].events[1]: matches none of the known event types; did you mean `meeting.ended`?",
        ),
        (
            LOG + "routes: [{name: a, to: [log], events: ['Recording.*']}]",
            "2: routes[0].events[0]: matches none of the known event types",
        ),
        (
            LOG + "routes: [{name: a, to: [log]}]\nsources:\n  dyte:\n    organizations: [o]",
            "4: sources.dyte.organizations: Dyte's livestream events name no organisation and will be quarantined",
        ),
        (
            "sinks:\n  a:\n    type: http\n    url: http://crm.example/\nroutes: [{name: a, to: [a]}]",
            "4: sinks.a.url: sends events over plain http, readable on the way; write `https://…`",
        ),
        (
            "sinks: {a: {type: http, url: 'http://127.0.0.1:9000/'}}\nroutes: [{name: a, to: [a]}]",
            "1: sinks.a.url: is a private address, which the sink refuses to reach; add `allow_private: true`",
        ),
        (
            "sinks: {a: {type: http, url: 'https://10.1.2.3/'}}\nroutes: [{name: a, to: [a]}]",
            "1: sinks.a.url: is a private address",
        ),
    ],
)
def test_what_is_allowed_and_hardly_meant(tmp_path: Path, text: str, warning: str) -> None:
    found, warnings = said(tmp_path, f"{text}\n")
    assert found == []
    (line,) = warnings
    assert line.startswith(warning)


@pytest.mark.parametrize(
    "text",
    [
        LOG + "routes: [{name: a, to: [log]}]",
        LOG + "routes: [{name: a, to: [log], events: ['*', 'meeting.*', 'meeting.[se]*', recording.statusUpdate]}]",
        LOG + "routes: [{name: a, to: [log]}]\nsources: {dyte: {organizations: [o], webhook_ids: [w]}}",
        LOG + "routes: [{name: a, to: [log]}]\nsources: {rtk: {provider: realtimekit, organizations: [o]}}",
        LOG + "routes: [{name: a, to: [log]}]\nsources: {a: {public_key_url: 'http://127.0.0.1:1/'}, b: {}}",
        LOG + "routes: [{name: a, to: [log]}]\nretention: {delivered: 5m}",
        LOG + "routes: [{name: a, to: [log]}]\nretention: {delivered: 1m}\nsources: {dyte: {replay_window: 0}}",
        LOG + "routes: [{name: a, to: [log]}]\ngateway: {listen: 127.0.0.1:0}\nadmin: {listen: 127.0.0.1:0}",
        LOG + "routes: [{name: a, to: [log]}]\ngateway: {listen: 127.0.0.2:80}\nadmin: {listen: 127.0.0.1:80}",
        "sinks: {a: {type: http, url: 'http://127.0.0.1/', allow_private: true}}\nroutes: [{name: a, to: [a]}]",
        "sinks: {a: {type: http, url: 'https://crm.example/'}}\nroutes: [{name: a, to: [a]}]",
    ],
)
def test_what_is_fine(tmp_path: Path, text: str) -> None:
    assert said(tmp_path, f"{text}\n") == ([], [])


def test_references_are_checked_though_the_parts_are_wrong(tmp_path: Path) -> None:
    text = """\
sources:
  a: {path: /x, provider: nobody, replay_window: 10d}
  b: {path: /x, organizations: [o], webhook_ids: 5}
sinks:
  broken: {type: file}
  alias: *x
  unknown: {type: carrier-pigeon}
routes:
  - {name: r, to: [broken, alias, unknown, nowhere, null]}
  - {name: r, too: []}
"""
    found, warnings = said(tmp_path, text)
    keys = [line.split(": ")[1] for line in found]
    assert keys == [
        "sources.a.provider",
        "sources.a.replay_window",
        "sources.b.path",
        "sources.b.webhook_ids",
        "sinks.broken.path",
        "sinks.alias",
        "sinks.unknown.type",
        "routes[0].to[3]",
        "routes[0].to[4]",
        "routes[1].to",
        "routes[1].name",
        "routes[1].too",
    ]
    assert warnings == []


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:8080", Address(host="0.0.0.0", port=8080)),
        ("localhost:0", Address(host="localhost", port=0)),
        ("relay-1.internal:65535", Address(host="relay-1.internal", port=65535)),
        ("[::1]:8080", Address(host="::1", port=8080)),
        ("[0:0:0:0:0:0:0:1]:80", Address(host="::1", port=80)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    ["8080", ":8080", "a:", "a:b", "::1:80", "[::1]", "[x]:80", "a:65536", "a b:80", "127.1:80", "a:80\n", "é:80"],
)
def test_other_texts_are_no_addresses(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(is no address|has a port|has no IPv6|has a host)"):
        parse_address(text)


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        ("0.0.0.0:80", "127.0.0.1:80", True),
        ("[::]:80", "[::1]:80", True),
        ("[::]:80", "127.0.0.1:80", False),
        ("0.0.0.0:80", "[::]:80", False),
        ("localhost:80", "127.0.0.1:80", True),
        ("localhost:80", "[::]:80", True),
        ("LOCALHOST:80", "[::1]:80", True),
        ("a:80", "b:80", False),
        ("A:80", "a:80", True),
        ("0.0.0.0:80", "a:80", True),
    ],
)
def test_addresses_that_one_process_cannot_both_listen_on(one: str, other: str, *, clash: bool) -> None:
    assert parse_address(one).clashes(parse_address(other)) is clash
    assert parse_address(other).clashes(parse_address(one)) is clash


@pytest.mark.parametrize(("key", "rest"), [("sinks", "routes: [{name: a, to: [log]}]"), ("sources", LOG)])
def test_a_list_in_the_place_of_named_parts_is_the_only_mistake(tmp_path: Path, key: str, rest: str) -> None:
    errors, warnings = said(tmp_path, f"{key}: [{{name: log, type: file, path: '-'}}]\n{rest}\n")
    assert errors == [f"1: {key}: must be a mapping; write `name:` lines under it"]
    assert [told for told in warnings if key == "sinks"] == []

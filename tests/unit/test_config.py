"""The whole of relay.yaml: every mistake at once, each in words that say where it is and what to do."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from relay.config import Config, InvalidConfig, Problem, Report, RetentionOptions, check, load, source_path
from relay.errors import ConfigError
from relay.gateway.options import GatewayOptions, SourceOptions
from relay.options import Order, Secret
from relay.routing import RouteOptions
from relay.sinks.file import FileOptions


def check_text(folder: Path, text: str) -> Report:
    file = folder / "relay.yaml"
    file.write_text(text)
    return check(file, {})


def errors(folder: Path, text: str) -> list[str]:
    return [str(problem).removeprefix(f"{folder}/relay.yaml:") for problem in check_text(folder, text).errors]


FIVE = """\
gateway:
  listen: 8080
  max_inflght: 5
sinks:
  crm:
    type: http
    timeout: soon
  log: {type: flie, path: "-"}
routes:
  - name: everything
    to: [crn]
"""


def test_five_mistakes_make_five_lines(tmp_path: Path) -> None:
    (tmp_path / "relay.yaml").write_text(FIVE)
    with pytest.raises(ConfigError) as raised:
        load(tmp_path / "relay.yaml", {})
    assert str(raised.value).replace(f"{tmp_path}/", "").splitlines() == [
        (
            "relay.yaml:2: gateway.listen: is no address to listen on; "
            "write `host:port`, for instance 127.0.0.1:8080 or [::1]:8080"
        ),
        "relay.yaml:3: gateway.max_inflght: unknown key; did you mean `max_inflight`?",
        "relay.yaml:5: sinks.crm.url: is missing; add `url: https://crm.example/hooks`",
        "relay.yaml:7: sinks.crm.timeout: 'soon' is not a duration; write it like 500ms, 10s, 5m, 2h or 7d",
        (
            "relay.yaml:8: sinks.log.type: there is no sink type `flie`, only `kafka`, `http`, `slack` or `file`; "
            "did you mean `file`?"
        ),
        "relay.yaml:11: routes[0].to[0]: there is no sink `crn`; did you mean `crm`?",
    ]


def test_problems_are_values(tmp_path: Path) -> None:
    (tmp_path / "relay.yaml").write_text("sinks:\n  crm: {type: file}\n")
    with pytest.raises(InvalidConfig) as raised:
        load(tmp_path / "relay.yaml", {})
    assert raised.value.problems == (
        Problem(
            file=f"{tmp_path}/relay.yaml",
            line=2,
            column=3,
            key="sinks.crm.path",
            message="is missing",
            mend='add `path: "-"`',
        ),
    )


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("gateway: {max_inflight: 0}", "1: gateway.max_inflight: must be at least 1"),
        ("gateway: {max_inflight: [1]}", "1: gateway.max_inflight: must be a whole number"),
        ("gateway: 8080", "1: gateway: must be a mapping; write `key: value` lines under it"),
        ("gateway:", "1: gateway: has no value, and must be a mapping"),
        ("gateway: {max_body: 1Mb}", "1: gateway.max_body: '1Mb' is not a size; write it like 64KiB or 1MiB"),
        ("gateway: {max_body: {a: b}}", "1: gateway.max_body: {'a': 'b'} is not a size"),
        ("gatway: {}", "1: gatway: unknown key; did you mean `gateway`?"),
        ("zzz: {}", "1: zzz: unknown key; known keys: `store`, `retention`, `gateway`, `admin`, `sources`"),
        ("store: mysql://x", "1: store: is no store; write sqlite:///data/relay.db"),
        ("store: postgresql://h", "1: store: names no database; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE"),
        ("store: postgresql://u:p@h:x/d", "1: store: cannot read the URL; write it as postgresql://USER:PASSWORD@HOST"),
        ("store: postgresql://u:p/q@h/d", "1: store: cannot read the URL; write it as postgresql://USER:PASSWORD@HOST"),
        ("store: postgresql://u:p@q@h/d", "with / ? # @ in a password as %2F %3F %23 %40"),
        ("store: 'postgresql://u:p#q@h/d'", "with / ? # @ in a password as %2F %3F %23 %40"),
        (
            "store: postgresql://h/d?sslmode=on",
            "1: store: sslmode is one of disable, allow, prefer, require, verify-ca",
        ),
        ("store: postgresql://h/d?pool_mode=x", "1: store: pool_mode is session or transaction"),
        ("store: 'sqlite://:memory:'", "1: store: has too few slashes; write sqlite:///data/relay.db"),
        ("store: 'sqlite:///:memory:'", "1: store: names no file; write sqlite:///data/relay.db"),
        ("retention: {delivered: week}", "1: retention.delivered: 'week' is not a duration"),
        ("sources: {}", "1: sources: must not be empty; remove the key for the source `dyte`"),
        ("sources:", "1: sources: has no value, and must be a mapping"),
        ("sources: [dyte]", "1: sources: must be a mapping; write `name:` lines under it"),
        ("sources: {a b: {}}", "1: sources.a b: is no name; use 1 to 64 letters, digits, `_`, `.` or `-`"),
        ("sources: {'': {}}", "1: sources.: is no name"),
        ('sources: {"a\\n": {}}', "1: sources.'a\\n': is no name"),
        ("sources: {dyte: {provider: zoom}}", "1: sources.dyte.provider: must be `dyte` or `realtimekit`"),
        ("sources: {dyte: {path: hooks}}", "1: sources.dyte.path: is no path; start it with `/`, then letters"),
        ("sources: {dyte: {organizations: x}}", "1: sources.dyte.organizations: must be a list; write `[x]`"),
        ("sources: {dyte: {organizations: [[x]]}}", "1: sources.dyte.organizations[0]: must be a text"),
        ("sources: {dyte: {public_key: {a: b}}}", "1: sources.dyte.public_key: must be a text or a list"),
        ("sinks: {a: }", "1: sinks.a: has no value, and must be a mapping; write `type:` under it: `kafka`"),
        ("sinks: {a: file}", "1: sinks.a: must be a mapping; write `type:` under it"),
        ("sinks: {a: {}}", "1: sinks.a.type: is missing; add `type: …`, one of `kafka`, `http`, `slack` or `file`"),
        ("sinks: {a: {type: [file]}}", "1: sinks.a.type: must be a text; write one of `kafka`, `http`, `slack`"),
        ("sinks: {a: {type: }}", "1: sinks.a.type: there is no sink type ``, only `kafka`"),
        ("sinks: {a: {type: file, path: x, rate: 5}}", "1: sinks.a.rate: '5' is not a rate; write it like 1/s"),
        ("sinks: {a: {type: file, path: x, order: up}}", "1: sinks.a.order: must be `meeting` or `none`"),
        ("sinks: {a: {type: file, path: x, retry: 3}}", "1: sinks.a.retry: must be a mapping"),
        ("sinks: {a: {type: file, path: x, retry: {factor: 99}}}", "1: sinks.a.retry.factor: must be at most 10"),
        ("sinks: {a: {type: file, path: x, retry: {factor: x}}}", "1: sinks.a.retry.factor: must be a number"),
        ("sinks: {a: {type: file, path: x, retry: {fctor: 1}}}", "did you mean `factor`?"),
        ("sinks: {a: {type: file, path: x, select: 'a['}}", "1: sinks.a.select: 'a[' is not a JMESPath expression"),
        ("sinks: {a: {type: http, url: crm}}", "1: sinks.a.url: is not a URL: "),
        ("sinks: {a: {type: http, url: 'ftp://crm'}}", "1: sinks.a.url: must start with `http://` or `https://`"),
        ("sinks: {a: {type: http, url: 'http://x', headers: [a]}}", "1: sinks.a.headers: must be a mapping"),
        ("sinks: {a: {type: http, url: 'https://x', headers: {b: [c]}}}", "1: sinks.a.headers.b: must be a text"),
        ("sinks: {a: {type: kafka, topic: x, bootstrap_servers: []}}", "bootstrap_servers: must not be empty"),
        ("sinks: {a: {type: kafka, topic: x, bootstrap_servers: h}}", "1: sinks.a.bootstrap_servers: 'h' is not an"),
        ("sinks: {a: {type: kafka, topic: x, bootstrap_servers: ['h:1'], key: 'a['}}", "1: sinks.a.key: 'a[' is not a"),
        ("routes: {}", "1: routes: must be a list; write `- name: …` lines under it"),
        ("routes: [all]", "1: routes[0]: must be a mapping"),
        ("routes: [{to: [x]}]", "1: routes[0].name: is missing; add `name: everything`"),
        ("routes: [{name: a, to: []}]", "1: routes[0].to: must not be empty"),
        ("routes: [{name: a}]", "1: routes[0].to: is missing; add `to: [events]`"),
        ("routes: [{name: a b, to: [x]}]", "1: routes[0].name: is no name; use 1 to 64 letters"),
        ("routes: [{name: a, to: [null]}]", "1: routes[0].to[0]: has no value, and must be a text"),
        ("routes: [{name: a, to: [x], where: 'a[?'}]", "1: routes[0].where: 'a[?' is not a JMESPath expression"),
        ("routes: [{name: a, to: [x], where: [x]}]", "1: routes[0].where: must be a JMESPath expression in quotes"),
        ("routes: [{name: a, to: [x], where: " + "'" + "!" * 5000 + "a'}]", "nested too deeply"),
        ("routes: [{name: a, to: [x], events: x}]", "1: routes[0].events: must be a list; write `[x]`"),
    ],
)
def test_each_mistake_has_its_words(tmp_path: Path, text: str, error: str) -> None:
    found = errors(tmp_path, f"{text}\n")
    (line,) = [line for line in found if error in line]
    others = [line for line in found if error not in line]
    assert not [line for line in others if "there is no sink `x`" not in line and "is missing" not in line]
    assert "pydantic" not in line


def test_the_line_is_that_of_the_value_or_of_the_key_that_lacks_one(tmp_path: Path) -> None:
    text = "sinks:\n  a:\n    type: file\n    path: x\n    redact:\n    - a\n    - [b]\n    retry: {factor:\n     99}"
    found = [(problem.line, problem.column, problem.key) for problem in check_text(tmp_path, text).errors]
    assert found == [(7, 7, "sinks.a.redact[1]"), (9, 6, "sinks.a.retry.factor")]


def test_a_key_that_is_called_like_a_sink_type_is_where_it_is(tmp_path: Path) -> None:
    found = errors(tmp_path, "sinks:\n  file:\n    type: file\n    file:\n      path: x\n    timeout: x\n    path: x\n")
    assert [line.partition(": ")[2].partition(":")[0] for line in found] == ["sinks.file.file", "sinks.file.timeout"]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert str(check(tmp_path / "none.yaml", {}).errors[0]).endswith("none.yaml: does not exist; name the file with -c")
    assert "cannot be read: Is a directory" in str(check(tmp_path, {}).errors[0])
    assert "is an impossible path" in str(check("a\0b", {}).errors[0])


def test_more_problems_than_anybody_reads_are_counted(tmp_path: Path) -> None:
    report = check_text(tmp_path, "".join(f"key{number}: 1\n" for number in range(700)))
    assert len(report.errors) == 501
    assert str(report.errors[-1]).endswith("relay.yaml: has 200 more problems; mend these first")


def test_names_with_odd_characters_stay_on_one_line(tmp_path: Path) -> None:
    (line,) = errors(tmp_path, '"a\\n\\u001b\\u202eb": 1\n')
    assert line.startswith("1: 'a\\n\\x1b\\u202eb': unknown key")
    (line,) = errors(tmp_path, f"{'k' * 500}: 1\n")
    assert "k" * 63 + "…: unknown key" in line


CONTRACT = """\
store: sqlite:///data/relay.db
retention: {delivered: 7d, dead: 30d}
gateway:
  listen: 0.0.0.0:8080
  max_body: 1MiB
  max_inflight: 1000
admin:
  listen: 127.0.0.1:8081
  token: ${RELAY_ADMIN_TOKEN}
sources:
  dyte:
    provider: dyte
    path: /webhooks/dyte
    public_key_url: https://keys.example/webhooks.json
    organizations: []
    webhook_ids: []
    replay_window: 5m
sinks:
  events:
    type: kafka
    bootstrap_servers: [localhost:9092]
    topic: dyte.events
    key: meeting
    compression_type: lz4
  crm:
    type: http
    url: https://crm.example/hooks
    headers: {authorization: "Bearer ${CRM_TOKEN}"}
    secret: ${CRM_SECRET}
    allow_private: false
  oncall:
    type: slack
    webhook_url: ${SLACK_WEBHOOK_URL}
    text: "Recording of {{ meeting.title }} is ready"
  audit:
    type: file
    path: "-"
    timeout: 10s
    concurrency: 32
    rate: 50/s
    order: none
    enabled: true
    retry: {base: 1s, factor: 2, cap: 1h, max_attempts: 20, max_age: 72h}
    select: "{id: recording.id}"
    redact: [participant.userDisplayName, streamKey]
routes:
  - name: everything
    events: ["*"]
    to: [events]
  - name: recordings
    sources: [dyte]
    events: ["recording.*"]
    where: "recording.status == 'UPLOADED'"
    to: [crm, oncall]
  - name: leftovers
    fallback: true
    to: [audit]
"""
ENV = {
    "RELAY_ADMIN_TOKEN": "0123456789abcdef0123456789abcdef",
    "CRM_TOKEN": "token",
    "CRM_SECRET": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    "SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T000/B000/XXXX",
}


def contract(folder: Path, text: str = CONTRACT, **env: str) -> Config:
    file = folder / "relay.yaml"
    file.write_text(text)
    return load(file, ENV | env)


def test_the_file_of_the_contract(tmp_path: Path) -> None:
    config = contract(tmp_path)
    assert check(tmp_path / "relay.yaml", ENV).warnings == ()
    assert config.gateway.max_body == 1024**2
    assert config.retention == RetentionOptions(delivered=timedelta(days=7), dead=timedelta(days=30))
    assert [route.name for route in config.routes] == ["everything", "recordings", "leftovers"]
    assert {name: sink.order for name, sink in config.sinks.items()} == {
        "events": Order.MEETING,
        "crm": Order.NONE,
        "oncall": Order.MEETING,
        "audit": Order.NONE,
    }
    assert ENV["CRM_SECRET"] not in repr(config)


def test_defaults() -> None:
    config = Config()
    assert config.store.get_secret_value() == "sqlite:///data/relay.db"
    assert config.gateway == GatewayOptions()
    assert config.sources == {"dyte": SourceOptions()}
    assert (config.sinks, config.routes) == ({}, ())


def test_a_configuration_may_be_made_without_a_file() -> None:
    config = Config(
        store=Secret("sqlite:////tmp/x.db"),
        sinks={"log": FileOptions(type="file", path="-")},
        routes=(RouteOptions(name="all", to=("log",)),),
    )
    assert config.sinks["log"] == FileOptions(type="file", path="-")


def test_the_hash_changes_with_every_setting_and_with_nothing_else(tmp_path: Path) -> None:
    first = contract(tmp_path).hash
    assert len(first) == 12
    assert int(first, 16) >= 0
    assert contract(tmp_path, "# a comment\n" + CONTRACT.replace("72h", "3d").replace("5m", "300s")).hash == first
    assert contract(tmp_path, CONTRACT.replace("max_inflight: 1000", "max_inflight: 999")).hash != first
    assert contract(tmp_path, CRM_TOKEN="another").hash != first
    assert contract(tmp_path, CONTRACT.replace("[crm, oncall]", "[oncall, crm]")).hash != first
    assert Config().hash == Config().hash != first


def test_the_path_of_a_source() -> None:
    assert source_path("dyte", SourceOptions()) == "/webhooks/dyte"
    assert source_path("dyte", SourceOptions(path="/x")) == "/x"

"""HTTP sinks in the document: a channel for each. Pure.

The path of a service's address may hold a secret, so it is written only where that is asked for, and its query never.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from relay.asyncapi.messages import about_lane, attributes, content_type, message, replay, required_attributes, route
from relay.asyncapi.parts import Channel, Server
from relay.asyncapi.reach import Reach
from relay.config import Config
from relay.events.schema import Schema
from relay.sinks.http import HttpOptions

SIGNATURE = "standardWebhooks"
SIGNATURE_SCHEME: Schema = {
    "type": "httpApiKey",
    "name": "webhook-signature",
    "in": "header",
    "description": (
        "Standard Webhooks 1.0.0: `v1,` and the base64 of HMAC-SHA256 over `webhook-id`.`webhook-timestamp`.body, one "
        "for each secret while secrets are changed, with spaces between. Verify it over the bytes of the body as they "
        "came, with a library of https://www.standardwebhooks.com."
    ),
}
_POST = {"http": {"method": "POST", "bindingVersion": "0.3.0"}}
_CREDENTIAL = re.compile(r"auth|token|key|secret|password|cookie", re.IGNORECASE)
_USUAL_PORTS = {"http": 80, "https": 443}


def http_server(sink: str, options: HttpOptions) -> Server:
    """Whom the requests go to."""
    url = options.url
    port = "" if url.port in (None, _USUAL_PORTS[url.scheme]) else f":{url.port}"
    about = "Its value stands in relay.yaml, at `headers` of the sink."
    return Server(
        id=sink,
        host=f"{url.host}{port}",
        protocol=url.scheme,
        description=f"The service of the sink `{sink}` of relay.yaml.",
        schemes={
            f"{sink}.{name.lower()}": {"type": "httpApiKey", "name": name.lower(), "in": "header", "description": about}
            for name in options.headers
            if _CREDENTIAL.search(name)
        },
    )


def http_channel(config: Config, sink: str, options: HttpOptions, reaches: Sequence[Reach], *, paths: bool) -> Channel:
    """The requests; with `paths`, where exactly they go to."""
    hidden = "" if paths else " Its path is not written here, because it may hold a secret."
    return Channel(
        id=sink,
        address=(options.url.path or "/") if paths else None,
        title=sink,
        description=f"Requests of the sink `{sink}` of relay.yaml.{hidden} {about_lane(options)}",
        servers=[sink],
        messages={each.type: _message(config, sink, options, each) for each in reaches},
        operation=_POST,
        schemes={SIGNATURE: SIGNATURE_SCHEME} if options.signing_keys else {},
    )


def _message(config: Config, sink: str, options: HttpOptions, reach: Reach) -> Schema:
    ours = ["webhook-id", "webhook-timestamp", *(["webhook-signature"] if options.signing_keys else [])]
    required = [*required_attributes("ce-"), "content-type", *ours, "relay-route", "relay-attempt", "user-agent"]
    headers = attributes("ce-", reach) | _headers(options, reach)
    fixed = {name.lower(): _fixed(sink) for name in options.headers}
    return message(config, sink, reach, headers | fixed, [*required, *(name for name in fixed if name not in required)])


def _headers(options: HttpOptions, reach: Reach) -> dict[str, Schema]:
    text: Schema = {"type": "string"}
    signature = {"webhook-signature": text | {"description": "The signature; see its security scheme."}}
    return {
        "content-type": content_type(reach, options),
        "user-agent": text | {"examples": ["dyte-relay/1.0.0"]},
        "webhook-id": text | {"description": "Id of the event, as in `ce-id`: drop what was seen before."},
        "webhook-timestamp": text | {"description": "When it was sent, in Unix seconds; new on each attempt."},
        **(signature if options.signing_keys else {}),
        "relay-route": route(reach),
        "relay-attempt": text | {"description": "Counts the attempts of this delivery.", "pattern": "^[1-9][0-9]*$"},
        "relay-replay": replay(),
    }


def _fixed(sink: str) -> Schema:
    return {"type": "string", "description": f"Set in relay.yaml, at `sinks.{sink}.headers`; its value is not shown."}

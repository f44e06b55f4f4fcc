"""What a person says of the public side in relay.yaml: the gateway, and each source."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from relay.model import Event, Quarantine
from relay.options import Duration, Options, Secret, Size, Unfit
from relay.publickey import PublicKey
from relay.registration.options import ApiOptions, ProviderName, keys_of, strange_keys
from relay.registration.url import web_address


class GatewayOptions(Options):
    """The public side."""

    listen: str = "0.0.0.0:8080"
    """`host:port`; port 0 takes a free one."""
    max_body: Size = Field(default=1024 * 1024, ge=1)
    """Larger bodies are answered 413, which loses the event at the sender: keep it generous."""
    max_inflight: int = Field(default=1000, ge=1)
    """Requests at work at the same time; above it the answer is 503."""
    max_connections: int = Field(default=4000, ge=1)
    """Connections open at the same time; one more is closed at once."""
    min_free: Size = Field(default=128 * 1024 * 1024, ge=0)
    """With less free space where the store's file is, new events are answered 503 and deliveries go on; 0: no limit."""
    workers: int = Field(default=1, ge=1, le=64)
    """Processes that share the port and the store, for several cores; `max_inflight` and `max_connections` are shared
    out among them."""

    def shared_out(self, workers: int) -> GatewayOptions:
        """The options of one of so many processes, which together keep to these."""
        limits = {name: -(-getattr(self, name) // workers) for name in ("max_inflight", "max_connections")}
        return self.model_copy(update=limits)


class SourceOptions(Options):
    """Who posts to us, on which path, and whose signature counts."""

    provider: ProviderName = "dyte"
    """Whose public key to fetch; both header families are accepted from either."""
    path: str | None = Field(default=None, pattern=r"^/[A-Za-z0-9._~/-]{1,255}$")
    """Path of the webhook; `/webhooks/<source name>` without it. May hold an unguessable part."""
    public_url: Annotated[str, AfterValidator(web_address)] | None = None
    """Where the sender reaches this source, for `relay webhooks`: `https://host`, and the source's path is added. With
    a path of its own it is taken as it is, for a proxy that maps one to the other."""
    api: ApiOptions | None = None
    """The provider's API and the key to it, for `relay webhooks`."""
    public_key_url: str | None = None
    """Where to fetch the public key instead of at the provider. HTTPS, or loopback."""
    public_key: Secret | tuple[Secret, ...] = ()
    """Pinned PEM, or a list of them: nothing is fetched. An empty text counts as none."""
    organizations: tuple[str, ...] = ()
    """Allow-list of the signed organisation id; empty: any."""
    webhook_ids: tuple[str, ...] = ()
    """Allow-list of the webhook id header; empty: any."""
    replay_window: Duration = timedelta(minutes=5)
    """The same body under a new uuid inside it is a retry; 0 turns that off."""

    @field_validator("public_key", mode="before")
    @classmethod
    def _empty_is_none(cls, given: object) -> object:
        return () if given in ("", None) else given

    @field_validator("public_key")
    @classmethod
    def _readable(cls, given: Secret | tuple[Secret, ...]) -> Secret | tuple[Secret, ...]:
        for key in given if isinstance(given, tuple) else (given,):
            PublicKey.read(key.get_secret_value())
        return given

    @model_validator(mode="after")
    def _key_of_the_provider(self) -> Self:
        if self.api is not None and (strange := strange_keys(self.provider, self.api)):
            wanted = ", ".join(f"`{key}`" for key in keys_of(self.provider))
            raise Unfit(f"has `api.{strange[0]}`, but `provider: {self.provider}` has other keys; write {wanted}")
        return self

    @property
    def pinned(self) -> tuple[PublicKey, ...]:
        """The pinned keys."""
        keys = self.public_key if isinstance(self.public_key, tuple) else (self.public_key,)
        return tuple(PublicKey.read(key.get_secret_value()) for key in keys)

    def judge(self, event: Event) -> Quarantine | None:
        """Whether the event is for us. One key signs for all of the sender's customers, so only the content can tell.

        Dyte's livestream events carry no organisation; the webhook id admits them, where a list of those is given.
        """
        if self.webhook_ids and event.webhook_id not in self.webhook_ids:
            return Quarantine.WEBHOOK_ID
        if self.organizations and event.organization not in self.organizations:
            unnamed_but_expected = event.organization is None and event.defect is None and self.webhook_ids
            return None if unnamed_but_expected else Quarantine.ORGANIZATION
        return None

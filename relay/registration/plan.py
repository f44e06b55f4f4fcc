"""What has to change so that the provider sends what the routes need, and nothing else. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum

from relay.model import value
from relay.registration.url import same_address, same_host
from relay.routing import Route
from relay.vocabulary import KNOWN_TYPES


@value
class Registration:
    """One webhook at the provider, ours or not."""

    id: str
    """What comes as `*-webhook-id` with each delivery."""
    name: str
    url: str
    events: frozenset[str]
    enabled: bool
    created: str = ""
    """When; a text that sorts by time."""


class Action(StrEnum):
    """What a step does."""

    CREATE = "create"
    """Nothing is registered at our address."""
    CHANGE = "change"
    """It is, with other events."""
    KEEP = "keep"
    """It is, and right."""
    DOUBLED = "doubled"
    """More than one is: which of them is meant, a person has to say."""
    UNNEEDED = "unneeded"
    """No route takes anything of the source; an address without events cannot be registered, and is not taken away."""


@value
class Step:
    """What is to be done for one source."""

    source: str
    url: str
    action: Action
    wanted: Mapping[str, tuple[str, ...]]
    """Types that have to be sent, each with the routes that take it; with a fallback only where no other does."""
    found: tuple[Registration, ...] = ()
    """What is registered at the address, the oldest first."""
    only_fallback: frozenset[str] = frozenset()
    """Types in `wanted` that no route but a fallback takes."""

    @property
    def name(self) -> str:
        """What a new registration is called at the provider."""
        return registered_name(self.source)

    @property
    def subscribed(self) -> frozenset[str]:
        """Types that are sent to the address."""
        return frozenset[str]().union(*(each.events for each in self.found))

    @property
    def missing(self) -> Sequence[str]:
        """Types that routes take and nobody subscribed to."""
        return sorted(self.wanted.keys() - self.subscribed)

    @property
    def idle(self) -> Sequence[str]:
        """Types that are subscribed to and go nowhere."""
        return sorted(self.subscribed - self.wanted.keys())

    @property
    def changes(self) -> bool:
        """Whether there is something to do."""
        return self.action in (Action.CREATE, Action.CHANGE)

    @property
    def settled(self) -> bool:
        """Whether all is as it should be."""
        return self.action is Action.KEEP or (self.action is Action.UNNEEDED and not self.found)


def registered_name(source: str) -> str:
    """What our registration of a source is called at the provider."""
    return f"dyte-relay/{source}"


def plan(source: str, url: str, routes: Sequence[Route], existing: Sequence[Registration]) -> Step:
    """What to do for a source, as `existing` is all that its account has.

    A type is needed if some route could take it: a `where` is left out of account, because it looks at what was sent;
    so are sinks that are disabled, because what is meant for them waits. A fallback counts: it takes what no other
    route wants, and a type that is not sent reaches not even it. A type that we do not know stays, where a route takes
    it; it is never added, because the provider refuses what it does not know.
    """
    found = oldest_first(each for each in existing if same_address(each.url, url))
    candidates = sorted(KNOWN_TYPES.union(*(each.events for each in found)))
    takers = {each: [route.options for route in routes if route.could_take(source, each)] for each in candidates}
    regular = {each: tuple(options.name for options in takers[each] if not options.fallback) for each in candidates}
    wanted = {each: regular[each] or tuple(options.name for options in takers[each]) for each in candidates}
    wanted = {each: names for each, names in wanted.items() if names}
    return Step(
        source=source,
        url=url,
        action=_action(wanted.keys(), found),
        wanted=wanted,
        found=found,
        only_fallback=frozenset(each for each in wanted if not regular[each]),
    )


@value
class Stray:
    """A registration that may be ours, although it is at none of our addresses. A person has to judge."""

    registration: Registration
    named: bool
    """True: it bears our name. False: it is at a host of ours, where no source has its path."""


def strays(addresses: Mapping[str, str], existing: Sequence[Registration]) -> Sequence[Stray]:
    """What of an account looks as if somebody meant it for us. `addresses` are those of all sources, by name."""
    names = {registered_name(source) for source in addresses}
    others = [each for each in existing if not any(same_address(each.url, url) for url in addresses.values())]
    return [
        Stray(registration=each, named=each.name in names)
        for each in others
        if each.name in names or any(same_host(each.url, url) for url in addresses.values())
    ]


def cautions(
    step: Step, *, webhook_ids: Collection[str], organization: str | None, organizations: Collection[str]
) -> Sequence[str]:
    """What keeps events from reaching a sink although the registration is right."""
    unknown = [each.id for each in step.found if webhook_ids and each.id not in webhook_ids]
    lists = f"sources.{step.source}"
    found = [f"{lists}.webhook_ids lacks {each}: what it brings is quarantined" for each in unknown]
    if webhook_ids and step.action is Action.CREATE:
        found.append(f"{lists}.webhook_ids cannot hold its id yet: what it brings is quarantined until you add that")
    if organization and organizations and organization not in organizations:
        found.append(f"{lists}.organizations lacks the organization_id of its api: all that comes is quarantined")
    if len(step.found) == 1 and not step.found[0].enabled:
        found.append("it is disabled at the provider, and stays so: nothing is sent until somebody enables it there")
    return found


def oldest_first(registrations: Iterable[Registration]) -> tuple[Registration, ...]:
    """The same order whoever looks."""
    return tuple(sorted(registrations, key=lambda each: (not each.created, each.created, each.id)))


def _action(wanted: Collection[str], found: Sequence[Registration]) -> Action:
    if len(found) > 1:
        return Action.DOUBLED
    if not wanted:
        return Action.UNNEEDED
    if not found:
        return Action.CREATE
    return Action.KEEP if found[0].events == frozenset(wanted) else Action.CHANGE

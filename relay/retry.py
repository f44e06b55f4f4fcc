"""When to try again: a pure decision, made from a delivery and its error."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

from relay.errors import DeliveryError, Misconfigured, Rejected, Unavailable
from relay.model import Dead, Delivery, Failure, Reason, Retry
from relay.options import RetryOptions

_MAX_EXPONENT = 64  # factor ** 64 is past any cap, and far from overflow


def decide(
    options: RetryOptions, delivery: Delivery, error: DeliveryError, *, now: datetime, rng: Random
) -> Retry | Dead:
    """What follows from a failed attempt.

    A rejected event is dead at once. Waiting because the sink asked for it (Retry-After), or because the whole sink is
    misconfigured, burns no attempt; the age limit holds for the former only, because a sink that waits for a person
    keeps its backlog. Where it is not certain whether the sink or the event is to blame, attempts are burnt, or an
    event that a sink alone of all refuses would be tried for ever.
    """
    failure = error.failure
    match error:
        case Rejected():
            return Dead(failure=failure)
        case Misconfigured(certain=True):
            return Retry(failure=failure, at=now + backoff(options, delivery.tries, rng), counted=False)
        case Unavailable(retry_after=timedelta() as wait):
            verdict = Retry(failure=failure, at=now + wait + backoff(options, 1, rng), counted=False)
        case _ if delivery.tries >= options.max_attempts:
            return Dead(failure=_after(Reason.EXHAUSTED, f"{delivery.tries} attempts", failure))
        case Misconfigured():
            return Retry(failure=failure, at=now + backoff(options, delivery.tries, rng))
        case _:
            verdict = Retry(failure=failure, at=now + backoff(options, delivery.tries, rng))
    if verdict.at - delivery.owed_since > options.max_age:
        return Dead(failure=_after(Reason.EXPIRED, "older than retry.max_age", failure))
    return verdict


def backoff(options: RetryOptions, tries: int, rng: Random) -> timedelta:
    """Full jitter: a random wait between zero and `base * factor^(tries - 1)`, capped.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    exponent = min(max(tries - 1, 0), _MAX_EXPONENT)
    bound = min(options.base.total_seconds() * options.factor**exponent, options.cap.total_seconds())
    return timedelta(seconds=rng.uniform(0.0, bound))


def _after(reason: Reason, what: str, last: Failure) -> Failure:
    return Failure(reason=reason, detail=f"{what}; the last one: {last.reason}: {last.detail}")

"""When to try again: a pure decision, made from a delivery and its error."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

from relay.errors import DeliveryError, Misconfigured, Rejected, Unavailable
from relay.model import Dead, Delivery, Failure, Reason, Retry
from relay.options import LaneOptions, RetryOptions

POISON_CRASHES = 3
"""An event whose handling crashed so often inside the relay is a dead letter."""
_SOONEST = timedelta(seconds=1)
"""Where neither a budget nor a gate ends or slows the attempts, so long lies between them, whatever the options say."""
LONGEST_ASKED = timedelta(hours=1)
"""To this each sink clamps what it is told (Retry-After)."""
_MAX_EXPONENT = 64  # factor ** 64 is past any cap, and far from overflow


def decide(
    options: RetryOptions,
    delivery: Delivery,
    error: DeliveryError,
    *,
    now: datetime,
    age: timedelta,
    rng: Random,
    crashes: int = 0,
) -> Retry | Dead:
    """What follows from a failed attempt.

    A rejected event is dead at once. Waiting because the sink asked for it (Retry-After), or because the whole sink is
    misconfigured, burns no attempt; the age limit holds for the former only, because a sink that waits for a person
    keeps its backlog. Where it is not certain whether the sink or the event is to blame, attempts are burnt, or an
    event that a sink alone of all refuses would be tried for ever. `age` is how long the delivery has been owed;
    `crashes` counts the attempts that ended in an error of ours, this one included: the next one would end so too.
    """
    ended = _ended(options, delivery, error, crashes)
    if ended is not None:
        return ended
    failure, wait = error.failure, backoff(options, delivery.tries, rng)
    match error:
        case Misconfigured(partly=True):  # no closed gate slows these down: so each waits longer from claim to claim
            longer = max(_SOONEST, backoff(options, delivery.attempt, rng))
            return Retry(failure=failure, at=now + longer, counted=False)
        case Misconfigured(certain=certain):
            return Retry(failure=failure, at=now + wait, counted=not certain)
        case Unavailable(retry_after=timedelta() as asked):
            verdict = Retry(failure=failure, at=now + asked + backoff(options, 1, rng), counted=False)
        case _:
            verdict = Retry(failure=failure, at=now + wait)
    if age + (verdict.at - now) > options.max_age:
        return Dead(failure=_after(Reason.EXPIRED, "older than retry.max_age", failure))
    return verdict


def _ended(options: RetryOptions, delivery: Delivery, error: DeliveryError, crashes: int) -> Dead | None:
    """The end of an event that was rejected, that crashes us, or whose attempts are used up."""
    match error:
        case Rejected():
            return Dead(failure=error.failure)
        case _ if crashes >= POISON_CRASHES:
            return Dead(failure=_after(Reason.POISON, f"{crashes} attempts crashed", error.failure))
        case Misconfigured(certain=True) | Misconfigured(partly=True) | Unavailable(retry_after=timedelta()):
            return None
        case _ if delivery.tries >= options.max_attempts:
            return Dead(failure=_after(Reason.EXHAUSTED, f"{delivery.tries} attempts", error.failure))
        case _:
            return None


def longest_wait(options: LaneOptions) -> timedelta:
    """The longest that a delivery can honestly have to wait: leased, put off by back-off, or by the sink's own wish."""
    retry = options.retry
    return max(options.lease, retry.cap, LONGEST_ASKED + min(retry.base, retry.cap))


def backoff(options: RetryOptions, tries: int, rng: Random) -> timedelta:
    """Full jitter: a random wait between zero and `base * factor^(tries - 1)`, capped.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    exponent = min(max(tries - 1, 0), _MAX_EXPONENT)
    bound = min(options.base.total_seconds() * options.factor**exponent, options.cap.total_seconds())
    return timedelta(seconds=rng.uniform(0.0, bound))


def _after(reason: Reason, what: str, last: Failure) -> Failure:
    return Failure(reason=reason, detail=f"{what}; the last one: {last.reason}: {last.detail}")

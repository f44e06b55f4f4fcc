"""Makes what is registered like what is wanted, and never registers an address twice.

After a call of which nobody knows whether it was carried out, and after every wait, it looks before it does anything
more; and after it registered an address it looks whether somebody else did so at the same moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import assert_never

from relay.errors import ProviderError
from relay.model import value
from relay.registration.plan import Action, Registration, Step, oldest_first
from relay.registration.provider import LONGEST_WAIT, Provider
from relay.registration.url import same_address

LOOKS = 3
"""How often it looks for what may have been registered."""
LOOK_SECONDS = 1.0
"""Before each look but the first."""
_WAITS = 3


@value
class Done:
    """What came of a step."""

    step: Step
    registration: Registration | None = None
    """As it is now; None where nothing was to be done."""
    note: str = ""
    """What was unusual about it."""

    @property
    def whole(self) -> bool:
        """Whether nothing is left to a person."""
        return self.step.action is not Action.DOUBLED


async def carry_out(provider: Provider, step: Step) -> Done:
    """Do what the step says; only `create` and `change` do anything.

    Raises:
        ProviderError: it could not be done, or nobody knows whether it was.
    """
    match step.action:
        case Action.CREATE:
            return await _create(provider, step)
        case Action.CHANGE:
            return Done(step=step, registration=await provider.change(step.found[0], events=step.wanted))
        case Action.KEEP | Action.DOUBLED | Action.UNNEEDED:
            return Done(step=step)
        case _:
            assert_never(step.action)


async def _create(provider: Provider, step: Step) -> Done:
    for _ in range(_WAITS):
        try:
            made = await provider.create(name=step.name, url=step.url, events=step.wanted)
        except ProviderError as error:
            if error.unsure:
                return Done(step=step, registration=await _look_for(provider, step, error), note=_LOST_ANSWER)
            if error.retry_after is None or error.retry_after > LONGEST_WAIT:
                raise
            await provider.wait(error.retry_after)
            if found := await _at(provider, step.url):
                return Done(step=step, registration=found[0], note=_SOMEBODY_ELSE)
        else:
            return await _alone(provider, step, made)
    raise ProviderError(f"{provider.account.label} answers 429 again and again; wait some minutes, then try again")


_LOST_ANSWER = "the answer was lost, but it is there"
_NOT_SEEN = "it could not be seen whether somebody else registered this address at the same moment"
_SOMEBODY_ELSE = "somebody else registered this address meanwhile, so ours is not needed"


async def _look_for(provider: Provider, step: Step, error: ProviderError) -> Registration:
    """What a call made of which nobody knows whether it did."""
    for look in range(LOOKS):
        await asyncio.sleep(LOOK_SECONDS if look else 0)
        try:
            found = await _at(provider, step.url)
        except ProviderError as unseen:
            error = unseen
        else:
            if found:
                return found[0]
    text = f"{error}\nit may be registered yet, so it was not tried again: look with `relay webhooks plan` in a minute"
    raise ProviderError(text, unsure=True)


async def _alone(provider: Provider, step: Step, made: Registration) -> Done:
    """If two did this at the same moment, both see it here, and the younger one gives way."""
    try:
        found = await _at(provider, step.url)
    except ProviderError as error:
        return Done(step=step, registration=made, note=f"{_NOT_SEEN}: {error}")
    if len(found) < 2 or found[0].id == made.id:
        return Done(step=step, registration=made)
    try:
        await provider.delete(made)
    except ProviderError as error:
        text = f"somebody else registered this address too, and ours ({made.id}) could not be taken back: {error}"
        raise ProviderError(text) from None
    return Done(step=step, registration=found[0], note=_SOMEBODY_ELSE)


async def _at(provider: Provider, url: str) -> Sequence[Registration]:
    return oldest_first(each for each in await provider.list() if same_address(each.url, url))

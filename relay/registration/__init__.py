"""Registrations: our public addresses at the provider, each with the event types that are sent to it.

The provider calls a registration a webhook. `plan` compares what the routes need with what is registered, and is pure;
`Provider` speaks with the API; `carry_out` makes the one like the other without ever registering twice.
"""

from __future__ import annotations

from relay.registration.applying import Done, carry_out
from relay.registration.options import LABELS, Account, ApiOptions, ProviderName, account, missing_keys, strange_keys
from relay.registration.plan import Action, Registration, Step, Stray, cautions, plan, registered_name, strays
from relay.registration.provider import Provider
from relay.registration.url import public_address, safe_address, same_address

__all__ = [
    "LABELS",
    "Account",
    "Action",
    "ApiOptions",
    "Done",
    "Provider",
    "ProviderName",
    "Registration",
    "Step",
    "Stray",
    "account",
    "carry_out",
    "cautions",
    "missing_keys",
    "plan",
    "public_address",
    "registered_name",
    "safe_address",
    "same_address",
    "strange_keys",
    "strays",
]

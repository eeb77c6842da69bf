"""The kinds of proof that a session is given, and what is another tenant's in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.isolation.attempts import Aim

if TYPE_CHECKING:
    from tests.isolation.world import World

Proof = Callable[["World"], str | None]


def flip_last_digit(proof: str) -> str:
    return proof[:-1] + ("0" if proof[-1] != "0" else "1")


PROVEN: dict[str, Proof] = {
    "a grant of my own": lambda world: world.a.grant(),
    "a seal of my own": lambda world: world.seal(world.a),
}
UNPROVEN: dict[str, Proof] = {
    "none": lambda world: None,
    "expired": lambda world: world.expired(world.b),
    "forged": lambda world: flip_last_digit(world.b.grant()),
    "garbage": lambda world: "no proof at all",
}
PROOFS = PROVEN | UNPROVEN


def aim_with(world: World, kind: str) -> Aim:
    """A tries what is B's; without a valid proof nothing is A's own."""
    return Aim(world.a.tenant_id, world.b.tenant_id, proven=kind in PROVEN)


def aim_of_owner(world: World) -> Aim:
    """B tries in its own session what A tried of B."""
    return Aim(world.b.tenant_id, world.b.tenant_id, proven=False)

"""What every model call is charged to: reserved before it, marked as sent before it leaves, settled after it."""

from __future__ import annotations

from typing import Protocol

from morningai.llm.errors import Usage


class Reservation(Protocol):
    async def mark_sent(self) -> None:
        """Raises ModelUnavailable when the call must not be sent."""

    async def settle(self, usage: Usage) -> None: ...

    async def settle_in_full(self) -> None:
        """For a call of which nobody knows what it cost."""

    async def release(self) -> None:
        """For a call that never left, or that its server did not work on."""


class Budget(Protocol):
    async def reserve(
        self, model: str, *, prompt_tokens: int, output_tokens: int, lifetime_seconds: float
    ) -> Reservation:
        """Raises BudgetExhausted. Whoever is silent for longer than the lifetime is charged in full, if it has sent."""


class Uncharged:
    """For a model that belongs to the caller."""

    async def reserve(
        self, model: str, *, prompt_tokens: int, output_tokens: int, lifetime_seconds: float
    ) -> Uncharged:
        return self

    async def mark_sent(self) -> None: ...

    async def settle(self, usage: Usage) -> None: ...

    async def settle_in_full(self) -> None: ...

    async def release(self) -> None: ...

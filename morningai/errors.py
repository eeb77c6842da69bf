"""Every error of the product; the branch decides what happens to the message or call that met it.

MorningAIError
├── Retryable                 tried again later, within bounds
│   ├── Unavailable           another part (bus, database, service, model) did not answer
│   │   └── Outage            it is one of our own: it is waited for by time, and not by the number of tries
│   ├── RateLimited           the tenant's calls come too fast, or too many at a time; names the limit
│   ├── DeadlineExceeded      the call's time was up before its work was done
│   └── Conflict              a concurrent change won; the same call may succeed now
├── Permanent                 the step or call fails with a reason a person can act on
│   ├── InvalidInput          a field is wrong; names the field and the remedy
│   ├── NotFound              no such resource for this tenant
│   ├── AlreadyExists         the name is taken
│   ├── FailedPrecondition    the resource is in a state that forbids this
│   │   └── TaskEnded         the seal's task has ended: nothing is done for it any more
│   ├── Unauthenticated       no credential, or one that is not valid
│   ├── PermissionDenied      a credential without the scope
│   ├── QuotaExceeded         the tenant has as much as it may have; names the quota
│   └── StepFailure           work ended without a result; carries the machine-readable reason
└── Poison                    the message can never be handled; kept as a dead letter
"""

from __future__ import annotations

from morningai.redaction import hide_secrets

LONGEST_TEXT = 2000


def plain(text: str) -> str:
    """A text that anybody may read and any row can hold.

    Without credentials, control characters and lone surrogates, at most 2,000 long.
    """
    kept = "".join(c for c in hide_secrets(text) if c in "\n\t" or (c >= " " and not "\ud800" <= c <= "\udfff"))
    return kept if len(kept) <= LONGEST_TEXT else kept[: LONGEST_TEXT - 1] + "…"


def storable(text: str) -> str:
    """A text of any length that PostgreSQL's jsonb can hold: no NUL and no lone surrogates."""
    return text.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


class MorningAIError(Exception):
    """Root of all errors; `reason` is the stable, machine-readable name (UPPER_SNAKE_CASE)."""

    reason = "INTERNAL"

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class Retryable(MorningAIError):
    reason = "RETRYABLE"

    def __init__(self, message: str, *, remedy: str = "", retry_after_seconds: float | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(Retryable):
    reason = "UNAVAILABLE"


class Outage(Unavailable):
    """A part of ours is away; says which, and nothing of where it is."""


class RateLimited(Retryable):
    reason = "RATE_LIMITED"

    def __init__(self, limit: str, message: str, *, remedy: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message, remedy=remedy, retry_after_seconds=retry_after_seconds)
        self.limit = limit


class Conflict(Retryable):
    reason = "CONFLICT"


class DeadlineExceeded(Retryable):
    reason = "DEADLINE_EXCEEDED"


class Permanent(MorningAIError):
    reason = "PERMANENT"


class InvalidInput(Permanent):
    reason = "INVALID_INPUT"

    def __init__(self, field: str, problem: str, *, remedy: str = "") -> None:
        super().__init__(f"{field}: {problem}", remedy=remedy)
        self.field = field
        self.problem = problem


class NotFound(Permanent):
    reason = "NOT_FOUND"

    def __init__(self, resource: str, name: str, *, remedy: str = "") -> None:
        super().__init__(f"{resource} '{name}' does not exist.", remedy=remedy)
        self.resource = resource
        self.name = name


class AlreadyExists(Permanent):
    reason = "ALREADY_EXISTS"

    def __init__(self, resource: str, name: str, *, remedy: str = "") -> None:
        super().__init__(f"{resource} '{name}' exists already.", remedy=remedy)
        self.resource = resource
        self.name = name


class FailedPrecondition(Permanent):
    reason = "FAILED_PRECONDITION"


class TaskEnded(FailedPrecondition):
    reason = "TASK_ENDED"


class Unauthenticated(Permanent):
    reason = "UNAUTHENTICATED"


class PermissionDenied(Permanent):
    reason = "PERMISSION_DENIED"


class QuotaExceeded(Permanent):
    reason = "QUOTA_EXCEEDED"

    def __init__(self, limit: str, message: str, *, remedy: str) -> None:
        super().__init__(message, remedy=remedy)
        self.limit = limit


class StepFailure(Permanent):
    """A step that ended without a result; `reason` is given, e.g. "sandbox_unavailable"."""

    def __init__(self, reason: str, message: str, *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason


class Poison(MorningAIError):
    reason = "POISON"

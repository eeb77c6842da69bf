"""How a server listens: what it allows its callers, by settings."""

from __future__ import annotations

from dataclasses import dataclass, field

from morningai.rpc.call import Context
from morningai.rpc.limits import Limits
from morningai.rpc.tls import CertificateFiles, internal_files
from morningai.settings import ServiceSettings


@dataclass(frozen=True)
class Deadlines:
    """For calls that bring none, and for those that bring a longer one. A stream without one gets the longest."""

    default_seconds: float = 60.0
    longest_seconds: float = 3600.0

    def seconds_for(self, context: Context, *, streaming: bool) -> tuple[float, bool]:
        """The seconds of a call, and whether gRPC itself ends it then."""
        remaining: float | None = context.time_remaining()
        if remaining is not None and remaining <= self.longest_seconds:
            return remaining, True
        bounded = remaining is None and not streaming
        return min(self.default_seconds, self.longest_seconds) if bounded else self.longest_seconds, False


@dataclass(frozen=True)
class Listening:
    deadlines: Deadlines = field(default_factory=Deadlines)
    limits: Limits = field(default_factory=Limits)
    certificates: CertificateFiles | None = None
    allow_plaintext: bool = False
    reflection: bool = False


def listening_of(settings: ServiceSettings) -> Listening:
    """For the other services. Raises SettingsInvalid."""
    return Listening(
        Deadlines(settings.default_deadline_seconds, settings.longest_deadline_seconds),
        certificates=internal_files(settings),
        allow_plaintext=settings.allow_plaintext,
    )

"""What a run came to, for a person and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

IN_FLIGHT_GOAL = 0.8


@dataclass(frozen=True)
class Summary:
    seed: int
    tasks: int
    acknowledged: int
    ends: dict[str, int]
    failures: dict[str, int]
    faults: dict[str, int]
    kills: dict[str, int]
    points_hit: int
    points: int
    points_missed: list[str]
    in_flight: float
    deliveries: dict[str, int]
    decisions: dict[str, int]
    watches: int
    watches_resumed: int
    lost: int
    duplicated: int
    findings: list[str]
    recovery_p50: float | None
    recovery_p99: float | None
    seconds: float
    folder: str = ""
    repeat: str = ""

    @property
    def passed(self) -> bool:
        return not (self.findings or self.lost or self.duplicated or self.points_missed)

    def document(self) -> dict[str, object]:
        return {**asdict(self), "passed": self.passed}

    def lines(self) -> list[str]:
        rows = [
            ("seed", str(self.seed)),
            ("tasks", f"{self.tasks} asked for, {self.acknowledged} acknowledged"),
            ("ends", told(self.ends)),
            ("failures", told(self.failures)),
            ("kills", told(self.kills)),
            ("other faults", told(self.faults)),
            ("fail points", f"{self.points_hit} of {self.points}" + missed(self.points_missed)),
            ("in flight", f"{self.in_flight:.0%} of the kills"),
            ("deliveries", f"{told(self.deliveries)}; requests: {told(self.decisions)}"),
            ("watches", f"{self.watches}, {self.watches_resumed} more times resumed"),
            ("lost", str(self.lost)),
            ("duplicated", str(self.duplicated)),
            ("recovery", f"p50 {seconds(self.recovery_p50)}, p99 {seconds(self.recovery_p99)}"),
            ("duration", seconds(self.seconds)),
        ]
        told_findings = [f"  {finding}" for finding in self.findings]
        end = ["passed"] if self.passed else ["FAILED", *told_findings, f"evidence: {self.folder}", self.repeat]
        return [*(f"{name:<14}{value}" for name, value in rows), *end]


def told(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"


def missed(points: Sequence[str]) -> str:
    return f", missed {', '.join(points)}" if points else ""


def seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def percentile(values: Iterable[float], share: float) -> float | None:
    """The smallest value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else None


def counted(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names))

"""What is done to the platform and when: drawn from a seed alone, so that a run can be repeated."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from tests.chaos.platform import REPLICAS
from tests.chaos.points import POINTS
from tests.e2e.platform import SERVICES

STORES = ("postgres", "nats")
# Shorter than a lease, about as long, and longer.
FREEZE_SECONDS = (1.0, 5.0, 9.0)
DELAY_SECONDS = (0.02, 0.05, 0.1)
SHARES = (0.3, 0.6, 1.0)
RECEIVERS = ("gateway", "orchestrator", "docs", "faqgen", "codegen")
# Shorter runs end before what was lost has come again by itself.
FEWEST_TASKS_TO_LOSE_THE_BUS = 600


class Kind(StrEnum):
    KILL = "kill"
    POINT = "point"
    FREEZE = "freeze"
    RESTART = "restart"
    DROP = "drop"
    DELAY = "delay"
    LOST_ACK = "lost_ack"
    LOSE_BUS = "lose_bus"


KILLS = (Kind.KILL, Kind.POINT, Kind.LOSE_BUS)


@dataclass(frozen=True)
class Fault:
    """Done once `after` tasks were asked for; `amount` is seconds, or a share of connections."""

    after: int
    kind: Kind
    target: str
    point: str = ""
    amount: float = 0.0


def make_schedule(seed: int, *, tasks: int, kills: int) -> list[Fault]:
    """Every point once where there are kills enough, then the stores, then any process; and as many milder faults."""
    chance = random.Random(seed)
    drawn = [*_kills(chance, tasks, kills), *_milder(chance, kills)]
    chance.shuffle(drawn)
    # The first tasks warm up, and the last ones are there for what was armed late.
    step = 0.8 * tasks / max(len(drawn), 1)
    return [
        Fault(int(0.05 * tasks + step * place), kind, target, point, amount)
        for place, (kind, target, point, amount) in enumerate(drawn)
    ]


Drawn = tuple[Kind, str, str, float]


def _kills(chance: random.Random, tasks: int, count: int) -> list[Drawn]:
    points = chance.sample(POINTS, k=min(len(POINTS), count))
    drawn: list[Drawn] = [(Kind.POINT, chance.choice(point.services), point.name, 0.0) for point in points]
    while len(drawn) < count:
        others = len(drawn) - len(points)
        if others < len(STORES):
            drawn.append((Kind.KILL, STORES[others], "", 0.0))
        elif others == len(STORES) and tasks >= FEWEST_TASKS_TO_LOSE_THE_BUS:
            drawn.append((Kind.LOSE_BUS, "nats", "", 0.0))
        else:
            drawn.append(_any_kill(chance))
    return drawn


def _any_kill(chance: random.Random) -> Drawn:
    if chance.random() < 0.5:
        point = chance.choice(POINTS)
        return Kind.POINT, chance.choice(point.services), point.name, 0.0
    return Kind.KILL, chance.choice((*SERVICES, *REPLICAS, *STORES)), "", 0.0


def _milder(chance: random.Random, kills: int) -> list[Drawn]:
    every: list[Drawn] = []
    for _ in range(max(1, kills // 5)):
        every += [
            (Kind.FREEZE, chance.choice((*SERVICES, *REPLICAS, *STORES)), "", chance.choice(FREEZE_SECONDS)),
            (Kind.RESTART, chance.choice((*SERVICES, *REPLICAS)), "", 0.0),
            (Kind.DROP, chance.choice(STORES), "", chance.choice(SHARES)),
            (Kind.DELAY, chance.choice(STORES), "", chance.choice(DELAY_SECONDS)),
            (Kind.LOST_ACK, chance.choice(RECEIVERS), "", 0.0),
        ]
    return every

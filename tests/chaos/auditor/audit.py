"""The auditor judges a run by the client's log, the tables, the tap and the recorders, and knows none of the product.

Of what the product is built from it uses the generated protobuf classes alone.
"""

from __future__ import annotations

from pathlib import Path

import psycopg

from tests.chaos.auditor.records import read_records
from tests.chaos.auditor.rules import RULES
from tests.chaos.auditor.world import World
from tests.chaos.evidence import EvidenceUnusable, read_evidence

MOST_OF_A_RULE = 5


def audit(folder: Path, dsn: str) -> list[str]:
    """What breaks a rule, by its name. What cannot be judged is a finding too."""
    try:
        world = World(read_evidence(folder), read_records(dsn))
    except (EvidenceUnusable, psycopg.Error) as error:
        return [f"evidence: {error}"]
    return [finding for name in RULES for finding in judged(name, world)]


def judged(name: str, world: World) -> list[str]:
    found = [f"{name}: {text}" for text in RULES[name](world)]
    more = [f"{name}: and {len(found) - MOST_OF_A_RULE} more"] if len(found) > MOST_OF_A_RULE else []
    return found[:MOST_OF_A_RULE] + more

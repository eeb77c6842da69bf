"""Codegen's rows: the records of steps, and changes."""

from __future__ import annotations

from dataclasses import asdict
from uuid import UUID

from psycopg.types.json import Jsonb
from pydantic import TypeAdapter

from morningai.db.queries import load_queries
from morningai.db.session import Database, Session
from morningai.errors import NotFound
from services.codegen.domain.changes import (
    Change,
    EvidenceBundle,
    Provenance,
    State,
    StoredChange,
    TestOutcome,
    outcomes_of,
)

QUERIES = load_queries(__file__)
EVIDENCE = TypeAdapter(EvidenceBundle)


class StepRecords:
    """The step records of one piece of work; each read and write is a transaction of its own."""

    def __init__(self, database: Database, proof: str, work_id: UUID, *, resumed_id: UUID | None = None) -> None:
        self._database = database
        self._proof = proof
        self._work_id = work_id
        self._resumed_id = resumed_id

    async def get(self, step: str, attempt: int) -> str | None:
        parameters: dict[str, object] = {
            "work_id": self._work_id,
            "resumed_id": self._resumed_id,
            "step": step,
            "attempt": attempt,
        }
        async with self._database.tenant_session(self._proof) as session:
            row = await session.row(QUERIES["get_step"], parameters)
        return row["record"] if row else None

    async def put(self, step: str, attempt: int, record: str) -> None:
        async with self._database.tenant_session(self._proof) as session:
            await session.execute(
                QUERIES["insert_step"],
                {"work_id": self._work_id, "step": step, "attempt": attempt, "record": record},
            )


async def insert_change(
    session: Session, change: Change, *, task_id: UUID, instruction: str, source: str, provenance: Provenance
) -> UUID:
    row = await session.row(
        QUERIES["insert_change"],
        {
            "task_id": task_id,
            "instruction": instruction,
            "source": source,
            "state": change.state,
            "reason": change.reason,
            "patch": change.patch,
            "tests": Jsonb([asdict(outcome) for outcome in outcomes_of(change.evidence)]),
            "attempts": change.attempts,
            "evidence": EVIDENCE.dump_json(change.evidence).decode(),
            "provenance": Jsonb(asdict(provenance)),
        },
    )
    assert row is not None
    return UUID(str(row["change_id"]))


async def get_change(session: Session, change_id: UUID) -> StoredChange:
    """Raises NotFound."""
    row = await session.row(QUERIES["get_change"], {"change_id": change_id})
    if row is None:
        raise NotFound("change", f"changes/{change_id}")
    return StoredChange(
        change_id=row["change_id"],
        instruction=row["instruction"],
        source=row["source"],
        state=State(row["state"]),
        reason=row["reason"],
        patch=row["patch"],
        tests=tuple(TestOutcome(**outcome) for outcome in row["tests"]),
        attempts=row["attempts"],
        evidence=row["evidence"],
        provenance=Provenance(**row["provenance"]),
        created_at=row["created_at"],
    )

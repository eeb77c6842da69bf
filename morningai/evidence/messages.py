"""Evidence as protobuf and as plain JSON rows, for the services that keep and send it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import cast, get_args

from morningai.api.answers.v1 import answers_pb2 as api
from morningai.api.search.v1 import search_pb2 as search
from morningai.evidence.model import Claim, ClaimOrigin, Evidence, Fact, FactKind, Passage

FACT_KINDS = frozenset(get_args(FactKind))


def claim_message(claim: Claim) -> api.Claim:
    return api.Claim(
        text=claim.text, evidence=[api.Evidence(**asdict(item)) for item in claim.evidence], origin=claim.origin
    )


def claim_rows(claims: Iterable[Claim]) -> list[dict[str, object]]:
    """Plain data for a jsonb column."""
    return [asdict(claim) for claim in claims]


def claims_of_rows(rows: Sequence[Mapping[str, object]]) -> tuple[Claim, ...]:
    return tuple(_claim_of_row(row) for row in rows)


def _claim_of_row(row: Mapping[str, object]) -> Claim:
    evidence = cast(Sequence[Mapping[str, object]], row["evidence"])
    return Claim(
        text=str(row["text"]),
        evidence=tuple(Evidence(**item) for item in evidence),  # type: ignore[arg-type]  # written by claim_rows
        origin=cast(ClaimOrigin, row["origin"]),
        topic=str(row["topic"]),
    )


def passage_message(passage: Passage) -> search.Passage:
    return search.Passage(**asdict(passage))


def passage_of(message: search.Passage) -> Passage:
    return Passage(
        path=message.path,
        symbol=message.symbol,
        commit=message.commit,
        blob_hash=message.blob_hash,
        start_line=message.start_line,
        end_line=message.end_line,
        text=message.text,
        score=message.score,
    )


def fact_message(fact: Fact) -> search.Fact:
    return search.Fact(**asdict(fact))


def facts_of(messages: Iterable[search.Fact]) -> tuple[Fact, ...]:
    """The facts of kinds that this revision knows; a newer peer may send others."""
    return tuple(
        Fact(
            kind=cast(FactKind, message.kind),
            name=message.name,
            path=message.path,
            commit=message.commit,
            blob_hash=message.blob_hash,
            start_line=message.start_line,
            end_line=message.end_line,
            quote=message.quote,
        )
        for message in messages
        if message.kind in FACT_KINDS
    )

"""Reading at docs: what matches a question, and the overview of a snapshot."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import grpc

from morningai.api.search.v1 import search_pb2 as api
from morningai.api.search.v1 import search_pb2_grpc
from morningai.evidence.messages import facts_of, passage_of
from morningai.evidence.model import Fact, Passage
from morningai.rpc.channel import error_of, proof_metadata

SEARCHED_PASSAGES = 80
OVERVIEW_PASSAGES = 400


@dataclass(frozen=True)
class Reading:
    """Passages, best first, and the facts of the snapshot."""

    passages: tuple[Passage, ...]
    facts: tuple[Fact, ...]


class Library:
    """Docs' search, with the proof of the work that reads."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout_seconds: float) -> None:
        self._stub = search_pb2_grpc.SearchServiceStub(channel)
        self._timeout_seconds = timeout_seconds

    async def read(self, proof: str, snapshot: str, question: str) -> Reading:
        """What matches the question, then the heads of the files, each once. Raises Unavailable or Permanent."""
        metadata, timeout = proof_metadata(proof), self._timeout_seconds
        search = api.SearchRequest(snapshot=snapshot, query=question, limit=SEARCHED_PASSAGES)
        overview = api.GetOverviewRequest(snapshot=snapshot, passage_limit=OVERVIEW_PASSAGES)
        try:
            found, heads = await asyncio.gather(
                self._stub.Search(search, metadata=metadata, timeout=timeout),
                self._stub.GetOverview(overview, metadata=metadata, timeout=timeout),
            )
        except grpc.aio.AioRpcError as error:
            raise error_of(error, peer="docs") from error
        passages = [passage_of(message) for message in found.passages]
        places = {(passage.path, passage.start_line) for passage in passages}
        others = [passage_of(m) for m in heads.passages if (m.path, m.start_line) not in places]
        return Reading((*passages, *others), facts_of(heads.facts))

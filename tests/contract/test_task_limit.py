"""What the orchestrator asks for an approval at is what the model client says."""

from __future__ import annotations

from morningai.llm.errors import TaskLimitReached
from services.orchestrator.domain import LIMIT_REACHED


def test_a_reached_limit_has_one_name():
    assert TaskLimitReached("tokens_per_task").reason == LIMIT_REACHED

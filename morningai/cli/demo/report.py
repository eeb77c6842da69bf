"""What the demo did, as one JSON document that a checker can hold against the repository."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.cli.demo.repositories import DemoRepository
from morningai.cli.outcome import Outcome
from morningai.cli.output import message_json


@dataclass
class Report:
    """Filled as the demo goes; what is missing was not reached."""

    repository: DemoRepository | None = None
    engine: str = ""
    main: Outcome | None = None
    change: Outcome | None = None
    events: list[list[api.TaskEvent]] = field(default_factory=list)
    shortcomings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        outcomes = [outcome for outcome in (self.main, self.change) if outcome]
        results = self.main.to_json() if self.main else {}
        return {
            "repository": _repository_json(self.repository),
            "engine": self.engine,
            "answer": results.get("answer"),
            "faq": results.get("faq"),
            "document": results.get("document"),
            "change": self.change.to_json().get("change") if self.change else None,
            "tasks": [message_json(outcome.task) for outcome in outcomes],
            "traces": [
                {"trace_id": events[0].trace_id, "events": [message_json(event) for event in events]}
                for events in self.events
                if events
            ],
            "shortcomings": self.shortcomings,
        }

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.to_json(), indent=2) + "\n", encoding="utf-8")


def _repository_json(repository: DemoRepository | None) -> dict[str, str] | None:
    if repository is None:
        return None
    return {"path": str(repository.local.folder), "commit": repository.local.commit}

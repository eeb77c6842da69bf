"""Lines of a run's evidence as they are, for whoever wrote them."""

from __future__ import annotations

import json
from pathlib import Path


def read_lines(folder: Path, name: str) -> list[dict[str, object]]:
    path = folder / name
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

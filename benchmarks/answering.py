"""`morningai up` on which generators answer at once: `python -m benchmarks.answering --data-dir … --port …`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

from morningai.embedded.plan import Kernel
from morningai.embedded.services import ServiceCommand
from morningai.embedded.up import UpOptions, up

STAND_INS = ("docs", "faqgen", "codegen")
# The limits of a public door would be measured instead of what is behind it.
SETTINGS = {
    "MORNINGAI_SLOTS": "4",
    "MORNINGAI_CONCURRENT_CALLS": "1000",
    "MORNINGAI_CALLS_PER_TENANT": "1000",
    "MORNINGAI_WATCHES_PER_TENANT": "1000",
}


def arguments_of(service: str) -> tuple[str, ...]:
    if service in STAND_INS:
        return (sys.executable, "-m", "benchmarks.generators", service)
    return (sys.executable, "-m", f"services.{service}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--sweep-seconds", type=float, default=300.0, help="between two looks for rows that are over")
    given = parser.parse_args()
    os.environ.update(SETTINGS)
    os.environ["MORNINGAI_RETENTION_SWEEP_SECONDS"] = str(given.sweep_seconds)
    # A service starts in its own folder.
    os.environ["PYTHONPATH"] = str(Path(__file__).parent.parent)
    kernel = replace(Kernel.real(), command=ServiceCommand(arguments_of))
    options = UpOptions(given.data_dir, given.port, json_output=True, timings=True, local_model=False)
    return asyncio.run(up(options, kernel))


if __name__ == "__main__":
    sys.exit(main())

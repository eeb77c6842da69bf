"""Installing the local model with a bar on a terminal, and a line every tenth of the way elsewhere."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from morningai.cli.output import Output
from morningai.embedded.model import QWEN_CODER, InstallFrom, default_models_dir, install_model

_URL = re.compile(r"https?://.+")

Report = Callable[[int, int], None]


def install_with_progress(output: Output, place: str | None) -> Path:
    """`place` is a file or a URL; None tries the usual places in order. Raises what `install_model` raises."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger("error"),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    with _progress(output) as report:
        return install_model(default_models_dir(), source=_install_from(place), progress=report)


def _install_from(place: str | None) -> InstallFrom:
    if place is None:
        return InstallFrom(url=os.environ.get("MORNINGAI_MODEL_URL") or QWEN_CODER.url)
    if _URL.fullmatch(place):
        return InstallFrom(url=place, packages=False)
    return InstallFrom(file=Path(place).expanduser())


@contextmanager
def _progress(output: Output) -> Iterator[Report]:
    if output.json_output:
        yield lambda done, total: None
    elif output.errors.is_terminal:
        with _bar(output) as report:
            yield report
    else:
        yield _tenths(output)


@contextmanager
def _bar(output: Output) -> Iterator[Report]:
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress("{task.description}", *columns, console=output.errors) as progress:
        bar = progress.add_task(QWEN_CODER.name, total=QWEN_CODER.size_bytes)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


def _tenths(output: Output) -> Report:
    said: set[int] = set()

    def report(done: int, total: int) -> None:
        tenth = done * 10 // total
        if tenth not in said:
            said.add(tenth)
            output.note(f"{QWEN_CODER.name}: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB")

    return report

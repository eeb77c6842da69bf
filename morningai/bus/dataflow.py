"""Writes docs/dataflow.md from the message catalogue: `python -m morningai.bus.dataflow [--check] FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

from morningai.bus import subjects
from morningai.bus.catalogue import CATALOGUE, MessageType, subscriptions_of
from morningai.bus.permissions import SERVICES

HEAD = """# Data flow

Made from the message catalogue (`morningai/bus/catalogue.py`) by `make dataflow`; do not edit.

"""


def render() -> str:
    return HEAD + "\n".join([*_diagram(), "", *_messages(), "", *_consumers(), ""])


def _diagram() -> list[str]:
    lines = ["```mermaid", "flowchart LR"]
    edges: dict[tuple[str, str], list[str]] = {}
    for message in CATALOGUE:
        for producer in message.producers:
            for consumer in message.consumers:
                if producer != consumer:
                    edges.setdefault((producer, consumer), []).append(message.short_name)
    lines += [f"  {a} -- {'<br>'.join(names)} --> {b}" for (a, b), names in sorted(edges.items())]
    return [*lines, "```"]


def _messages() -> list[str]:
    lines = ["| message | kind | producers | consumers (lane) | subscribers see it on |", "|---|---|---|---|---|"]
    return lines + [_row(message) for message in CATALOGUE]


def _row(message: MessageType) -> str:
    consumers = ", ".join(f"{service} ({lane})" for service, lane in message.consumers.items())
    copy = subjects.public_subject("{tenant}", message.context, message.event)
    public = f"`{copy}`" if message.public else ""
    producers = ", ".join(message.producers)
    return f"| `{message.short_name}` | {message.kind} | {producers} | {consumers} | {public} |"


def _consumers() -> list[str]:
    lines = ["| durable consumer | stream | subjects |", "|---|---|---|"]
    for service in SERVICES:
        for subscription in subscriptions_of(service):
            filters = "<br>".join(f"`{subject}`" for subject in subscription.filter_subjects)
            lines.append(f"| `{subscription.durable}` | {subscription.stream} | {filters} |")
    return lines


def main() -> None:
    path = Path(sys.argv[-1])
    if "--check" not in sys.argv:
        path.write_text(render(), encoding="utf-8")
    elif not path.exists() or path.read_text(encoding="utf-8") != render():
        raise SystemExit(f"{path} does not match the message catalogue; run `make dataflow`")


if __name__ == "__main__":
    main()

"""Where a command speaks: results on standard output, progress and problems on standard error.

With `--json` standard output holds one JSON document, or one a line where there is no end, standard error nothing but a
problem as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from morningai.cli.problem import Problem
from morningai.cli.safe_text import safe

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from rich.console import RenderableType


class Output:
    def __init__(self, *, json_output: bool = False) -> None:
        self.json_output = json_output
        self.console = Console(highlight=False)
        self.errors = Console(stderr=True, highlight=False)

    def document(self, content: dict[str, object]) -> None:
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
        sys.stdout.flush()

    def record(self, content: dict[str, object]) -> None:
        """One of many documents, each on a line."""
        sys.stdout.write(json.dumps(content) + "\n")
        sys.stdout.flush()

    def line(self, text: str = "", style: str = "") -> None:
        """A line of a result; never shortened or wrapped, so that it can be copied and piped."""
        self.console.print(Text(safe(text), style=style), soft_wrap=True)

    def paragraph(self, text: str, *, indent: int = 0, style: str = "") -> None:
        """Wrapped on a terminal only."""
        if self.console.is_terminal:
            self.console.print(Padding(Text(safe(text), style=style), (0, 0, 0, indent), expand=False))
        else:
            self.line("\n".join(" " * indent + line for line in text.split("\n")))

    def heading(self, title: str) -> None:
        self.line()
        self.show(Rule(Text(safe(title.split("\n")[0])), align="left", style="dim"))

    def show(self, renderable: RenderableType) -> None:
        """Text keeps its lines, so that it can be copied and piped; anything else is laid out."""
        self.console.print(renderable, soft_wrap=isinstance(renderable, Text))

    def note(self, text: str, style: str = "dim") -> None:
        """Something besides the result; not said to a program."""
        if not self.json_output:
            self.errors.print(Text(safe(text), style=style), soft_wrap=True)

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Says what is waited for, with a spinner on a terminal."""
        if self.json_output or not self.errors.is_terminal:
            self.note(text)
            yield
        else:
            with self.errors.status(Text(safe(text))):
                yield

    def problem(self, problem: Problem) -> None:
        if self.json_output:
            sys.stderr.write(json.dumps(problem.to_json()) + "\n")
            return
        self.errors.print(Text.assemble(("error: ", "bold red"), safe(problem.message)), soft_wrap=True)
        for label, text in (("field", problem.field), ("remedy", problem.remedy), ("next", problem.next_step)):
            if text:
                self.errors.print(Text.assemble((f"  {label}: ".ljust(10), "dim"), safe(text)), soft_wrap=True)


def message_json(message: Message) -> dict[str, object]:
    """With the field names of the proto files; every field is there, also an empty one."""
    from google.protobuf.json_format import MessageToDict

    content: dict[str, object] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return content

"""Results as text: claims with their citations, FAQs, documents with their metadata block, changes with their diff."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from morningai.api.answers.v1 import answers_pb2 as answers
from morningai.api.changes.v1 import changes_pb2 as changes
from morningai.api.documents.v1 import documents_pb2 as documents
from morningai.api.faqs.v1 import faqs_pb2 as faqs
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.cli.outcome import Outcome
from morningai.cli.output import Output
from morningai.cli.progress import step_detail
from morningai.cli.safe_text import safe
from morningai.cli.wording import (
    ENDED,
    STYLES,
    change_state,
    citation,
    clock,
    provenance_line,
    step_state,
    task_priority,
    task_state,
)

INDENT = 2
DIFF_STYLES = (("+++", "bold"), ("---", "bold"), ("diff ", "bold"), ("@@", "cyan"), ("+", "green"), ("-", "red"))
METADATA_FENCE = "---\n"


def show_outcome(output: Output, outcome: Outcome) -> None:
    if outcome.answer is not None:
        show_answer(output, outcome.answer)
    if outcome.faq is not None:
        show_faq(output, outcome.faq)
    if outcome.document is not None:
        show_document(output, outcome.document)
    if outcome.change is not None:
        show_change(output, outcome.change)
    show_delivery(output, outcome.task)
    show_end(output, outcome.task)


def show_answer(output: Output, answer: answers.Answer) -> None:
    output.heading(answer.question or "Answer")
    if not answer.found:
        output.paragraph("Not found in the sources.", style="yellow")
        output.paragraph(f"Searched: {', '.join(answer.searched) or 'nothing'}", style="dim")
    _show_claims(output, answer.claims)
    output.line(provenance_line(answer.provenance), style="dim")


def show_faq(output: Output, faq: faqs.Faq) -> None:
    output.heading(f"FAQ · {len(faq.items)} questions")
    for number, item in enumerate(faq.items, start=1):
        output.paragraph(f"{number}. {item.question}", style="bold")
        _show_claims(output, item.claims)
    output.line(provenance_line(faq.provenance), style="dim")


def show_document(output: Output, document: documents.Document) -> None:
    """The content as it is where it is piped; on a terminal its Markdown is drawn, below the metadata block."""
    output.heading(f"{document.title} · version {document.version}")
    if not output.console.is_terminal:
        output.line(document.content.rstrip("\n"))
    else:
        _draw_document(output, safe(document.content))
    output.line(f"{document.name} · SHA-256 {document.content_hash}", style="dim")
    output.line(provenance_line(document.provenance), style="dim")


def show_change(output: Output, change: changes.Change) -> None:
    state = change_state(change.state)
    output.heading(f"Change · {change.instruction}")
    output.show(Text.assemble("state   ", (state, STYLES.get(state, "red"))))
    output.line(f"reason  {change.reason}")
    for test in change.tests:
        if test.before != test.after:
            output.line(f"test    {test.test_id}: {test.before} → {test.after}")
    if change.patch:
        output.show(diff_text(change.patch))
    output.line(f"{change.name} · {change.attempts} attempts", style="dim")
    output.line(provenance_line(change.provenance), style="dim")


def show_delivery(output: Output, task: tasks.Task) -> None:
    """Nothing for a task that pushes nothing."""
    if not task.HasField("delivery"):
        return
    pushed = f" at {task.delivery.commit}" if task.delivery.commit else ", not pushed"
    output.line(f"branch  {task.delivery.branch}{pushed}")


def show_expiry(output: Output, task: tasks.Task) -> None:
    """Until when an open task may take; nothing for one that may take any time."""
    if task.HasField("expire_time") and task.state not in ENDED:
        output.line(f"expires {clock(task.expire_time)}")


def show_end(output: Output, task: tasks.Task) -> None:
    """How the task ended, and why each failed step did."""
    state = task_state(task.state)
    output.line()
    output.show(Text.assemble((state, STYLES.get(state, "")), f" · {task.name} · trace {task.trace_id}"))
    if task.state == tasks.TASK_STATE_WAITING_FOR_APPROVAL:
        output.line(f"  `morningai approval list --task {task.name.removeprefix('tasks/')}` shows what it waits for.")
    failed = [(step.step, step.failure) for step in task.steps if step.HasField("failure")]
    if not failed and task.HasField("failure"):
        failed = [("task", task.failure)]
    for name, failure in failed:
        show_failure(output, name, failure)


def show_failure(output: Output, step: str, failure: tasks.Failure) -> None:
    output.line(f"  {step}: {failure.message or failure.reason} ({failure.reason})", style="red")
    if failure.remedy:
        output.line(f"    {failure.remedy}")


def show_steps(output: Output, steps: Iterable[tasks.Step]) -> None:
    for step in steps:
        state = step_state(step.state)
        said = safe(step_detail(step))
        output.show(Text.assemble("  ", step.step.ljust(10), (state.ljust(10), STYLES.get(state, "")), said))


def show_queue_place(output: Output, task: tasks.Task) -> None:
    """Nothing for a task that is not queued, or whose place is not known."""
    if not task.HasField("queue_place"):
        return
    place = task.queue_place
    start = clock(place.estimated_start_time)
    when = f"starts at about {start}" if start else "when it starts is not known yet"
    output.line(f"  number {place.position} in the queue · {task_priority(task.priority)} priority · {when}")


def diff_text(patch: str) -> Text:
    text = Text(no_wrap=True, overflow="ignore")
    for line in safe(patch).rstrip("\n").split("\n"):
        style = next((style for start, style in DIFF_STYLES if line.startswith(start)), "")
        text.append(f"{line}\n", style=style)
    return text


def _show_claims(output: Output, claims: Iterable[answers.Claim]) -> None:
    for claim in claims:
        output.paragraph(claim.text, indent=INDENT)
        for evidence in claim.evidence:
            output.line(f"{' ' * 2 * INDENT}{citation(evidence)}", style="cyan")
    output.line()


def _draw_document(output: Output, content: str) -> None:
    from rich.markdown import Markdown

    metadata, body = _split_metadata(content)
    if metadata:
        output.paragraph(metadata, style="dim")
    output.show(Markdown(body, hyperlinks=False))


def _split_metadata(content: str) -> tuple[str, str]:
    """The block between two fences at the very start, and the rest."""
    end = content.find(f"\n{METADATA_FENCE}", len(METADATA_FENCE) - 1)
    if not content.startswith(METADATA_FENCE) or end < 0:
        return "", content
    return content[len(METADATA_FENCE) : end], content[end + 1 + len(METADATA_FENCE) :]

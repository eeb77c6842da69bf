"""A task and everything it made, fetched by the names its steps carry."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import Message

from morningai.api.answers.v1 import answers_pb2 as answers
from morningai.api.changes.v1 import changes_pb2 as changes
from morningai.api.documents.v1 import documents_pb2 as documents
from morningai.api.faqs.v1 import faqs_pb2 as faqs
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.cli.exit_code import ExitCode
from morningai.cli.gateway import Gateway
from morningai.cli.output import message_json

EXIT_CODES = {
    tasks.TASK_STATE_SUCCEEDED: ExitCode.SUCCESS,
    tasks.TASK_STATE_PARTLY_SUCCEEDED: ExitCode.PARTLY_SUCCEEDED,
}


@dataclass(frozen=True)
class Outcome:
    """Each result is None when the task was not asked for it or its step made none."""

    task: tasks.Task
    answer: answers.Answer | None = None
    faq: faqs.Faq | None = None
    document: documents.Document | None = None
    change: changes.Change | None = None

    @property
    def exit_code(self) -> ExitCode:
        return EXIT_CODES.get(self.task.state, ExitCode.FAILED)

    def to_json(self) -> dict[str, object]:
        results: dict[str, Message | None] = {
            "answer": self.answer,
            "faq": self.faq,
            "document": self.document,
            "change": self.change,
        }
        made = {name: message_json(result) for name, result in results.items() if result is not None}
        return {"task": message_json(self.task), **made}


def fetch_outcome(gateway: Gateway, task: tasks.Task) -> Outcome:
    made = {step.result.partition("/")[0]: step.result for step in task.steps if step.result}
    call = gateway.call
    return Outcome(
        task,
        answer=call(gateway.answers.GetAnswer, answers.GetAnswerRequest(name=made["answers"]))
        if "answers" in made
        else None,
        faq=call(gateway.faqs.GetFaq, faqs.GetFaqRequest(name=made["faqs"])) if "faqs" in made else None,
        document=call(gateway.documents.GetDocument, documents.GetDocumentRequest(name=made["documents"]))
        if "documents" in made
        else None,
        change=call(gateway.changes.GetChange, changes.GetChangeRequest(name=made["changes"]))
        if "changes" in made
        else None,
    )

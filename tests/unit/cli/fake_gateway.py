"""A gateway in this process: real gRPC from the generated stubs, results and failures as a test puts them."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from morningai.api.answers.v1 import answers_pb2, answers_pb2_grpc
from morningai.api.changes.v1 import changes_pb2, changes_pb2_grpc
from morningai.api.documents.v1 import documents_pb2, documents_pb2_grpc
from morningai.api.faqs.v1 import faqs_pb2, faqs_pb2_grpc
from morningai.api.schedules.v1 import schedules_pb2, schedules_pb2_grpc
from morningai.api.sources.v1 import sources_pb2, sources_pb2_grpc
from morningai.api.subscriptions.v1 import subscriptions_pb2, subscriptions_pb2_grpc
from morningai.api.tasks.v1 import approvals_pb2, tasks_pb2, tasks_pb2_grpc
from morningai.api.tenants.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    dead_letters_pb2,
    dead_letters_pb2_grpc,
    keys_pb2,
    keys_pb2_grpc,
    members_pb2,
    members_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
    policies_pb2,
    policies_pb2_grpc,
    tenants_pb2,
    tenants_pb2_grpc,
    usage_pb2,
    usage_pb2_grpc,
)
from morningai.errors import MorningAIError, NotFound, Unauthenticated, Unavailable
from morningai.rpc.call import Context
from morningai.rpc.status import abort

KEY = "mk_test.secret"
OPERATOR_KEY = "op_test.secret"
TASK = "tasks/0198c1de-4f7a-7cc0-9c52-0d6a4f1f7f11"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SCHEDULE = "schedules/0198c1de-5f7a-4cc0-9c52-0d6a4f1f7f11"
WEBHOOK = "webhookEndpoints/0198c1de-4f7a-7cc0-9c52-0d6a4f1f7f11"
DELIVERY = f"{WEBHOOK}/deliveries/0198c1df-0000-7cc0-9c52-0d6a4f1f7f11"
APPROVAL = "approvals/0198c1de-5555-7cc0-9c52-0d6a4f1f7f11"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def at(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(START + timedelta(seconds=seconds))
    return stamp


def model_endpoint(given: models_pb2.ModelEndpoint) -> models_pb2.ModelEndpoint:
    stored = models_pb2.ModelEndpoint(context_tokens=32_768, has_api_key=True, set_time=at(0))
    stored.MergeFrom(given)
    return stored


def approval(assignee: str = "") -> approvals_pb2.Approval:
    return approvals_pb2.Approval(
        name=APPROVAL,
        task=TASK,
        kind=approvals_pb2.APPROVAL_KIND_PUBLISHING,
        state=approvals_pb2.APPROVAL_STATE_PENDING,
        requester="apiKeys/mk_asks",
        resource="documents/1",
        version=2,
        summary="Publish documents/1, version 2.",
        why="The policy asks for an approval before a document is published.",
        assignee=assignee,
        create_time=at(0),
        expire_time=at(3600),
        etag="1",
    )


def provenance() -> answers_pb2.Provenance:
    return answers_pb2.Provenance(
        task=TASK, trace_id=TRACE, engine="extractive", repository="shop", commit=COMMIT, prompt_version=""
    )


def claim(text: str, path: str = "README.md") -> answers_pb2.Claim:
    evidence = answers_pb2.Evidence(path=path, commit=COMMIT, start_line=1, end_line=4, quote="one")
    return answers_pb2.Claim(text=text, evidence=[evidence], origin="extracted")


def answer() -> answers_pb2.Answer:
    claims = [claim("The gateway is the one public door."), claim("Orders are kept in PostgreSQL.", "store.py")]
    return answers_pb2.Answer(
        name="answers/1", question="How?", found=True, claims=claims, provenance=provenance(), create_time=at(2)
    )


def faq() -> faqs_pb2.Faq:
    items = [faqs_pb2.FaqItem(question=f"Question {number}?", claims=[claim("Yes.")]) for number in range(5)]
    return faqs_pb2.Faq(name="faqs/1", source="sources/shop", items=items, provenance=provenance())


def document() -> documents_pb2.Document:
    return documents_pb2.Document(
        name="documents/1",
        title="Architecture",
        source="sources/shop",
        version=1,
        content="---\ntask: tasks/1\n---\n# Architecture\n\nSix services.\n",
        content_hash="ab" * 32,
        provenance=provenance(),
    )


def change() -> changes_pb2.Change:
    return changes_pb2.Change(
        name="changes/1",
        instruction="Fix it.",
        source="sources/shop",
        state=changes_pb2.CHANGE_STATE_VERIFIED,
        reason="Every expected test passed.",
        patch="--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-x = 1\n+x = 2\n",
        tests=[changes_pb2.TestOutcome(test_id="test_a.py::test_x", before="failed", after="passed")],
        attempts=1,
        provenance=provenance(),
    )


def api_key(display_name: str, *, revoked: bool = False) -> keys_pb2.ApiKey:
    return keys_pb2.ApiKey(
        name="apiKeys/mk_2",
        display_name=display_name,
        scopes=["tasks.read"],
        create_time=at(0),
        revoke_time=at(1) if revoked else None,
    )


def member(role: members_pb2.MemberRole.ValueType) -> members_pb2.Member:
    return members_pb2.Member(
        name="members/1", subject="s-1", email="ada@example.org", display_name="Ada", role=role, create_time=at(0)
    )


def invitation(number: int, *, revoked: bool = False) -> members_pb2.Invitation:
    return members_pb2.Invitation(
        name=f"invitations/mi_{number}",
        email="ada@example.org",
        role=members_pb2.MEMBER_ROLE_ADMIN,
        creator="key:mk_1",
        create_time=at(0),
        expire_time=at(86400 * 365 * 100),
        revoke_time=at(1) if revoked else None,
    )


def audit_entry(number: int) -> audit_pb2.AuditEntry:
    return audit_pb2.AuditEntry(
        name=f"auditEntries/{number}",
        create_time=at(number),
        principal="key:mk_1",
        action="keys.create",
        resource="apiKeys/mk_2",
        trace_id=TRACE,
        outcome=audit_pb2.AUDIT_OUTCOME_SUCCEEDED,
    )


def dead_letter(**fields: object) -> dead_letters_pb2.DeadLetter:
    return dead_letters_pb2.DeadLetter(
        name=f"deadLetters/orchestrator-replies.{UUID(int=7)}",
        service="orchestrator",
        message_type="morningai.api.events.v1.SourceIndexed",
        reason="POISON",
        error="The body is not valid.",
        deliveries=3,
        trace_id="0af7651916cd43dd8448eb211c80319c",
        task=TASK,
        bury_time=at(5),
        **{"state": dead_letters_pb2.DEAD_LETTER_STATE_BURIED, **fields},  # type: ignore[arg-type]
    )


def schedule(**fields: object) -> schedules_pb2.Schedule:
    made = schedules_pb2.Schedule(
        name=SCHEDULE,
        display_name="weekly news",
        task=tasks_pb2.Task(instruction="What is new?", source="sources/shop", kinds=[tasks_pb2.TASK_KIND_ANSWER]),
        cron=schedules_pb2.CronTrigger(expression="30 6 * * mon", time_zone="Europe/Berlin"),
        missed_policy=schedules_pb2.MISSED_POLICY_SKIP,
        state=schedules_pb2.SCHEDULE_STATE_ACTIVE,
        principal="apiKeys/mk_1",
        next_fire_time=at(60),
        last_fire_time=at(0),
        last_task=TASK,
        etag="1",
    )
    made.MergeFrom(schedules_pb2.Schedule(**fields))  # type: ignore[arg-type]  # as the caller names them
    return made


def webhook(**fields: object) -> subscriptions_pb2.WebhookEndpoint:
    made = subscriptions_pb2.WebhookEndpoint(
        name=WEBHOOK,
        url="https://ci.example.org/hook",
        event_types=["task.failed"],
        state=subscriptions_pb2.WEBHOOK_ENDPOINT_STATE_ENABLED,
        create_time=at(0),
    )
    made.MergeFrom(subscriptions_pb2.WebhookEndpoint(**fields))  # type: ignore[arg-type]  # as the caller names them
    return made


def delivery() -> subscriptions_pb2.WebhookDelivery:
    return subscriptions_pb2.WebhookDelivery(
        name=DELIVERY,
        webhook_id="0198c1df-1111-7cc0-9c52-0d6a4f1f7f11",
        event_type="task.failed",
        state=subscriptions_pb2.WEBHOOK_DELIVERY_STATE_PENDING,
        attempts=2,
        response_status=500,
        error="The endpoint answered 500.",
        create_time=at(0),
    )


def step(name: str, service: str, *, end: float | None = None, result: str = "", failure: str = "") -> tasks_pb2.Step:
    state = tasks_pb2.STEP_STATE_RUNNING if end is None else tasks_pb2.STEP_STATE_SUCCEEDED
    made = tasks_pb2.Step(step=name, service=service, state=state, start_time=at(0.1), result=result)
    if end is not None:
        made.end_time.CopyFrom(at(end))
        made.summary = "done"
    if failure:
        made.state = tasks_pb2.STEP_STATE_FAILED
        made.failure.CopyFrom(tasks_pb2.Failure(reason=failure, message="It did not work.", remedy="Do that."))
    return made


@dataclass
class Script:
    """What the gateway knows and how it misbehaves; `calls` is what it was asked."""

    steps: list[tasks_pb2.Step] = field(
        default_factory=lambda: [
            step("index", "docs", end=0.5, result="snapshots/1"),
            step("answer", "faqgen", end=1.5, result="answers/1"),
        ]
    )
    end_state: tasks_pb2.TaskState.ValueType = tasks_pb2.TASK_STATE_SUCCEEDED
    queue_place: tasks_pb2.QueuePlace | None = None
    expire_time: Timestamp | None = None
    ticks: bool = False
    """Whether a tick comes behind each event, for those who ask for them."""
    failures: dict[str, list[MorningAIError]] = field(default_factory=lambda: defaultdict(list))
    breaks_after: list[int] = field(default_factory=list)
    """Events after which a watch breaks, one number per watch."""
    endless: bool = False
    tasks_created: list[tasks_pb2.CreateTaskRequest] = field(default_factory=list)
    sources: list[sources_pb2.Source] = field(default_factory=lambda: [sources_pb2.Source(name="sources/shop")])
    uploads: list[list[sources_pb2.UploadSourceRequest]] = field(default_factory=list)
    answer: answers_pb2.Answer = field(default_factory=answer)
    schedule: schedules_pb2.Schedule = field(default_factory=lambda: schedule())
    entries_exported: int = 3
    """Entries of the audit log after which an export breaks; there are three."""
    calls: list[tuple[str, Message]] = field(default_factory=list)
    tenants_named: list[str] = field(default_factory=list)

    def requests(self, method: str) -> list[Message]:
        return [request for name, request in self.calls if name == method]

    def task(self, *, ended: bool = True) -> tasks_pb2.Task:
        state = self.end_state if ended else tasks_pb2.TASK_STATE_RUNNING
        made = tasks_pb2.Task(
            name=TASK,
            instruction="How?",
            source="sources/shop",
            kinds=[tasks_pb2.TASK_KIND_ANSWER],
            state=state,
            steps=self.steps,
            trace_id=TRACE,
            create_time=at(0),
            priority=tasks_pb2.TASK_PRIORITY_HIGH,
            queue_place=self.queue_place,
            expire_time=self.expire_time,
        )
        if ended:
            made.end_time.CopyFrom(at(2))
        return made

    def events(self) -> list[tasks_pb2.TaskEvent]:
        def event(
            number: int, kind: str, state: tasks_pb2.TaskState.ValueType, changed: tasks_pb2.Step | None = None
        ) -> tasks_pb2.TaskEvent:
            return tasks_pb2.TaskEvent(
                task=TASK,
                sequence=number,
                time=at(number / 10),
                type=kind,
                trace_id=TRACE,
                task_state=state,
                step=changed,
            )

        running = tasks_pb2.TASK_STATE_RUNNING
        changed = [event(number, "step.succeeded", running, one) for number, one in enumerate(self.steps, start=2)]
        last = event(len(changed) + 2, "task.ended", self.end_state)
        return [event(1, "task.started", running), *changed, last]


EVENTS_OF_A_PAGE = 2


LIMITS = [
    usage_pb2.Limit(name="sources", description="sources", value=500, operator_value=500),
    usage_pb2.Limit(name="tokens_per_day", description="tokens", value=900, tenant_value=900, used=100),
    usage_pb2.Limit(name="tokens_per_month", description="tokens", used=100),
]


class Servicer(
    tasks_pb2_grpc.TaskServiceServicer,
    sources_pb2_grpc.SourceServiceServicer,
    answers_pb2_grpc.AnswerServiceServicer,
    faqs_pb2_grpc.FaqServiceServicer,
    documents_pb2_grpc.DocumentServiceServicer,
    changes_pb2_grpc.ChangeServiceServicer,
    schedules_pb2_grpc.ScheduleServiceServicer,
    subscriptions_pb2_grpc.SubscriptionServiceServicer,
    tenants_pb2_grpc.TenantServiceServicer,
    keys_pb2_grpc.ApiKeyServiceServicer,
    members_pb2_grpc.MemberServiceServicer,
    audit_pb2_grpc.AuditServiceServicer,
    usage_pb2_grpc.UsageServiceServicer,
    models_pb2_grpc.ModelEndpointServiceServicer,
    dead_letters_pb2_grpc.DeadLetterServiceServicer,
    policies_pb2_grpc.PolicyServiceServicer,
):
    def __init__(self, script: Script) -> None:
        self.script = script

    async def _begin(self, method: str, request: Message, context: Context, key: str = KEY) -> None:
        self.script.calls.append((method, request))
        self.script.tenants_named.append(str(dict(context.invocation_metadata() or ()).get("morningai-tenant", "")))
        header = dict(context.invocation_metadata() or ()).get("authorization")
        if header != f"Bearer {key}":
            await abort(context, Unauthenticated("The API key is not valid.", remedy="Send one."))
        if self.script.failures[method]:
            await abort(context, self.script.failures[method].pop(0))

    async def CreateTask(self, request: tasks_pb2.CreateTaskRequest, context: Context) -> tasks_pb2.Task:
        await self._begin("CreateTask", request, context)
        self.script.tasks_created.append(request)
        return self.script.task(ended=False)

    async def GetTask(self, request: tasks_pb2.GetTaskRequest, context: Context) -> tasks_pb2.Task:
        await self._begin("GetTask", request, context)
        if request.name != TASK:
            await abort(context, NotFound("task", request.name))
        return self.script.task()

    async def ListTasks(self, request: tasks_pb2.ListTasksRequest, context: Context) -> tasks_pb2.ListTasksResponse:
        await self._begin("ListTasks", request, context)
        return tasks_pb2.ListTasksResponse(tasks=[self.script.task()], next_page_token="more")

    async def WatchTask(
        self, request: tasks_pb2.WatchTaskRequest, context: Context
    ) -> AsyncIterator[tasks_pb2.TaskEvent]:
        await self._begin("WatchTask", request, context)
        left = self.script.breaks_after.pop(0) if self.script.breaks_after else 1000
        for event in self.script.events()[request.after_sequence :]:
            if left == 0:
                await abort(context, Unavailable("The gateway stops."))
            left -= 1
            if self.script.endless and event.task_state == self.script.end_state:
                await asyncio.sleep(60)
            yield event
            if self.script.ticks and request.progress:
                yield tasks_pb2.TaskEvent(task=TASK, type="step.progressed", step=step("answer", "faqgen"))

    async def ListTaskEvents(
        self, request: tasks_pb2.ListTaskEventsRequest, context: Context
    ) -> tasks_pb2.ListTaskEventsResponse:
        await self._begin("ListTaskEvents", request, context)
        known = request.name == TASK or request.trace_id == TRACE
        events = self.script.events()[int(request.page_token or 0) :] if known else []
        more = str(int(request.page_token or 0) + EVENTS_OF_A_PAGE) if len(events) > EVENTS_OF_A_PAGE else ""
        return tasks_pb2.ListTaskEventsResponse(events=events[:EVENTS_OF_A_PAGE], next_page_token=more)

    async def CancelTask(self, request: tasks_pb2.CancelTaskRequest, context: Context) -> tasks_pb2.CancelTaskResponse:
        await self._begin("CancelTask", request, context)
        return tasks_pb2.CancelTaskResponse()

    async def CreateSource(self, request: sources_pb2.CreateSourceRequest, context: Context) -> sources_pb2.Source:
        await self._begin("CreateSource", request, context)
        return sources_pb2.Source(
            name=f"sources/{request.source_id}",
            kind=sources_pb2.SOURCE_KIND_REMOTE,
            remote_uri=request.source.remote_uri,
        )

    async def SetSourceCredential(
        self, request: sources_pb2.SetSourceCredentialRequest, context: Context
    ) -> sources_pb2.Source:
        await self._begin("SetSourceCredential", request, context)
        credential = sources_pb2.SourceCredential(username=request.username or "git", set_time=at(0))
        return sources_pb2.Source(name=request.name, credential=credential)

    async def ClearSourceCredential(
        self, request: sources_pb2.ClearSourceCredentialRequest, context: Context
    ) -> sources_pb2.Source:
        await self._begin("ClearSourceCredential", request, context)
        return sources_pb2.Source(name=request.name)

    async def ListApprovals(
        self, request: approvals_pb2.ListApprovalsRequest, context: Context
    ) -> approvals_pb2.ListApprovalsResponse:
        await self._begin("ListApprovals", request, context)
        return approvals_pb2.ListApprovalsResponse(approvals=[approval()])

    async def GetApproval(self, request: approvals_pb2.GetApprovalRequest, context: Context) -> approvals_pb2.Approval:
        await self._begin("GetApproval", request, context)
        return approval()

    async def ApproveTask(self, request: approvals_pb2.ApproveTaskRequest, context: Context) -> approvals_pb2.Approval:
        await self._begin("ApproveTask", request, context)
        return approval()

    async def RejectTask(self, request: approvals_pb2.RejectTaskRequest, context: Context) -> approvals_pb2.Approval:
        await self._begin("RejectTask", request, context)
        return approval()

    async def DelegateApproval(
        self, request: approvals_pb2.DelegateApprovalRequest, context: Context
    ) -> approvals_pb2.Approval:
        await self._begin("DelegateApproval", request, context)
        return approval(assignee=request.assignee)

    async def GetDocumentDiff(
        self, request: documents_pb2.GetDocumentDiffRequest, context: Context
    ) -> documents_pb2.GetDocumentDiffResponse:
        await self._begin("GetDocumentDiff", request, context)
        return documents_pb2.GetDocumentDiffResponse(version=2, diff="--- a\n+++ b\n-old\n+new\n")

    async def GetApprovalPolicy(
        self, request: policies_pb2.GetApprovalPolicyRequest, context: Context
    ) -> policies_pb2.ApprovalPolicy:
        await self._begin("GetApprovalPolicy", request, context)
        return policies_pb2.ApprovalPolicy(tokens_per_task=200_000, lifetime=Duration(seconds=7 * 86_400))

    async def SetApprovalPolicy(
        self, request: policies_pb2.SetApprovalPolicyRequest, context: Context
    ) -> policies_pb2.ApprovalPolicy:
        await self._begin("SetApprovalPolicy", request, context)
        return request.approval_policy

    async def SetModelEndpoint(
        self, request: models_pb2.SetModelEndpointRequest, context: Context
    ) -> models_pb2.ModelEndpoint:
        await self._begin("SetModelEndpoint", request, context)
        return model_endpoint(request.model_endpoint)

    async def ListModelEndpoints(
        self, request: models_pb2.ListModelEndpointsRequest, context: Context
    ) -> models_pb2.ListModelEndpointsResponse:
        await self._begin("ListModelEndpoints", request, context)
        given = models_pb2.ModelEndpoint(
            name="modelEndpoints/change", base_url="https://llm.example.org/v1", model="qwen"
        )
        return models_pb2.ListModelEndpointsResponse(model_endpoints=[model_endpoint(given)])

    async def ClearModelEndpoint(
        self, request: models_pb2.ClearModelEndpointRequest, context: Context
    ) -> models_pb2.ClearModelEndpointResponse:
        await self._begin("ClearModelEndpoint", request, context)
        return models_pb2.ClearModelEndpointResponse()

    async def UploadSource(
        self, requests: AsyncIterator[sources_pb2.UploadSourceRequest], context: Context
    ) -> sources_pb2.Source:
        parts = [part async for part in requests]
        await self._begin("UploadSource", parts[0], context)
        self.script.uploads.append(parts)
        given = parts[0].source
        return sources_pb2.Source(
            name=f"sources/{given.source_id}",
            kind=sources_pb2.SOURCE_KIND_UPLOAD,
            repository=given.source.repository,
            commit=given.source.commit,
        )

    async def ListSources(
        self, request: sources_pb2.ListSourcesRequest, context: Context
    ) -> sources_pb2.ListSourcesResponse:
        await self._begin("ListSources", request, context)
        return sources_pb2.ListSourcesResponse(sources=self.script.sources)

    async def GetSource(self, request: sources_pb2.GetSourceRequest, context: Context) -> sources_pb2.Source:
        await self._begin("GetSource", request, context)
        return self.script.sources[0]

    async def GetAnswer(self, request: answers_pb2.GetAnswerRequest, context: Context) -> answers_pb2.Answer:
        await self._begin("GetAnswer", request, context)
        return self.script.answer

    async def GetFaq(self, request: faqs_pb2.GetFaqRequest, context: Context) -> faqs_pb2.Faq:
        await self._begin("GetFaq", request, context)
        return faq()

    async def GetDocument(self, request: documents_pb2.GetDocumentRequest, context: Context) -> documents_pb2.Document:
        await self._begin("GetDocument", request, context)
        return document()

    async def ListDocuments(
        self, request: documents_pb2.ListDocumentsRequest, context: Context
    ) -> documents_pb2.ListDocumentsResponse:
        await self._begin("ListDocuments", request, context)
        return documents_pb2.ListDocumentsResponse(documents=[document()])

    async def GetChange(self, request: changes_pb2.GetChangeRequest, context: Context) -> changes_pb2.Change:
        await self._begin("GetChange", request, context)
        return change()

    async def CreateSchedule(
        self, request: schedules_pb2.CreateScheduleRequest, context: Context
    ) -> schedules_pb2.Schedule:
        await self._begin("CreateSchedule", request, context)
        return schedule()

    async def GetSchedule(self, request: schedules_pb2.GetScheduleRequest, context: Context) -> schedules_pb2.Schedule:
        await self._begin("GetSchedule", request, context)
        return self.script.schedule

    async def ListSchedules(
        self, request: schedules_pb2.ListSchedulesRequest, context: Context
    ) -> schedules_pb2.ListSchedulesResponse:
        await self._begin("ListSchedules", request, context)
        return schedules_pb2.ListSchedulesResponse(schedules=[schedule()])

    async def PauseSchedule(
        self, request: schedules_pb2.PauseScheduleRequest, context: Context
    ) -> schedules_pb2.Schedule:
        await self._begin("PauseSchedule", request, context)
        return schedule(state=schedules_pb2.SCHEDULE_STATE_PAUSED)

    async def ResumeSchedule(
        self, request: schedules_pb2.ResumeScheduleRequest, context: Context
    ) -> schedules_pb2.Schedule:
        await self._begin("ResumeSchedule", request, context)
        return schedule()

    async def DeleteSchedule(
        self, request: schedules_pb2.DeleteScheduleRequest, context: Context
    ) -> schedules_pb2.DeleteScheduleResponse:
        await self._begin("DeleteSchedule", request, context)
        return schedules_pb2.DeleteScheduleResponse()

    async def WatchEvents(
        self, request: subscriptions_pb2.WatchEventsRequest, context: Context
    ) -> AsyncIterator[subscriptions_pb2.WatchEventsResponse]:
        """The events of the task under tokens t1 to t4; then nothing further happens."""
        await self._begin("WatchEvents", request, context)
        left = self.script.breaks_after.pop(0) if self.script.breaks_after else 1000
        events = self.script.events()
        for event in events[int(request.after_token[1:] or 0) :]:
            if left == 0:
                await abort(context, Unavailable("The gateway stops."))
            left -= 1
            content = subscriptions_pb2.Event(id=f"e{event.sequence}", type="task.step_changed", task_event=event)
            yield subscriptions_pb2.WatchEventsResponse(token=f"t{event.sequence}", event=content)
        if request.task:
            return
        yield subscriptions_pb2.WatchEventsResponse(token=f"t{len(events)}")
        if self.script.endless:
            await asyncio.sleep(60)

    async def CreateWebhookEndpoint(
        self, request: subscriptions_pb2.CreateWebhookEndpointRequest, context: Context
    ) -> subscriptions_pb2.CreateWebhookEndpointResponse:
        await self._begin("CreateWebhookEndpoint", request, context)
        return subscriptions_pb2.CreateWebhookEndpointResponse(webhook_endpoint=webhook(), secret="whsec_c2VjcmV0")

    async def ListWebhookEndpoints(
        self, request: subscriptions_pb2.ListWebhookEndpointsRequest, context: Context
    ) -> subscriptions_pb2.ListWebhookEndpointsResponse:
        await self._begin("ListWebhookEndpoints", request, context)
        return subscriptions_pb2.ListWebhookEndpointsResponse(webhook_endpoints=[webhook()])

    async def GetWebhookEndpoint(
        self, request: subscriptions_pb2.GetWebhookEndpointRequest, context: Context
    ) -> subscriptions_pb2.WebhookEndpoint:
        await self._begin("GetWebhookEndpoint", request, context)
        disabled = subscriptions_pb2.WEBHOOK_ENDPOINT_STATE_DISABLED
        return webhook(state=disabled, disabled_reason="The endpoint answered 410 Gone.")

    async def UpdateWebhookEndpoint(
        self, request: subscriptions_pb2.UpdateWebhookEndpointRequest, context: Context
    ) -> subscriptions_pb2.WebhookEndpoint:
        await self._begin("UpdateWebhookEndpoint", request, context)
        return webhook()

    async def DeleteWebhookEndpoint(
        self, request: subscriptions_pb2.DeleteWebhookEndpointRequest, context: Context
    ) -> subscriptions_pb2.DeleteWebhookEndpointResponse:
        await self._begin("DeleteWebhookEndpoint", request, context)
        return subscriptions_pb2.DeleteWebhookEndpointResponse()

    async def RotateWebhookSecret(
        self, request: subscriptions_pb2.RotateWebhookSecretRequest, context: Context
    ) -> subscriptions_pb2.RotateWebhookSecretResponse:
        await self._begin("RotateWebhookSecret", request, context)
        return subscriptions_pb2.RotateWebhookSecretResponse(webhook_endpoint=webhook(), secret="whsec_bmV3")

    async def PingWebhookEndpoint(
        self, request: subscriptions_pb2.PingWebhookEndpointRequest, context: Context
    ) -> subscriptions_pb2.WebhookDelivery:
        await self._begin("PingWebhookEndpoint", request, context)
        return delivery()

    async def ListWebhookDeliveries(
        self, request: subscriptions_pb2.ListWebhookDeliveriesRequest, context: Context
    ) -> subscriptions_pb2.ListWebhookDeliveriesResponse:
        await self._begin("ListWebhookDeliveries", request, context)
        return subscriptions_pb2.ListWebhookDeliveriesResponse(webhook_deliveries=[delivery()])

    async def RedeliverWebhook(
        self, request: subscriptions_pb2.RedeliverWebhookRequest, context: Context
    ) -> subscriptions_pb2.WebhookDelivery:
        await self._begin("RedeliverWebhook", request, context)
        return delivery()

    async def CreateTenant(
        self, request: tenants_pb2.CreateTenantRequest, context: Context
    ) -> tenants_pb2.CreateTenantResponse:
        await self._begin("CreateTenant", request, context, key=OPERATOR_KEY)
        tenant = tenants_pb2.Tenant(name="tenants/1", slug=request.tenant.slug)
        return tenants_pb2.CreateTenantResponse(tenant=tenant, api_key=KEY)

    async def GetTenant(self, request: tenants_pb2.GetTenantRequest, context: Context) -> tenants_pb2.Tenant:
        await self._begin("GetTenant", request, context)
        return tenants_pb2.Tenant(name="tenants/1", slug="acme")

    async def GetUsage(self, request: usage_pb2.GetUsageRequest, context: Context) -> usage_pb2.GetUsageResponse:
        await self._begin("GetUsage", request, context)
        row = usage_pb2.UsageRow(
            key="2026-11-02", calls=3, calls_in_full=1, prompt_tokens=1234, completion_tokens=56, money_micros=1_230_000
        )
        total = usage_pb2.UsageRow(key="total", calls=7, prompt_tokens=2000, completion_tokens=90, money_micros=5)
        return usage_pb2.GetUsageResponse(rows=[row], total=total)

    async def ListLimits(self, request: usage_pb2.ListLimitsRequest, context: Context) -> usage_pb2.ListLimitsResponse:
        await self._begin("ListLimits", request, context)
        return usage_pb2.ListLimitsResponse(limits=LIMITS)

    async def UpdateTenant(self, request: tenants_pb2.UpdateTenantRequest, context: Context) -> tenants_pb2.Tenant:
        await self._begin("UpdateTenant", request, context)
        return tenants_pb2.Tenant(name="tenants/1", slug="acme", display_name=request.tenant.display_name)

    async def UpdateLimits(
        self, request: usage_pb2.UpdateLimitsRequest, context: Context
    ) -> usage_pb2.UpdateLimitsResponse:
        await self._begin("UpdateLimits", request, context)
        return usage_pb2.UpdateLimitsResponse(limits=LIMITS)

    async def UpdateTenantLimits(
        self, request: usage_pb2.UpdateTenantLimitsRequest, context: Context
    ) -> usage_pb2.UpdateTenantLimitsResponse:
        await self._begin("UpdateTenantLimits", request, context, key=OPERATOR_KEY)
        return usage_pb2.UpdateTenantLimitsResponse(limits=LIMITS)

    async def UpdateModelPrice(
        self, request: usage_pb2.UpdateModelPriceRequest, context: Context
    ) -> usage_pb2.ModelPrice:
        await self._begin("UpdateModelPrice", request, context, key=OPERATOR_KEY)
        return request.price

    async def ListTenants(
        self, request: tenants_pb2.ListTenantsRequest, context: Context
    ) -> tenants_pb2.ListTenantsResponse:
        await self._begin("ListTenants", request, context, key=OPERATOR_KEY)
        acme = tenants_pb2.Tenant(name="tenants/1", slug="acme", state=tenants_pb2.TENANT_STATE_ACTIVE)
        return tenants_pb2.ListTenantsResponse(tenants=[acme])

    async def SuspendTenant(self, request: tenants_pb2.SuspendTenantRequest, context: Context) -> tenants_pb2.Tenant:
        await self._begin("SuspendTenant", request, context, key=OPERATOR_KEY)
        return tenants_pb2.Tenant(name=request.name, slug="acme", state=tenants_pb2.TENANT_STATE_SUSPENDED)

    async def ResumeTenant(self, request: tenants_pb2.ResumeTenantRequest, context: Context) -> tenants_pb2.Tenant:
        await self._begin("ResumeTenant", request, context, key=OPERATOR_KEY)
        return tenants_pb2.Tenant(name=request.name, slug="acme", state=tenants_pb2.TENANT_STATE_ACTIVE)

    async def CreateApiKey(
        self, request: keys_pb2.CreateApiKeyRequest, context: Context
    ) -> keys_pb2.CreateApiKeyResponse:
        await self._begin("CreateApiKey", request, context)
        return keys_pb2.CreateApiKeyResponse(api_key=api_key(request.api_key.display_name), key="mk_2.new-secret")

    async def ListApiKeys(self, request: keys_pb2.ListApiKeysRequest, context: Context) -> keys_pb2.ListApiKeysResponse:
        await self._begin("ListApiKeys", request, context)
        return keys_pb2.ListApiKeysResponse(api_keys=[api_key("CI"), api_key("old", revoked=True)])

    async def RotateApiKey(
        self, request: keys_pb2.RotateApiKeyRequest, context: Context
    ) -> keys_pb2.RotateApiKeyResponse:
        await self._begin("RotateApiKey", request, context)
        key = api_key("CI")
        key.previous_secret_expire_time.CopyFrom(at(3600))
        return keys_pb2.RotateApiKeyResponse(api_key=key, key="mk_2.newer-secret")

    async def RevokeApiKey(self, request: keys_pb2.RevokeApiKeyRequest, context: Context) -> keys_pb2.ApiKey:
        await self._begin("RevokeApiKey", request, context)
        return api_key("CI", revoked=True)

    async def ListMembers(
        self, request: members_pb2.ListMembersRequest, context: Context
    ) -> members_pb2.ListMembersResponse:
        await self._begin("ListMembers", request, context)
        return members_pb2.ListMembersResponse(members=[member(members_pb2.MEMBER_ROLE_OWNER)])

    async def InviteMember(
        self, request: members_pb2.InviteMemberRequest, context: Context
    ) -> members_pb2.InviteMemberResponse:
        await self._begin("InviteMember", request, context)
        return members_pb2.InviteMemberResponse(invitation=request.invitation, token="mi_1.secret")

    async def ListInvitations(
        self, request: members_pb2.ListInvitationsRequest, context: Context
    ) -> members_pb2.ListInvitationsResponse:
        await self._begin("ListInvitations", request, context)
        expired, accepted = invitation(3), invitation(4)
        expired.expire_time.CopyFrom(at(-86400 * 365))
        accepted.accept_time.CopyFrom(at(2))
        found = [invitation(1), invitation(2, revoked=True), expired, accepted]
        return members_pb2.ListInvitationsResponse(invitations=found)

    async def RevokeInvitation(
        self, request: members_pb2.RevokeInvitationRequest, context: Context
    ) -> members_pb2.Invitation:
        await self._begin("RevokeInvitation", request, context)
        return invitation(1, revoked=True)

    async def AcceptInvitation(
        self, request: members_pb2.AcceptInvitationRequest, context: Context
    ) -> members_pb2.AcceptInvitationResponse:
        await self._begin("AcceptInvitation", request, context)
        return members_pb2.AcceptInvitationResponse(
            tenant_slug="acme", member="members/1", role=members_pb2.MEMBER_ROLE_MEMBER
        )

    async def UpdateMember(self, request: members_pb2.UpdateMemberRequest, context: Context) -> members_pb2.Member:
        await self._begin("UpdateMember", request, context)
        return member(request.member.role)

    async def RemoveMember(
        self, request: members_pb2.RemoveMemberRequest, context: Context
    ) -> members_pb2.RemoveMemberResponse:
        await self._begin("RemoveMember", request, context)
        return members_pb2.RemoveMemberResponse()

    async def ListAuditEntries(
        self, request: audit_pb2.ListAuditEntriesRequest, context: Context
    ) -> audit_pb2.ListAuditEntriesResponse:
        await self._begin("ListAuditEntries", request, context)
        return audit_pb2.ListAuditEntriesResponse(entries=[audit_entry(1)])

    async def ListOperatorEntries(
        self, request: audit_pb2.ListOperatorEntriesRequest, context: Context
    ) -> audit_pb2.ListOperatorEntriesResponse:
        await self._begin("ListOperatorEntries", request, context, key=OPERATOR_KEY)
        entry = audit_entry(1)
        entry.action, entry.resource, entry.principal = "prices.set", "models/small", "operator:op_1"
        return audit_pb2.ListOperatorEntriesResponse(entries=[entry])

    async def ExportAuditEntries(
        self, request: audit_pb2.ExportAuditEntriesRequest, context: Context
    ) -> AsyncIterator[audit_pb2.ExportAuditEntriesResponse]:
        await self._begin("ExportAuditEntries", request, context)
        for number in range(1, 4):
            if number > self.script.entries_exported:
                await abort(context, Unavailable("The gateway stops."))
            yield audit_pb2.ExportAuditEntriesResponse(entry=audit_entry(number))

    async def ListDeadLetters(
        self, request: dead_letters_pb2.ListDeadLettersRequest, context: Context
    ) -> dead_letters_pb2.ListDeadLettersResponse:
        await self._begin("ListDeadLetters", request, context)
        return dead_letters_pb2.ListDeadLettersResponse(dead_letters=[dead_letter()])

    async def GetDeadLetter(
        self, request: dead_letters_pb2.GetDeadLetterRequest, context: Context
    ) -> dead_letters_pb2.DeadLetter:
        await self._begin("GetDeadLetter", request, context)
        return dead_letter(headers={"ce-source": "/services/docs"}, content='{\n  "snapshot": "s"\n}')

    async def ReplayDeadLetter(
        self, request: dead_letters_pb2.ReplayDeadLetterRequest, context: Context
    ) -> dead_letters_pb2.DeadLetter:
        await self._begin("ReplayDeadLetter", request, context)
        return dead_letter(state=dead_letters_pb2.DEAD_LETTER_STATE_REPLAYED)

    async def DropDeadLetter(
        self, request: dead_letters_pb2.DropDeadLetterRequest, context: Context
    ) -> dead_letters_pb2.DeadLetter:
        await self._begin("DropDeadLetter", request, context)
        dropped = dead_letters_pb2.DEAD_LETTER_STATE_DROPPED
        return dead_letter(state=dropped, decider="key:mk_1", why=request.why, decide_time=at(9))

    async def ListAllDeadLetters(
        self, request: dead_letters_pb2.ListAllDeadLettersRequest, context: Context
    ) -> dead_letters_pb2.ListAllDeadLettersResponse:
        await self._begin("ListAllDeadLetters", request, context, key=OPERATOR_KEY)
        return dead_letters_pb2.ListAllDeadLettersResponse(
            dead_letters=[dead_letter(), dead_letter(tenant="tenants/1")]
        )

    async def DropQuarantinedDeadLetter(
        self, request: dead_letters_pb2.DropQuarantinedDeadLetterRequest, context: Context
    ) -> dead_letters_pb2.DropQuarantinedDeadLetterResponse:
        await self._begin("DropQuarantinedDeadLetter", request, context, key=OPERATOR_KEY)
        return dead_letters_pb2.DropQuarantinedDeadLetterResponse()


SERVICES = (
    tasks_pb2_grpc.add_TaskServiceServicer_to_server,
    sources_pb2_grpc.add_SourceServiceServicer_to_server,
    answers_pb2_grpc.add_AnswerServiceServicer_to_server,
    faqs_pb2_grpc.add_FaqServiceServicer_to_server,
    documents_pb2_grpc.add_DocumentServiceServicer_to_server,
    changes_pb2_grpc.add_ChangeServiceServicer_to_server,
    schedules_pb2_grpc.add_ScheduleServiceServicer_to_server,
    subscriptions_pb2_grpc.add_SubscriptionServiceServicer_to_server,
    tenants_pb2_grpc.add_TenantServiceServicer_to_server,
    keys_pb2_grpc.add_ApiKeyServiceServicer_to_server,
    members_pb2_grpc.add_MemberServiceServicer_to_server,
    audit_pb2_grpc.add_AuditServiceServicer_to_server,
    usage_pb2_grpc.add_UsageServiceServicer_to_server,
    models_pb2_grpc.add_ModelEndpointServiceServicer_to_server,
    dead_letters_pb2_grpc.add_DeadLetterServiceServicer_to_server,
    policies_pb2_grpc.add_PolicyServiceServicer_to_server,
)


@contextmanager
def serving(script: Script) -> Iterator[str]:
    """The address; the server runs on a loop and a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server, port = asyncio.run_coroutine_threadsafe(_start(script), loop).result(10)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _start(script: Script) -> tuple[grpc.aio.Server, int]:
    server = grpc.aio.server()
    for add in SERVICES:
        add(Servicer(script), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port

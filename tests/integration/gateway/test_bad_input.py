"""Bad input, a row per case: the code, the field (or the resource), the remedy, and nothing half-written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID, uuid4

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from morningai.api.documents.v1 import documents_pb2 as documents
from morningai.api.sources.v1 import sources_pb2 as sources
from morningai.api.subscriptions.v1 import subscriptions_pb2 as hooks
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.api.tenants.v1 import audit_pb2 as audit
from morningai.api.tenants.v1 import keys_pb2 as keys
from morningai.api.tenants.v1 import members_pb2 as members
from morningai.api.tenants.v1 import tenants_pb2 as tenants
from morningai.api.tenants.v1 import usage_pb2 as usage
from morningai.rpc.pages import write_token
from morningai.rpc.status import remedy_of
from tests.integration.gateway.platform import Client, field_of, upload

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
UNAUTHENTICATED, DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
ANSWER = [api.TASK_KIND_ANSWER]


@dataclass(frozen=True)
class Case:
    name: str
    call: Callable[[Client], Awaitable[object]]
    code: grpc.StatusCode
    field: str
    remedy: str
    caller: str = "tenant"


def create_task(instruction="what is it?", source="sources/small", kinds=ANSWER, request_id=None, **fields):
    identity = str(uuid4()) if request_id is None else request_id
    task = api.Task(instruction=instruction, source=source, kinds=kinds, **fields)
    return lambda client: client.tasks.CreateTask(api.CreateTaskRequest(task=task, request_id=identity))


def list_tasks(**fields):
    return lambda client: client.tasks.ListTasks(api.ListTasksRequest(**fields))


def get_task(name):
    return lambda client: client.tasks.GetTask(api.GetTaskRequest(name=name))


def list_events(**fields):
    return lambda client: client.tasks.ListTaskEvents(api.ListTaskEventsRequest(**fields))


def list_sources(**fields):
    return lambda client: client.sources.ListSources(sources.ListSourcesRequest(**fields))


def get_source(name):
    return lambda client: client.sources.GetSource(sources.GetSourceRequest(name=name))


def list_documents(**fields):
    return lambda client: client.documents.ListDocuments(documents.ListDocumentsRequest(**fields))


def token_of_events(trace_id, sequence):
    return write_token(f"events of {trace_id}", "2026-01-01T00:00:00+00:00", UUID(int=1), sequence)


def sent(method, *requests):
    """`method` without its package, which is named after the service."""
    package = f"morningai.api.{method.partition('Service')[0].lower()}s.v1"
    return lambda client: client.send(f"/{package}.{method}", *requests)


def watch_task(**fields):
    async def call(client):
        return [event async for event in client.tasks.WatchTask(api.WatchTaskRequest(**fields), timeout=5)]

    return call


def create_tenant(slug="new-tenant", display_name=""):
    tenant = tenants.Tenant(slug=slug, display_name=display_name)
    return lambda client: client.tenants.CreateTenant(tenants.CreateTenantRequest(tenant=tenant))


def update_tenant(name="tenants/-", display_name=""):
    tenant = tenants.Tenant(name=name, display_name=display_name)
    return lambda client: client.tenants.UpdateTenant(tenants.UpdateTenantRequest(tenant=tenant))


def on_tenant(method, name):
    return lambda client: getattr(client.tenants, method)(getattr(tenants, f"{method}Request")(name=name))


def list_tenants(**fields):
    return lambda client: client.tenants.ListTenants(tenants.ListTenantsRequest(**fields))


def create_source(remote_uri, source_id="other"):
    source = sources.Source(remote_uri=remote_uri)
    return lambda client: client.sources.CreateSource(sources.CreateSourceRequest(source=source, source_id=source_id))


def upload_bundle(content, source_id="other"):
    return lambda client: upload(client, content, source_id=source_id)


def get_usage(**fields):
    return lambda client: client.usage.GetUsage(usage.GetUsageRequest(**fields))


def update_limits(*changes):
    request = usage.UpdateLimitsRequest(changes=[usage.LimitChange(name=name, value=value) for name, value in changes])
    return lambda client: client.usage.UpdateLimits(request)


def update_tenant_limits(tenant, name="sources", value=1):
    change = usage.LimitChange(name=name, value=value)
    request = usage.UpdateTenantLimitsRequest(tenant=tenant, changes=[change])
    return lambda client: client.usage.UpdateTenantLimits(request)


def update_price(**price):
    request = usage.UpdateModelPriceRequest(price=usage.ModelPrice(**price))
    return lambda client: client.usage.UpdateModelPrice(request)


def upload_as(repository):
    source = sources.Source(repository=repository)
    request = sources.UploadSourceRequest(source=sources.CreateSourceRequest(source_id="other", source=source))
    return lambda client: client.sources.UploadSource(iter([request]))


INSTRUCTION = "Say what you want to know or to change."
SOURCE = "Use a name that `source list` shows."
REQUEST_ID = "Send a new UUID with each new request."
KINDS = "Ask for at least one of answer, faq, document, change."
TASK = "`task list` shows the tasks of your tenant."
PAGE = "Leave it empty for the first page."
SLUG = "Use 3 to 40 of a-z, 0-9 and '-', starting with a letter."
KEY = "Send the metadata 'authorization: Bearer <key>' with a key of your tenant."
TTL = "Give a time in that range, or none for a task that may take any time."
TRACE = "Give 32 hexadecimal digits, or the name of a task."
NUL = "Remove it."
UTF_8 = "Send text in UTF-8, without surrogates."
PROTO = "Encode it with the published proto files."
TOKEN_OF_TASKS = write_token("tasks", "2026-01-01T00:00:00+00:00", UUID(int=1))
UNKNOWN_TASK = f"tasks/{uuid4()}"

TASK_CASES = [
    Case("an empty instruction", create_task(""), INVALID, "task.instruction", INSTRUCTION),
    Case("a blank instruction", create_task(" \n\t "), INVALID, "task.instruction", INSTRUCTION),
    Case(
        "an over-long instruction",
        create_task("x" * 4001),
        INVALID,
        "task.instruction",
        "Say it in at most 4000 characters.",
    ),
    Case("an instruction with a NUL", create_task("a\x00b"), INVALID, "task.instruction", NUL),
    Case("no source", create_task(source=""), INVALID, "task.source", SOURCE),
    Case("a source without its prefix", create_task(source="small"), INVALID, "task.source", SOURCE),
    Case("a path as a source", create_task(source="/etc/passwd"), INVALID, "task.source", SOURCE),
    Case("a source that climbs", create_task(source="sources/../x"), INVALID, "task.source", SOURCE),
    Case("a source with a line break", create_task(source="sources/small\n"), INVALID, "task.source", SOURCE),
    Case(
        "a missing source",
        create_task(source="sources/missing"),
        NOT_FOUND,
        "task.source",
        "Add it with `morningai source add`.",
    ),
    Case("no kind", create_task(kinds=[]), INVALID, "task.kinds", KINDS),
    Case("a kind twice", create_task(kinds=ANSWER * 2), INVALID, "task.kinds", "Name each kind once."),
    Case("an unspecified kind", create_task(kinds=[0]), INVALID, "task.kinds", "Use answer, faq, document or change."),
    Case("an unknown priority", create_task(priority=9), INVALID, "task.priority", "Use low, normal or high."),
    Case("no time to live", create_task(ttl=Duration()), INVALID, "task.ttl", TTL),
    Case("a time to live below zero", create_task(ttl=Duration(seconds=-1)), INVALID, "task.ttl", TTL),
    Case("29 days to live", create_task(ttl=Duration(seconds=29 * 86400)), INVALID, "task.ttl", TTL),
    Case(
        "a time to live that is none",
        create_task(ttl=Duration(seconds=2**62)),
        INVALID,
        "task.ttl",
        "Use seconds, e.g. 3600s.",
    ),
    Case("an unknown kind", create_task(kinds=[99]), INVALID, "task.kinds", "Use answer, faq, document or change."),
    Case("no request id", create_task(request_id=""), INVALID, "request_id", REQUEST_ID),
    Case("a request id that is no UUID", create_task(request_id="1"), INVALID, "request_id", REQUEST_ID),
    Case("no task", lambda client: client.tasks.CreateTask(api.CreateTaskRequest()), INVALID, "request_id", REQUEST_ID),
    Case("an unknown task", get_task(UNKNOWN_TASK), NOT_FOUND, "task", TASK),
    Case("a task name that is none", get_task("tasks/1"), NOT_FOUND, "task", TASK),
    Case("an empty task name", get_task(""), NOT_FOUND, "task", TASK),
    Case("events of an unknown task", list_events(name=UNKNOWN_TASK), NOT_FOUND, "task", TASK),
    Case("events of nothing", list_events(), INVALID, "trace_id", TRACE),
    Case("a trace that is none", list_events(trace_id="x"), INVALID, "trace_id", TRACE),
    Case("a trace with a NUL", list_events(trace_id="\x00" * 32), INVALID, "trace_id", NUL),
    Case("a watch of an unknown task", watch_task(name=UNKNOWN_TASK), NOT_FOUND, "task", TASK),
    Case(
        "a watch from before the beginning",
        watch_task(name=UNKNOWN_TASK, after_sequence=-1),
        INVALID,
        "after_sequence",
        "Use 0 for all events.",
    ),
    Case("a page token of nonsense", list_tasks(page_token="nonsense"), INVALID, "page_token", PAGE),
    Case("a page token of nothing", list_tasks(page_token="fA=="), INVALID, "page_token", PAGE),
    Case("a page token in no alphabet", list_tasks(page_token="ü"), INVALID, "page_token", PAGE),
    Case("a negative page", list_tasks(page_size=-1), INVALID, "page_size", "Use 1 to 500, or 0 for 50."),
    Case(
        "a page token of no time",
        list_tasks(page_token=write_token("tasks", "yesterday", UUID(int=1))),
        INVALID,
        "page_token",
        PAGE,
    ),
    Case(
        "a page token before all time",
        list_tasks(page_token=write_token("tasks", "0001-01-01T00:00:00+14:00", UUID(int=1))),
        INVALID,
        "page_token",
        PAGE,
    ),
    Case("a negative page of events", list_events(trace_id="a" * 32, page_size=-1), INVALID, "page_size", "Use 1 to"),
    Case(
        "a page token of tasks for events",
        list_events(trace_id="a" * 32, page_token=TOKEN_OF_TASKS),
        INVALID,
        "page_token",
        PAGE,
    ),
    Case(
        "a page token of another trace",
        list_events(trace_id="a" * 32, page_token=token_of_events("b" * 32, "1")),
        INVALID,
        "page_token",
        PAGE,
    ),
    Case(
        "a page token of no event",
        list_events(trace_id="a" * 32, page_token=token_of_events("a" * 32, "last")),
        INVALID,
        "page_token",
        PAGE,
    ),
    Case("a huge task name", get_task("x" * 3_000_000), NOT_FOUND, "task", TASK),
    Case("a huge trace", list_events(trace_id="a" * 3_000_000), INVALID, "trace_id", TRACE),
    Case("a huge page token", list_tasks(page_token="a" * 3_000_000), INVALID, "page_token", PAGE),
    Case("a surrogate", sent("TaskService/GetTask", b"\x0a\x03\xed\xa0\x80"), INVALID, "name", UTF_8),
    Case("bytes that are no request", sent("TaskService/GetTask", b"\xff"), INVALID, "request", PROTO),
    Case("a text that is cut off", sent("TaskService/GetTask", b"\x0a\x09tasks"), INVALID, "request", PROTO),
    Case("no request", sent("TaskService/GetTask"), INVALID, "request", "Send one GetTaskRequest."),
    Case("two requests", sent("TaskService/GetTask", b"", b""), INVALID, "request", "Send one GetTaskRequest."),
]
OWN_TENANT = "Ask for 'tenants/-', your own."
DISPLAY_NAME = "tenant.display_name"
TENANT_CASES = [
    Case("a long new name", update_tenant(display_name="x" * 101), INVALID, DISPLAY_NAME, "Use at most 100."),
    Case("a new name of two lines", update_tenant(display_name="a\nb"), INVALID, DISPLAY_NAME, "Remove it."),
    Case("a new name with a NUL", update_tenant(display_name="a\x00"), INVALID, DISPLAY_NAME, NUL),
    Case("a new name for nobody", update_tenant(""), NOT_FOUND, "tenant", OWN_TENANT),
    Case("a new name for another", update_tenant(f"tenants/{uuid4()}"), NOT_FOUND, "tenant", OWN_TENANT),
    Case("a new name by an operator", update_tenant(), DENIED, "", "Use a key that has it.", "operator"),
    Case("no slug", create_tenant(""), INVALID, "tenant.slug", SLUG, "operator"),
    Case("a short slug", create_tenant("ab"), INVALID, "tenant.slug", SLUG, "operator"),
    Case("a long slug", create_tenant("a" * 41), INVALID, "tenant.slug", SLUG, "operator"),
    Case("a slug in capitals", create_tenant("Acme"), INVALID, "tenant.slug", SLUG, "operator"),
    Case("a slug with a line break", create_tenant("acme\n"), INVALID, "tenant.slug", SLUG, "operator"),
    Case("a slug with a quote", create_tenant("a'; DROP"), INVALID, "tenant.slug", SLUG, "operator"),
    Case(
        "a long display name",
        create_tenant(display_name="x" * 101),
        INVALID,
        "tenant.display_name",
        "Use at most 100.",
        "operator",
    ),
    Case(
        "a display name with a NUL",
        create_tenant(display_name="a\x00"),
        INVALID,
        "tenant.display_name",
        NUL,
        "operator",
    ),
    Case("a tenant that creates one", create_tenant(), DENIED, "", "Use a key that has it."),
    Case(
        "an unknown tenant",
        lambda client: client.tenants.GetTenant(tenants.GetTenantRequest(name=f"tenants/{uuid4()}")),
        NOT_FOUND,
        "tenant",
        "Ask for 'tenants/-', your own.",
    ),
    Case(
        "a tenant name that is none",
        lambda client: client.tenants.GetTenant(tenants.GetTenantRequest(name="acme")),
        NOT_FOUND,
        "tenant",
        "Ask for 'tenants/-', your own.",
    ),
    Case("a tenant that lists tenants", lambda c: c.tenants.ListTenants(tenants.ListTenantsRequest()), DENIED, "", ""),
    Case("a tenant that suspends one", on_tenant("SuspendTenant", f"tenants/{uuid4()}"), DENIED, "", ""),
    Case("a tenant that resumes one", on_tenant("ResumeTenant", f"tenants/{uuid4()}"), DENIED, "", ""),
    Case("an unknown tenant to suspend", on_tenant("SuspendTenant", f"tenants/{uuid4()}"), NOT_FOUND, "tenant",
         "`tenant list`", "operator"),
    Case("an unknown tenant to resume", on_tenant("ResumeTenant", f"tenants/{uuid4()}"), NOT_FOUND, "tenant",
         "`tenant list`", "operator"),
    Case("a slug to suspend", on_tenant("SuspendTenant", "acme"), NOT_FOUND, "tenant", "`tenant list`", "operator"),
    Case("the tenant of operators", on_tenant("SuspendTenant", f"tenants/{UUID(int=0)}"), NOT_FOUND, "tenant",
         "`tenant list`", "operator"),
    Case("a negative page of tenants", list_tenants(page_size=-1), INVALID, "page_size", "Use 1 to 200", "operator"),
    Case("a page token of nonsense for tenants", list_tenants(page_token="x y"), INVALID, "page_token", PAGE,
         "operator"),
    Case("an unknown key", create_task(), UNAUTHENTICATED, "", KEY, "stranger"),
    Case("no key", create_task(), UNAUTHENTICATED, "", KEY, "nobody"),
]  # fmt: skip
DATE = "Write it as YYYY-MM-DD."
LISTED = "Use a name that is listed."
BUDGETS = "Set tokens_per_day, tokens_per_month, money_per_day or money_per_month."
TENANT = "Give 'tenants/' and the id that `tenant create` showed."
MODEL = "Use 1 to 200 characters."
LARGEST = "Use 1000000000000000 at most."
NOBODY = f"tenants/{uuid4()}"
USAGE_CASES = [
    Case("a date that is none", get_usage(start_date="2026-02-30"), INVALID, "start_date", DATE),
    Case("a date with a NUL", get_usage(end_date="2026-01-01\x00"), INVALID, "end_date", NUL),
    Case(
        "a period that ends before it starts",
        get_usage(start_date="2026-02-02", end_date="2026-02-01"),
        INVALID,
        "end_date",
        "Give a later one.",
    ),
    Case(
        "a period of ages",
        get_usage(start_date="0001-01-01", end_date="9999-12-31"),
        INVALID,
        "end_date",
        "Ask for 366 days at most.",
    ),
    Case("an unknown group", get_usage(group=99), INVALID, "group", "Use day, month, task or model."),
    Case("a limit that is no budget", update_limits(("sources", 1)), INVALID, "changes.name", BUDGETS),
    Case("a limit without a name", update_limits(("", 1)), INVALID, "changes.name", LISTED),
    Case("a limit with a NUL", update_limits(("tokens\x00", 1)), INVALID, "changes.name", NUL),
    Case("a negative budget", update_limits(("tokens_per_day", -1)), INVALID, "changes.value", "Use 0 or more"),
    Case("a good change before a bad one", update_limits(("tokens_per_day", 1), ("x", 1)), INVALID, "changes.name", ""),
    Case(
        "more changes than anybody needs",
        update_limits(*[("tokens_per_day", 1)] * 101),
        INVALID,
        "changes",
        "Send 100 at most.",
    ),
    Case("limits of no tenant", update_tenant_limits("acme"), NOT_FOUND, "tenant", TENANT, "operator"),
    Case("limits of nobody", update_tenant_limits(f"tenants/{uuid4()}"), NOT_FOUND, "tenant", TENANT, "operator"),
    Case("a budget beyond numbers", update_limits(("tokens_per_day", 2**63 - 1)), INVALID, "changes.value", LARGEST),
    Case("a burst beyond numbers", update_tenant_limits(NOBODY, "read_calls_burst", 2**63 - 1), INVALID,
         "changes.value", "Use 1000000000 at most.", "operator"),
    Case("a burst one too large", update_tenant_limits(NOBODY, "read_calls_burst", 10**9 + 1), INVALID,
         "changes.value", "Use 1000000000 at most.", "operator"),
    Case("storage beyond numbers", update_tenant_limits(NOBODY, "storage_bytes", 10**15 + 1), INVALID,
         "changes.value", LARGEST, "operator"),
    Case("a price beyond numbers", update_price(model="m", prompt_price=2**63 - 1), INVALID, "price.prompt_price",
         "Use 1000000000000 at most.", "operator"),
    Case("a price of no model", update_price(model=""), INVALID, "price.model", MODEL, "operator"),
    Case("a price of a long model", update_price(model="x" * 201), INVALID, "price.model", MODEL, "operator"),
    Case("a price of a NUL", update_price(model="a\x00"), INVALID, "price.model", NUL, "operator"),
    Case(
        "a negative price",
        update_price(model="m", completion_price=-1),
        INVALID,
        "price.completion_price",
        "Use 0 or more.",
        "operator",
    ),
]  # fmt: skip
GIT = "Send `git bundle create - HEAD` in pieces."
URI = "Use https://host/path or ssh://user@host/path."
SOURCE_ID = "Use 3 to 40 lower-case letters, digits and '-'."
ADD = "Add it with `morningai source add`."
SURROGATE = b"\x0a\x03\xed\xa0\x80"
SOURCE_CASES = [
    Case("an upload that is no repository", upload_bundle(b"no bundle"), INVALID, "bundle", ""),
    Case("an empty upload", upload_bundle(b""), INVALID, "bundle", GIT),
    Case("a source id that climbs", upload_bundle(b"x", "../other"), INVALID, "source_id", ""),
    Case("a file of this server", create_source("file:///etc"), INVALID, "remote_uri", URI),
    Case("a program as a transport", create_source("ext::sh -c id"), INVALID, "remote_uri", URI),
    Case("a transport without encryption", create_source("http://example.org/x"), INVALID, "remote_uri", URI),
    Case("an option as a remote", create_source("--upload-pack=id"), INVALID, "remote_uri", URI),
    Case("an internal address", create_source("https://127.0.0.1/x.git"), INVALID, "remote_uri", ""),
    Case("the cloud's metadata", create_source("https://169.254.169.254/x.git"), INVALID, "remote_uri", ""),
    Case(
        "an internal address in another notation",
        create_source("https://[::ffff:10.0.0.1]/x"),
        INVALID,
        "remote_uri",
        "",
    ),
    Case("an internal name", create_source("https://localhost/x.git"), INVALID, "remote_uri", ""),
    Case("no remote", create_source(""), INVALID, "remote_uri", URI),
    Case("a remote with a NUL", create_source("https://\x00"), INVALID, "source.remote_uri", NUL),
    Case("a source name with a NUL", get_source("sources/a\x00"), INVALID, "name", NUL),
    Case("a huge source name", get_source("x" * 3_000_000), NOT_FOUND, "source", ADD),
    Case("a source name that is none", get_source("sources/../x"), NOT_FOUND, "source", ADD),
    Case("an upload under a name with a NUL", upload_as("a\x00"), INVALID, "source.source.repository", NUL),
    Case("a surrogate behind the gateway", sent("SourceService/GetSource", SURROGATE), INVALID, "name", UTF_8),
    Case("no request behind the gateway", sent("SourceService/GetSource"), INVALID, "request", "Send one"),
    Case("an upload of no message", sent("SourceService/UploadSource"), INVALID, "source", "Send the source"),
    Case("an upload of a broken message", sent("SourceService/UploadSource", b"\xff"), INVALID, "request", PROTO),
    Case("a page token of sources with a NUL", list_sources(page_token="a\x00"), INVALID, "page_token", NUL),
    Case("a page token of tasks for sources", list_sources(page_token=TOKEN_OF_TASKS), INVALID, "page_token", PAGE),
    Case("a source's name as a page token", list_sources(page_token="small"), INVALID, "page_token", PAGE),
    Case("a negative page of sources", list_sources(page_size=-(2**31)), INVALID, "page_size", "Use 1 to 200"),
    Case(
        "a page token of sources for documents",
        list_documents(page_token=write_token("sources", UUID(int=1))),
        INVALID,
        "page_token",
        PAGE,
    ),
    Case("a document's name as a page token", list_documents(page_token=str(uuid4())), INVALID, "page_token", PAGE),
    Case("a negative page of documents", list_documents(page_size=-1), INVALID, "page_size", "Use 1 to 200"),
]


def create_key(display_name="CI", scopes=("tasks.read",), **fields):
    key = keys.ApiKey(display_name=display_name, scopes=scopes, **fields)
    return lambda client: client.keys.CreateApiKey(keys.CreateApiKeyRequest(api_key=key))


def list_keys(**fields):
    return lambda client: client.keys.ListApiKeys(keys.ListApiKeysRequest(**fields))


def on_key(method, name, **fields):
    request = getattr(keys, f"{method}Request")(name=name, **fields)
    return lambda client: getattr(client.keys, method)(request)


def list_entries(**fields):
    return lambda client: client.audit.ListAuditEntries(audit.ListAuditEntriesRequest(**fields))


def export_entries(**wanted):
    async def call(client):
        request = audit.ExportAuditEntriesRequest(filter=audit.AuditFilter(**wanted))
        return [entry async for entry in client.audit.ExportAuditEntries(request)]

    return call


SCOPES = "Use some of answers.read, approvals.write, audit.read,"
OVERLAP = "Use 0 seconds to 7 days."
NO_KEY = "`key list` shows the keys of your tenant."
PAGE_SIZE = "Use 1 to 200, or 0 for 50."
UNKNOWN_KEY = "apiKeys/mk_0123456789abcdef"


def list_operator_entries(**fields):
    return lambda client: client.audit.ListOperatorEntries(audit.ListOperatorEntriesRequest(**fields))


NO_TIME = Timestamp(seconds=10**18)
ENTRY = "Copy it from an entry of `audit list`."
KEY_CASES = [
    Case("a key without a name", create_key(" "), INVALID, "api_key.display_name", "Say what the key is for."),
    Case("a key with a long name", create_key("x" * 101), INVALID, "api_key.display_name", "Use at most 100."),
    Case("a key with a NUL in its name", create_key("a\x00b"), INVALID, "api_key.display_name", "Remove it."),
    Case("a key without scopes", create_key(scopes=()), INVALID, "api_key.scopes", SCOPES),
    Case("a key with an unknown scope", create_key(scopes=["tasks.*"]), INVALID, "api_key.scopes", SCOPES),
    Case("a key of an operator", create_key(scopes=["operator"]), INVALID, "api_key.scopes", SCOPES),
    Case("a key of no request", lambda c: c.keys.CreateApiKey(keys.CreateApiKeyRequest()), INVALID,
         "api_key.display_name", "Say what the key is for."),
    Case("a key that has expired", create_key(expire_time=Timestamp(seconds=1)), INVALID, "api_key.expire_time",
         "Use a later time, or leave it out."),
    Case("a key that expires at no time", create_key(expire_time=NO_TIME), INVALID, "api_key.expire_time",
         "Use a time of the years 1 to 9999."),
    Case("a key of an operator's", create_key(), DENIED, "", "Use a key that has it.", "operator"),
    Case("an unknown key to see", on_key("GetApiKey", UNKNOWN_KEY), NOT_FOUND, "api key", NO_KEY),
    Case("an unknown key to rotate", on_key("RotateApiKey", UNKNOWN_KEY), NOT_FOUND, "api key", NO_KEY),
    Case("an unknown key to revoke", on_key("RevokeApiKey", UNKNOWN_KEY), NOT_FOUND, "api key", NO_KEY),
    Case("a key name that is none", on_key("RevokeApiKey", "apiKeys/' OR true --"), NOT_FOUND, "api key", NO_KEY),
    Case("a key name with a NUL", on_key("GetApiKey", "apiKeys/mk_\x00"), INVALID, "name", NUL),
    Case("no key name", on_key("GetApiKey", ""), NOT_FOUND, "api key", NO_KEY),
    Case("a long overlap", on_key("RotateApiKey", UNKNOWN_KEY, overlap=Duration(seconds=604801)), INVALID, "overlap",
         OVERLAP),
    Case("a negative overlap", on_key("RotateApiKey", UNKNOWN_KEY, overlap=Duration(seconds=-1)), INVALID, "overlap",
         OVERLAP),
    Case("an overlap without end", on_key("RotateApiKey", UNKNOWN_KEY, overlap=Duration(seconds=10**18)), INVALID,
         "overlap", ""),
    Case("a negative page of keys", list_keys(page_size=-1), INVALID, "page_size", PAGE_SIZE),
    Case("a page token of nonsense for keys", list_keys(page_token="nonsense"), INVALID, "page_token", PAGE),
    Case("a page token of nothing for keys", list_keys(page_token="fA=="), INVALID, "page_token", PAGE),
    Case("a long page token for keys", list_keys(page_token="A" * 100_000), INVALID, "page_token", PAGE),
    Case("a negative page of entries", list_entries(page_size=-1), INVALID, "page_size", PAGE_SIZE),
    Case("a page token of nonsense for entries", list_entries(page_token="ü"), INVALID, "page_token", PAGE),
    Case("an action that none is", list_entries(filter=audit.AuditFilter(action="x" * 201)), INVALID, "filter.action",
         ENTRY),
    Case("a long principal", export_entries(principal="x" * 201), INVALID, "filter.principal", ENTRY),
    Case("entries since no time", export_entries(start_time=NO_TIME), INVALID, "filter.start_time", "Use a time"),
    Case("entries of a time that ends before it starts",
         list_entries(filter=audit.AuditFilter(start_time=Timestamp(seconds=2), end_time=Timestamp(seconds=2))),
         INVALID, "filter.end_time", "Use a later time, or leave one out."),
    Case("entries of an unknown outcome", list_entries(filter=audit.AuditFilter(outcome=99)), INVALID,
         "filter.outcome", "Use succeeded or refused, or leave it out."),
    Case("a page token of nonsense for operators' entries", list_operator_entries(page_token="x"), INVALID,
         "page_token", PAGE, "operator"),
    Case("operators' entries for a tenant", list_operator_entries(), DENIED, "", "Use a key that has it."),
]  # fmt: skip


def invite(role=members.MEMBER_ROLE_VIEWER, **fields):
    invitation = members.Invitation(role=role, **fields)
    return lambda client: client.members.InviteMember(members.InviteMemberRequest(invitation=invitation))


def accept(token):
    return lambda client: client.members.AcceptInvitation(members.AcceptInvitationRequest(token=token))


def revoke_invitation(name):
    return lambda client: client.members.RevokeInvitation(members.RevokeInvitationRequest(name=name))


def list_invitations(**fields):
    return lambda client: client.members.ListInvitations(members.ListInvitationsRequest(**fields))


def update_member(name, role=members.MEMBER_ROLE_VIEWER):
    member = members.Member(name=name, role=role)
    return lambda client: client.members.UpdateMember(members.UpdateMemberRequest(member=member))


def remove_member(name):
    return lambda client: client.members.RemoveMember(members.RemoveMemberRequest(name=name))


def list_members(**fields):
    return lambda client: client.members.ListMembers(members.ListMembersRequest(**fields))


ROLE = "Use owner, admin, member or viewer."
EMAIL = "Use name@host, or leave it empty."
SOONER = "Use an earlier time."
INVITATION = "Ask for a new one, to your own address."
NO_INVITATION = "`member invitations` shows the invitations of your tenant."
NO_MEMBER = "`member list` shows the members of your tenant."
UNKNOWN_MEMBER = f"members/{uuid4()}"
MEMBER_CASES = [
    Case("an invitation to no role", invite(0), INVALID, "invitation.role", ROLE),
    Case("an invitation to an unknown role", invite(99), INVALID, "invitation.role", ROLE),
    Case("an invitation of nothing", lambda c: c.members.InviteMember(members.InviteMemberRequest()), INVALID,
         "invitation.role", ROLE),
    Case("an invitation to no address", invite(email="ada"), INVALID, "invitation.email", EMAIL),
    Case("an invitation to two addresses", invite(email="a@b, c@d"), INVALID, "invitation.email", EMAIL),
    Case("an invitation to an address with a NUL", invite(email="a\x00@b"), INVALID, "invitation.email", NUL),
    Case("an invitation to a long address", invite(email="a@" + "b" * 300), INVALID, "invitation.email", EMAIL),
    Case("an invitation that has expired", invite(expire_time=Timestamp(seconds=1)), INVALID, "invitation.expire_time",
         SOONER),
    Case("an invitation for years", invite(expire_time=Timestamp(seconds=4 * 10**9)), INVALID, "invitation.expire_time",
         SOONER),
    Case("an invitation to no time", invite(expire_time=NO_TIME), INVALID, "invitation.expire_time", "Use a time"),
    Case("an invitation by an operator", invite(), DENIED, "", "Use a key that has it.", "operator"),
    Case("an invitation that a key accepts", accept("mi_0123456789abcdef.x"), DENIED, "", "Use a key that has it."),
    Case("an unknown invitation", accept("mi_0123456789abcdef.x"), NOT_FOUND, "invitation", INVITATION, "identity"),
    Case("no invitation", accept(""), NOT_FOUND, "invitation", INVITATION, "identity"),
    Case("an invitation with a NUL", accept("mi_\x00.x"), INVALID, "token", NUL, "identity"),
    Case("a long invitation", accept("mi_" + "x" * 10_000), NOT_FOUND, "invitation", INVITATION, "identity"),
    Case("an unknown invitation to revoke", revoke_invitation("invitations/mi_0123456789abcdef"), NOT_FOUND,
         "invitation", NO_INVITATION),
    Case("a name of an invitation that is none", revoke_invitation("invitations/' OR true --"), NOT_FOUND,
         "invitation", NO_INVITATION),
    Case("no invitation to revoke", revoke_invitation(""), NOT_FOUND, "invitation", NO_INVITATION),
    Case("a negative page of invitations", list_invitations(page_size=-1), INVALID, "page_size", PAGE_SIZE),
    Case("a page token of nonsense for invitations", list_invitations(page_token="x"), INVALID, "page_token", PAGE),
    Case("an unknown member's role", update_member(UNKNOWN_MEMBER), NOT_FOUND, "member", NO_MEMBER),
    Case("a member's name that is none", update_member("members/' OR true --"), NOT_FOUND, "member", NO_MEMBER),
    Case("no member", update_member(""), NOT_FOUND, "member", NO_MEMBER),
    Case("no role for a member", update_member(UNKNOWN_MEMBER, 0), INVALID, "member.role", ROLE),
    Case("an unknown role for a member", update_member(UNKNOWN_MEMBER, -1), INVALID, "member.role", ROLE),
    Case("an unknown member to remove", remove_member(UNKNOWN_MEMBER), NOT_FOUND, "member", NO_MEMBER),
    Case("a name to remove that is none", remove_member("members/none"), NOT_FOUND, "member", NO_MEMBER),
    Case("a negative page of members", list_members(page_size=-1), INVALID, "page_size", PAGE_SIZE),
    Case("a page token of nonsense for members", list_members(page_token="x"), INVALID, "page_token", PAGE),
    Case("a page token of another list", list_members(page_token="MjAyNi0wMS0wMVQwMDowMDowMCswMDowMHxta18x"), INVALID,
         "page_token", PAGE),
]  # fmt: skip


HOOK_URL = "Use https://host/path."
HOOK = "`webhook list` shows the endpoints of your tenant."
DELIVERY = "`webhook deliveries` shows those of an endpoint."
EGRESS = "Use a public host"
UNKNOWN_HOOK = f"webhookEndpoints/{uuid4()}"


def create_hook(url="https://8.8.8.8/hook", event_types=(), description=""):
    endpoint = hooks.WebhookEndpoint(url=url, event_types=event_types, description=description)
    request = hooks.CreateWebhookEndpointRequest(webhook_endpoint=endpoint)
    return lambda client: client.subscriptions.CreateWebhookEndpoint(request)


def update_hook(*paths, **fields):
    endpoint = hooks.WebhookEndpoint(**{"name": UNKNOWN_HOOK, **fields})
    request = hooks.UpdateWebhookEndpointRequest(webhook_endpoint=endpoint, update_mask={"paths": paths})
    return lambda client: client.subscriptions.UpdateWebhookEndpoint(request)


def get_hook(name):
    return lambda client: client.subscriptions.GetWebhookEndpoint(hooks.GetWebhookEndpointRequest(name=name))


def list_hooks(**fields):
    return lambda client: client.subscriptions.ListWebhookEndpoints(hooks.ListWebhookEndpointsRequest(**fields))


def list_hook_deliveries(**fields):
    return lambda client: client.subscriptions.ListWebhookDeliveries(hooks.ListWebhookDeliveriesRequest(**fields))


def redeliver(name):
    return lambda client: client.subscriptions.RedeliverWebhook(hooks.RedeliverWebhookRequest(name=name))


HOOK_URLS = {
    "no address": "",
    "a text": "hook",
    "a file of this server": "file:///etc/passwd",
    "another protocol": "ftp://example.org/",
    "no host": "https:///hook",
    "credentials": "https://ada:secret@example.org/",
    "a fragment": "https://example.org/#x",
    "a space": "https://example.org/a b",
    "a line break": "https://example.org/\r\nx: y",
    "letters to be encoded": "https://example.org/ö",
    "no port": "https://example.org:0/",
    "a port that is none": "https://example.org:x/",
    "a port beyond": "https://example.org:65536/",
    "half an address": "https://[::1/",
    "a public host without encryption": "http://8.8.8.8/",
}
HOOK_HOSTS = {
    "another loopback": "https://127.0.0.2/",
    "loopback of version 6": "https://[::1]/",
    "loopback in another notation": "https://[::ffff:127.0.0.1]/",
    "loopback as a number": "https://2130706434/",
    "the cloud's metadata": "http://169.254.169.254/latest/meta-data",
    "the metadata of version 6": "https://[fd00:ec2::254]/",
    "a link-local address": "https://[fe80::1]/",
    "a private address": "https://192.168.0.1/",
    "an unspecified address": "https://0.0.0.0/",
}
URL = "webhook_endpoint.url"
HOOK_CASES = [
    *(Case(f"a webhook to {name}", create_hook(url), INVALID, URL, HOOK_URL) for name, url in HOOK_URLS.items()),
    *(Case(f"a webhook to {name}", create_hook(url), INVALID, URL, EGRESS) for name, url in HOOK_HOSTS.items()),
    Case("a long webhook", create_hook("https://x/" + "a" * 2000), INVALID, URL, "Use at most 2000 characters."),
    Case("a webhook with a NUL", create_hook("https://\x00"), INVALID, URL, NUL),
    Case(
        "an event of the bus alone",
        create_hook(event_types=["source.indexed"]),
        INVALID,
        "webhook_endpoint.event_types",
        "task.failed",
    ),
    Case("an unknown event", create_hook(event_types=["x"]), INVALID, "webhook_endpoint.event_types", "task.failed"),
    Case(
        "an internal event",
        create_hook(event_types=["task.succeeded", "task.requested"]),
        INVALID,
        "webhook_endpoint.event_types",
        "or none for all of them",
    ),
    Case(
        "a long description",
        create_hook(description="x" * 201),
        INVALID,
        "webhook_endpoint.description",
        "Use at most 200.",
    ),
    Case("a change of nothing", update_hook(), INVALID, "update_mask", "Use url, event_types, description, state."),
    Case("a change of a name", update_hook("url", "name"), INVALID, "update_mask", "Use url"),
    Case("a change to no state", update_hook("state"), INVALID, "webhook_endpoint.state", "Use enabled or disabled."),
    Case("a change to an unknown state", update_hook("state", state=99), INVALID, "webhook_endpoint.state", "Use"),
    Case("a change of an unknown webhook", update_hook("url"), NOT_FOUND, "webhook endpoint", HOOK),
    Case("an unknown webhook", get_hook(UNKNOWN_HOOK), NOT_FOUND, "webhook endpoint", HOOK),
    Case("a webhook name that is none", get_hook("webhookEndpoints/../x"), NOT_FOUND, "webhook endpoint", HOOK),
    Case("an unknown delivery", redeliver(f"{UNKNOWN_HOOK}/deliveries/{uuid4()}"), NOT_FOUND, "webhook endpoint", HOOK),
    Case("a delivery name that is none", redeliver(UNKNOWN_HOOK), NOT_FOUND, "webhook delivery", DELIVERY),
    Case("deliveries to nothing", list_hook_deliveries(), NOT_FOUND, "webhook endpoint", HOOK),
    Case("a negative page of webhooks", list_hooks(page_size=-1), INVALID, "page_size", "Use 1 to 200"),
    Case("a page token of tasks for webhooks", list_hooks(page_token=TOKEN_OF_TASKS), INVALID, "page_token", PAGE),
    Case(
        "a page token of another webhook",
        list_hook_deliveries(
            parent=UNKNOWN_HOOK,
            page_token=write_token("deliveries of webhookEndpoints/x", "2026-01-01T00:00:00+00:00", UUID(int=1)),
        ),
        INVALID,
        "page_token",
        PAGE,
    ),
]


@pytest.mark.parametrize(
    "case",
    [*TASK_CASES, *TENANT_CASES, *USAGE_CASES, *SOURCE_CASES, *KEY_CASES, *MEMBER_CASES, *HOOK_CASES],
    ids=lambda case: case.name,
)
async def test_bad_input_is_refused_and_leaves_no_row(connect, client, acme, platform, case):
    caller = await connect(*credentials(platform, acme)[case.caller])
    before = rows(platform, acme)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await case.call(caller)
    assert (refused.value.code(), field_of(refused.value)) == (case.code, case.field)
    assert case.remedy in remedy_of(refused.value)
    assert rows(platform, acme) == before


def credentials(platform, tenant):
    return {
        "tenant": (tenant.api_key,),
        "operator": (platform.operator_key,),
        "identity": (platform.identities.token("nobody"), ("morningai-tenant", "-")),
        "stranger": ("mk_x.y",),
        "nobody": ("",),
    }


def rows(platform, tenant):
    """The tenant's rows in each table of each service, and how many tenants there are; without its rate limits and
    what the audit log says of refused calls."""
    tables = platform.database.rows(
        "SELECT n.nspname || '.' || c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant_id'"
        " WHERE c.relkind = 'r' AND n.nspname <> 'kernel' AND c.relname <> 'rates' ORDER BY 1"
    )
    acts = {"tenancy.audit_log": "AND outcome <> 'refused'"}
    counts = " UNION ALL ".join(
        f"SELECT '{t}', count(*) FROM {t} WHERE tenant_id = %s {acts.get(t, '')}" for (t,) in tables
    )
    own = platform.database.rows(counts, *[tenant.tenant_id] * len(tables))
    return [*own, *platform.database.rows("SELECT 'all tenants', count(*) FROM tenancy.tenants")]

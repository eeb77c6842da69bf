"""Bad input, a row per case: the code, the field (or the resource), the remedy, and nothing half-written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import uuid4

import grpc
import pytest

from morningai.api.sources.v1 import sources_pb2 as sources
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.api.tenants.v1 import tenants_pb2 as tenants
from morningai.api.tenants.v1 import usage_pb2 as usage
from morningai.api.tenants.v1 import usage_pb2_grpc
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


def create_task(instruction="what is it?", source="sources/small", kinds=ANSWER, request_id=None):
    identity = str(uuid4()) if request_id is None else request_id
    task = api.Task(instruction=instruction, source=source, kinds=kinds)
    return lambda client: client.tasks.CreateTask(api.CreateTaskRequest(task=task, request_id=identity))


def list_tasks(**fields):
    return lambda client: client.tasks.ListTasks(api.ListTasksRequest(**fields))


def get_task(name):
    return lambda client: client.tasks.GetTask(api.GetTaskRequest(name=name))


def list_events(**fields):
    return lambda client: client.tasks.ListTaskEvents(api.ListTaskEventsRequest(**fields))


def watch_task(**fields):
    async def call(client):
        return [event async for event in client.tasks.WatchTask(api.WatchTaskRequest(**fields), timeout=5)]

    return call


def create_tenant(slug="new-tenant", display_name=""):
    tenant = tenants.Tenant(slug=slug, display_name=display_name)
    return lambda client: client.tenants.CreateTenant(tenants.CreateTenantRequest(tenant=tenant))


def create_source(remote_uri, source_id="other"):
    source = sources.Source(remote_uri=remote_uri)
    return lambda client: client.sources.CreateSource(sources.CreateSourceRequest(source=source, source_id=source_id))


def upload_bundle(content, source_id="other"):
    return lambda client: upload(client, content, source_id=source_id)


def get_usage(**fields):
    stub = usage_pb2_grpc.UsageServiceStub
    return lambda client: stub(client.channel).GetUsage(usage.GetUsageRequest(**fields))


def update_limits(*changes):
    request = usage.UpdateLimitsRequest(changes=[usage.LimitChange(name=name, value=value) for name, value in changes])
    return lambda client: usage_pb2_grpc.UsageServiceStub(client.channel).UpdateLimits(request)


def update_tenant_limits(tenant, name="sources", value=1):
    change = usage.LimitChange(name=name, value=value)
    request = usage.UpdateTenantLimitsRequest(tenant=tenant, changes=[change])
    return lambda client: usage_pb2_grpc.UsageServiceStub(client.channel).UpdateTenantLimits(request)


def update_price(**price):
    request = usage.UpdateModelPriceRequest(price=usage.ModelPrice(**price))
    return lambda client: usage_pb2_grpc.UsageServiceStub(client.channel).UpdateModelPrice(request)


INSTRUCTION = "Say what you want to know or to change."
SOURCE = "Use a name that `source list` shows."
REQUEST_ID = "Send a new UUID with each new request."
KINDS = "Ask for at least one of answer, faq, document, change."
TASK = "`task list` shows the tasks of your tenant."
PAGE = "Leave it empty for the first page."
SLUG = "Use 3 to 40 of a-z, 0-9 and '-', starting with a letter."
KEY = "Send the metadata 'authorization: Bearer <key>' with a key of your tenant."
TRACE = "Give 32 hexadecimal digits, or the name of a task."
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
    Case("an instruction with a NUL", create_task("a\x00b"), INVALID, "task.instruction", "Remove it."),
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
    Case("a trace with a NUL", list_events(trace_id="\x00" * 32), INVALID, "trace_id", TRACE),
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
    Case("a negative page", list_tasks(page_size=-1), INVALID, "page_size", "Use 1 to 500."),
]
TENANT_CASES = [
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
        "Remove it.",
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
    Case("an unknown key", create_task(), UNAUTHENTICATED, "", KEY, "stranger"),
    Case("no key", create_task(), UNAUTHENTICATED, "", KEY, "nobody"),
]
DATE = "Write it as YYYY-MM-DD."
LISTED = "Use a name that is listed."
BUDGETS = "Set tokens_per_day, tokens_per_month, money_per_day or money_per_month."
TENANT = "Give 'tenants/' and the id that `tenant create` showed."
MODEL = "Use 1 to 200 characters."
USAGE_CASES = [
    Case("a date that is none", get_usage(start_date="2026-02-30"), INVALID, "start_date", DATE),
    Case("a date with a NUL", get_usage(end_date="2026-01-01\x00"), INVALID, "end_date", DATE),
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
    Case("a limit with a NUL", update_limits(("tokens\x00", 1)), INVALID, "changes.name", LISTED),
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
    Case("a price of no model", update_price(model=""), INVALID, "price.model", MODEL, "operator"),
    Case("a price of a long model", update_price(model="x" * 201), INVALID, "price.model", MODEL, "operator"),
    Case("a price of a NUL", update_price(model="a\x00"), INVALID, "price.model", MODEL, "operator"),
    Case(
        "a negative price",
        update_price(model="m", completion_price=-1),
        INVALID,
        "price.completion_price",
        "Use 0 or more.",
        "operator",
    ),
]
GIT = "Send `git bundle create - HEAD` in pieces."
URI = "Use https://host/path or ssh://user@host/path."
SOURCE_ID = "Use 3 to 40 lower-case letters, digits and '-'."
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
]


@pytest.mark.parametrize("case", [*TASK_CASES, *TENANT_CASES, *USAGE_CASES, *SOURCE_CASES], ids=lambda case: case.name)
async def test_bad_input_is_refused_and_leaves_no_row(connect, client, acme, platform, case):
    keys = {"tenant": acme.api_key, "operator": platform.operator_key, "stranger": "mk_x.y", "nobody": ""}
    caller = await connect(keys[case.caller])
    before = rows(platform, acme)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await case.call(caller)
    assert (refused.value.code(), field_of(refused.value)) == (case.code, case.field)
    assert case.remedy in remedy_of(refused.value)
    assert rows(platform, acme) == before


def rows(platform, tenant):
    """The tenant's rows in each table of each service but its rate limits', and how many tenants there are."""
    tables = platform.database.rows(
        "SELECT n.nspname || '.' || c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant_id'"
        " WHERE c.relkind = 'r' AND n.nspname <> 'kernel' AND c.relname <> 'rates' ORDER BY 1"
    )
    counts = " UNION ALL ".join(f"SELECT '{t}', count(*) FROM {t} WHERE tenant_id = %s" for (t,) in tables)
    own = platform.database.rows(counts, *[tenant.tenant_id] * len(tables))
    return [*own, *platform.database.rows("SELECT 'all tenants', count(*) FROM tenancy.tenants")]

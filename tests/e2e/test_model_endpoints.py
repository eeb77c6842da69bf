"""A tenant's own model endpoint: which tasks ask it, with whose key, and where that key is seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.api.tenants.v1 import audit_pb2 as audit
from morningai.api.tenants.v1 import keys_pb2 as keys
from morningai.api.tenants.v1 import models_pb2 as models
from morningai.cli.connection import Target
from morningai.cli.gateway import Gateway
from tests.e2e.conftest import PLATFORM_ORGANIZATION
from tests.e2e.model import NAME, ScriptedModel, scripted_model
from tests.e2e.platform import Platform, Tenant
from tests.e2e.replies import teach_everything
from tests.e2e.repositories import calculator, knowledge, make_repository, question_about

pytestmark = pytest.mark.xdist_group("shared")

KEY = "hush-0123456789-of-the-tenant"
KINDS = ("answer", "faq", "document", "change")
ALL_TABLES = """
SELECT c.oid::regclass::text FROM pg_class AS c
WHERE c.relkind = 'r' AND c.relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
"""
MOVE = """
UPDATE tenancy.model_endpoints AS e SET base_url = %s FROM tenancy.tenants AS t
WHERE t.tenant_id = e.tenant_id AND t.slug = %s RETURNING e.kind
"""
COPY = """
INSERT INTO tenancy.model_endpoints (tenant_id, kind, base_url, model, context_tokens, api_key)
SELECT thief.tenant_id, e.kind, e.base_url, e.model, e.context_tokens, e.api_key
FROM tenancy.model_endpoints AS e JOIN tenancy.tenants AS t USING (tenant_id), tenancy.tenants AS thief
WHERE t.slug = %s AND thief.slug = %s RETURNING kind
"""


@pytest.fixture
def own() -> Iterator[ScriptedModel]:
    """The endpoint of a tenant, which takes no other key."""
    with scripted_model(api_key=KEY) as model:
        yield model


def url_of(model: ScriptedModel) -> str:
    return model.settings["OPENAI_BASE_URL"]


def put(tenant: Tenant, url: str, *, kind: str = "any", key: str = KEY, model: str = NAME) -> models.ModelEndpoint:
    endpoint = models.ModelEndpoint(name=f"modelEndpoints/{kind}", base_url=url, model=model)
    request = models.SetModelEndpointRequest(model_endpoint=endpoint, api_key=key)
    return tenant.gateway.call(tenant.gateway.model_endpoints.SetModelEndpoint, request)


def add_source(tenant: Tenant, word: str, tmp_path: Path, *models: ScriptedModel) -> str:
    for model in models:
        teach_everything(model, word)
    return tenant.add_source(make_repository(tmp_path / tenant.slug, calculator(word) | knowledge(word)))


def failure_of(tenant: Tenant, word: str, source: str, kind: str = "answer") -> tasks.Failure:
    task = tenant.run(question_about(word), source, kind).task
    assert task.state == tasks.TASK_STATE_FAILED, task
    return next(step.failure for step in task.steps if step.failure.reason)


def test_every_kind_of_task_asks_the_tenants_own_endpoint_with_its_key_and_nothing_of_the_platforms(
    platform: Platform, tenant: Tenant, model: ScriptedModel, own: ScriptedModel, word: str, tmp_path: Path
) -> None:
    stored = put(tenant, url_of(own) + "/")
    assert (stored.base_url, stored.has_api_key, stored.context_tokens) == (url_of(own), True, 32_768)
    source = add_source(tenant, word, tmp_path, own, model)
    for kind in KINDS:
        before = len(own.calls())
        assert tenant.run(question_about(word), source, kind).task.state == tasks.TASK_STATE_SUCCEEDED
        assert len(own.calls()) > before, kind
    assert model.calls(word) == []
    assert {call.headers["authorization"] for call in own.calls()} == {f"Bearer {KEY}"}
    assert PLATFORM_ORGANIZATION not in str([call.headers for call in own.calls()])
    with platform.tenant() as other:
        other_source = add_source(other, word, tmp_path, model)
        before = len(own.calls())
        assert other.run(question_about(word), other_source, "answer").task.state == tasks.TASK_STATE_SUCCEEDED
    assert len(own.calls()) == before
    assert model.calls(word)
    assert KEY not in str([call.headers for call in model.calls()])


def test_an_endpoint_for_a_kind_of_task_goes_before_that_for_any(
    tenant: Tenant, model: ScriptedModel, own: ScriptedModel, word: str, tmp_path: Path
) -> None:
    source = add_source(tenant, word, tmp_path, own, model)
    put(tenant, url_of(own), kind="answer")
    assert tenant.run(question_about(word), source, "faq").task.state == tasks.TASK_STATE_SUCCEEDED
    assert (len(own.calls()), bool(model.calls(word))) == (0, True)
    with scripted_model() as open_model:
        put(tenant, url_of(open_model), key="")
        teach_everything(open_model, word)
        assert tenant.run(question_about(word), source, "answer", "faq").task.state == tasks.TASK_STATE_SUCCEEDED
        assert len(own.calls()) == 1
        assert open_model.calls(word)
    listed = tenant.gateway.call(tenant.gateway.model_endpoints.ListModelEndpoints, models.ListModelEndpointsRequest())
    assert [(e.name, e.has_api_key) for e in listed.model_endpoints] == [
        ("modelEndpoints/answer", True),
        ("modelEndpoints/any", False),
    ]


def test_a_cleared_endpoint_is_asked_no_more(
    tenant: Tenant, model: ScriptedModel, own: ScriptedModel, word: str, tmp_path: Path
) -> None:
    source = add_source(tenant, word, tmp_path, own, model)
    put(tenant, url_of(own))
    for _ in range(2):
        cleared = models.ClearModelEndpointRequest(name="modelEndpoints/any")
        tenant.gateway.call(tenant.gateway.model_endpoints.ClearModelEndpoint, cleared)
    assert tenant.run(question_about(word), source, "answer").task.state == tasks.TASK_STATE_SUCCEEDED
    assert own.calls() == []
    entries = tenant.gateway.call(tenant.gateway.audit.ListAuditEntries, audit.ListAuditEntriesRequest()).entries
    acts = [entry for entry in entries if entry.action.startswith("models.")]
    assert [(entry.action, entry.resource) for entry in acts] == [
        ("models.clear_endpoint", "modelEndpoints/any"),
        ("models.set_endpoint", "modelEndpoints/any"),
    ]
    assert (acts[1].details["base_url"], acts[1].details["has_api_key"]) == (url_of(own), True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_key_fails_the_step_and_the_platforms_model_is_not_asked_instead(
    tenant: Tenant, model: ScriptedModel, own: ScriptedModel, word: str, tmp_path: Path, kind: str
) -> None:
    source = add_source(tenant, word, tmp_path, own, model)
    put(tenant, url_of(own), key="not-the-key")
    failure = failure_of(tenant, word, source, kind)
    assert failure.reason == ("model_unavailable" if kind == "change" else "model_refused")
    assert "the key is not valid" in failure.message
    assert "morningai model endpoint set" in f"{failure.message} {failure.remedy}"
    assert model.calls(word) == []


def test_the_key_is_nowhere_but_in_its_sealed_cell(
    platform: Platform, tenant: Tenant, own: ScriptedModel, word: str, tmp_path: Path
) -> None:
    put(tenant, url_of(own))
    source = add_source(tenant, word, tmp_path, own)
    outcome = tenant.run(question_about(word), source, "answer")
    assert own.calls()
    for (table,) in platform.rows(ALL_TABLES):
        for form in (KEY, KEY.encode().hex()):
            query = f"SELECT count(*) FROM {table} AS t WHERE position(%s IN t::text) > 0"
            assert platform.rows(query, form) == [(0,)], table
    assert KEY not in json.dumps(platform.log_lines())
    assert KEY not in f"{outcome}{tenant.events(outcome.task.name)}"


def test_a_key_opens_for_no_other_address_and_no_other_tenant(
    platform: Platform, tenant: Tenant, model: ScriptedModel, own: ScriptedModel, word: str, tmp_path: Path
) -> None:
    source = add_source(tenant, word, tmp_path, own, model)
    with scripted_model() as stranger, platform.tenant() as thief:
        put(tenant, url_of(own))
        assert platform.rows(COPY, tenant.slug, thief.slug) == [("any",)]
        stolen = failure_of(thief, word, add_source(thief, word, tmp_path), "answer")
        assert platform.rows(MOVE, url_of(stranger), tenant.slug) == [("any",)]
        moved = failure_of(tenant, word, source)
        assert stranger.calls() == []
    assert "A stored secret cannot be opened." in stolen.message
    assert "A stored secret cannot be opened." in moved.message
    assert (own.calls(), model.calls(word)) == ([], [])


def test_an_address_that_is_internal_by_then_is_not_reached(
    platform: Platform, tenant: Tenant, model: ScriptedModel, own: ScriptedModel, word: str, tmp_path: Path
) -> None:
    source = add_source(tenant, word, tmp_path, own, model)
    put(tenant, url_of(own), key="")
    platform.rows(MOVE, url_of(own).replace("127.0.0.1", "127.0.0.2"), tenant.slug)
    failure = failure_of(tenant, word, source)
    assert (failure.reason, "internal address" in failure.message) == ("INVALID_INPUT", True)
    assert (own.calls(), model.calls(word)) == ([], [])


WRONG = {
    "an internal address": ("model_endpoint.base_url", {"url": "https://10.0.0.1/v1"}),
    "a metadata service": ("model_endpoint.base_url", {"url": "https://169.254.169.254/v1"}),
    "an address without encryption": ("model_endpoint.base_url", {"url": "http://192.0.2.1/v1"}),
    "credentials in the address": ("model_endpoint.base_url", {"url": "https://me:secret@llm.example.org/v1"}),
    "a query": ("model_endpoint.base_url", {"url": "https://llm.example.org/v1?key=x"}),
    "another scheme": ("model_endpoint.base_url", {"url": "file:///etc/passwd"}),
    "two hosts": ("model_endpoint.base_url", {"url": "https://llm.example.org\\@127.0.0.1/v1"}),
    "a port that is none": ("model_endpoint.base_url", {"url": "https://llm.example.org:99999/v1"}),
    "no model": ("model_endpoint.model", {"url": "https://127.0.0.1/v1", "model": ""}),
    "a key of two lines": ("api_key", {"url": "https://127.0.0.1/v1", "key": "one\ntwo"}),
}


@pytest.mark.parametrize(("field", "given"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_an_endpoint_is_refused_with_its_field(
    tenant: Tenant, field: str, given: dict[str, str]
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        put(tenant, **given)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details().startswith(f"{field}: ")
    assert "secret" not in refused.value.details()


def test_a_kind_that_is_none_is_not_found(tenant: Tenant) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        put(tenant, "https://127.0.0.1/v1", kind="everything")
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_who_may_create_tasks_may_not_set_the_endpoint(platform: Platform, tenant: Tenant, own: ScriptedModel) -> None:
    key = keys.ApiKey(display_name="a member's", scopes=["tasks.read", "tasks.write", "tenants.read"])
    made = tenant.gateway.call(tenant.gateway.keys.CreateApiKey, keys.CreateApiKeyRequest(api_key=key))
    with Gateway(Target(platform.address), made.key) as member:
        for _ in range(2):
            with pytest.raises(grpc.RpcError, match=r"secrets\.write") as refused:
                put(Tenant(member, tenant.slug), url_of(own))
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        request = models.OpenModelEndpointRequest(kind="answer")
        with pytest.raises(grpc.RpcError) as hidden:
            member.call(member.model_endpoints.OpenModelEndpoint, request)
    assert hidden.value.code() is grpc.StatusCode.UNIMPLEMENTED

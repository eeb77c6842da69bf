"""What is refused at the door: the code, the field and the remedy, and no row is left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import grpc
import pytest

from morningai.api.sources.v1 import sources_pb2 as sources
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.cli.connection import Target
from morningai.cli.gateway import Gateway
from morningai.rpc.status import field_violations, reason_of
from morningai.testing.model_script import ScriptedReply
from tests.e2e.model import ScriptedModel
from tests.e2e.platform import Platform, Tenant
from tests.e2e.repositories import knowledge, make_repository, question_about

pytestmark = pytest.mark.xdist_group("shared")

INVALID = grpc.StatusCode.INVALID_ARGUMENT


@dataclass(frozen=True)
class Case:
    """`field` is empty where the code says it all."""

    code: grpc.StatusCode
    field: str
    words: str
    send: Callable[[Tenant], object]


def remote(uri: str) -> Callable[[Tenant], object]:
    def send(tenant: Tenant) -> object:
        request = sources.CreateSourceRequest(source=sources.Source(remote_uri=uri), source_id="remote")
        return tenant.gateway.call(tenant.gateway.sources.CreateSource, request)

    return send


def task(instruction: str, source: str, *kinds: str) -> Callable[[Tenant], object]:
    return lambda tenant: tenant.create(instruction, source, *kinds)


def upload(content: bytes, name: str = "garbage") -> Callable[[Tenant], object]:
    return lambda tenant: tenant.upload(name, content)


CASES = {
    "an upload that is no bundle": Case(INVALID, "bundle", "git bundle create", upload(b"this is no bundle")),
    "an upload with a bundle's first line alone": Case(
        INVALID, "bundle", "git bundle create", upload(b"# v2 git bundle\n\nPACKnonsense")
    ),
    "an empty upload": Case(INVALID, "bundle", "git bundle create", upload(b"")),
    "a name that is no name": Case(INVALID, "source_id", "a-z", upload(b"anything", "../../etc")),
    "a file as remote": Case(INVALID, "remote_uri", "https", remote("file:///etc")),
    "a remote helper": Case(INVALID, "remote_uri", "https", remote("ext::sh -c id")),
    "plain http": Case(INVALID, "remote_uri", "https", remote("http://example.com/a.git")),
    "a local path": Case(INVALID, "remote_uri", "https", remote("/etc")),
    "a loopback address": Case(INVALID, "remote_uri", "public", remote("https://127.0.0.2/a.git")),
    "the metadata service": Case(INVALID, "remote_uri", "public", remote("https://169.254.169.254/a.git")),
    "a private address over ssh": Case(INVALID, "remote_uri", "public", remote("ssh://git@10.0.0.1/a.git")),
    "a loopback address in IPv6": Case(INVALID, "remote_uri", "public", remote("https://[::ffff:127.0.0.1]/a.git")),
    "no instruction": Case(INVALID, "task.instruction", "Say what", task("  ", "sources/any", "answer")),
    "a long instruction": Case(INVALID, "task.instruction", "4000", task("x" * 4001, "sources/any", "answer")),
    "no kind": Case(INVALID, "task.kinds", "at least one", task("What?", "sources/any")),
    "no source": Case(INVALID, "task.source", "source list", task("What?", "", "answer")),
    "a source that is not there": Case(
        grpc.StatusCode.NOT_FOUND, "", "source add", task("What?", f"sources/s-{uuid4().hex[:8]}", "answer")
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_wrong_is_refused_and_leaves_no_row(platform: Platform, tenant: Tenant, case: Case) -> None:
    before = platform.rows_of(tenant.slug)

    with pytest.raises(grpc.RpcError) as refused:
        case.send(tenant)

    assert refused.value.code() is case.code
    assert [field for field, _ in field_violations(refused.value)] == ([case.field] if case.field else [])
    assert case.words in refused.value.details()
    assert platform.rows_of(tenant.slug) == before


@pytest.mark.parametrize("key", ["", "nonsense", "mk_0123456789abcdef.secret"])
def test_a_key_that_is_none_is_refused(platform: Platform, key: str) -> None:
    with Gateway(Target(platform.address), key) as gateway, pytest.raises(grpc.RpcError) as refused:
        gateway.call(gateway.sources.ListSources, sources.ListSourcesRequest())

    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert reason_of(refused.value) == "UNAUTHENTICATED"


@pytest.mark.parametrize("said", ["I would rather talk about the weather.", "", '{"answered": "perhaps"}'])
def test_a_model_that_answers_nothing_of_use_fails_the_task_and_stores_nothing(
    platform: Platform, tenant: Tenant, model: ScriptedModel, word: str, said: str, tmp_path: Path
) -> None:
    model.teach(word, replies=(ScriptedReply(content=said),))
    source = tenant.add_source(make_repository(tmp_path / "repository", knowledge(word)))

    task = tenant.ended(tenant.create(question_about(word), source, "answer"))

    assert task.state == tasks.TASK_STATE_FAILED
    assert task.failure.reason == "model_output_invalid"
    assert task.failure.remedy
    assert "faqgen.answers" not in platform.rows_of(tenant.slug)

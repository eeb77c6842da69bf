from __future__ import annotations

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import Default

from morningai.api.options.v1 import options_pb2
from morningai.api.search.v1 import search_pb2
from morningai.api.sources.v1 import sources_pb2
from morningai.api.tasks.v1 import tasks_pb2
from morningai.api.tenants.v1 import identities_pb2
from morningai.rpc.call import CallClass, MethodRule, UndeclaredScope, rules_of

TASKS = tasks_pb2.DESCRIPTOR.services_by_name["TaskService"].full_name
SOURCES = sources_pb2.DESCRIPTOR.services_by_name["SourceService"].full_name
SEARCH = search_pb2.DESCRIPTOR.services_by_name["SearchService"].full_name


def test_a_method_has_its_scope():
    assert rules_of(TASKS)[f"/{TASKS}/CreateTask"].required_scope == "tasks.write"


def test_methods_between_services_are_internal():
    assert {rule.internal for rule in rules_of(SEARCH).values()} == {True}
    assert {rule.internal for rule in rules_of(TASKS).values()} == {False}


@pytest.mark.parametrize(
    ("service", "method", "call_class"),
    [
        (TASKS, "GetTask", CallClass.READ),
        (TASKS, "CancelTask", CallClass.WRITE),
        (TASKS, "CreateTask", CallClass.CREATE_TASK),
        (TASKS, "WatchTask", CallClass.WATCH),
        (SOURCES, "UploadSource", CallClass.UPLOAD),
        (SOURCES, "CreateSource", CallClass.WRITE),
    ],
)
def test_a_call_is_counted_by_what_its_method_does(service, method, call_class):
    assert rules_of(service)[f"/{service}/{method}"].call_class is call_class


def test_a_method_that_needs_no_proof_is_internal_and_declares_no_scope():
    name = identities_pb2.DESCRIPTOR.services_by_name["IdentityService"].full_name
    method, request = f"/{name}/ExchangeToken", identities_pb2.ExchangeTokenRequest
    assert rules_of(name) == {method: MethodRule(method, request, "", True, CallClass.WRITE)}


@pytest.mark.parametrize(
    ("name", "scope", "internal"),
    [("Public", "", False), ("Scoped", "tasks.read", True), ("Both", "tasks.read", False)],
)
def test_a_service_with_a_public_method_that_needs_no_proof_does_not_start(name, scope, internal):
    file = descriptor_pb2.FileDescriptorProto(name=f"unproven_{name}.proto", package=f"unproven{name}")
    file.dependency.append("morningai/api/options/v1/options.proto")
    file.message_type.add(name="Nothing")
    kind = f".unproven{name}.Nothing"
    method = file.service.add(name=name).method.add(name="Do", input_type=kind, output_type=kind)
    method.options.Extensions[options_pb2.unproven] = True
    method.options.Extensions[options_pb2.required_scope] = scope
    method.options.Extensions[options_pb2.internal] = internal
    Default().AddSerializedFile(file.SerializeToString())
    with pytest.raises(UndeclaredScope, match="is unproven"):
        rules_of(f"unproven{name}.{name}")


def test_a_service_with_a_method_without_a_scope_does_not_start():
    file = descriptor_pb2.FileDescriptorProto(name="undeclared.proto", package="undeclared")
    file.message_type.add(name="Nothing")
    file.service.add(name="Bare").method.add(
        name="Do", input_type=".undeclared.Nothing", output_type=".undeclared.Nothing"
    )
    Default().AddSerializedFile(file.SerializeToString())
    with pytest.raises(UndeclaredScope, match=r"undeclared\.Bare/Do declares no required_scope"):
        rules_of("undeclared.Bare")

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import Default

from morningai.api.search.v1 import search_pb2
from morningai.api.sources.v1 import sources_pb2
from morningai.api.tasks.v1 import tasks_pb2
from morningai.rpc.call import CallClass, UndeclaredScope, rules_of

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


def test_a_service_with_a_method_without_a_scope_does_not_start():
    file = descriptor_pb2.FileDescriptorProto(name="undeclared.proto", package="undeclared")
    file.message_type.add(name="Nothing")
    file.service.add(name="Bare").method.add(
        name="Do", input_type=".undeclared.Nothing", output_type=".undeclared.Nothing"
    )
    Default().AddSerializedFile(file.SerializeToString())
    with pytest.raises(UndeclaredScope, match=r"undeclared\.Bare/Do declares no required_scope"):
        rules_of("undeclared.Bare")

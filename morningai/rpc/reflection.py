"""Server reflection of what a caller may call: the descriptors without internal methods."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import Default, DescriptorPool
from grpc_reflection.v1alpha import reflection

from morningai.rpc.call import MethodRule
from morningai.rpc.registry import REFLECTION, RuledServer


def add_reflection(server: RuledServer, rules: Mapping[str, MethodRule]) -> None:
    """It needs no credential: for doors whose settings say so."""
    public = {name.removeprefix("/") for name, rule in rules.items() if not rule.internal}
    services = sorted({name.rpartition("/")[0] for name in public})
    reflection.enable_server_reflection([*services, REFLECTION], server, pool=_public_pool(services, public))


def _public_pool(services: Collection[str], public: Collection[str]) -> DescriptorPool:
    pool = DescriptorPool()
    known: set[str] = set()
    for service in services:
        _add_file(pool, Default().FindServiceByName(service).file, public, known)
    _add_file(
        pool, Default().FindServiceByName(REFLECTION).file, [*public, f"{REFLECTION}/ServerReflectionInfo"], known
    )
    return pool


def _add_file(pool: DescriptorPool, file: FileDescriptor, public: Collection[str], known: set[str]) -> None:
    """After the files that it imports."""
    if file.name in known:
        return
    known.add(file.name)
    for imported in file.dependencies:
        _add_file(pool, imported, public, known)
    pool.AddSerializedFile(_public_part(file, public).SerializeToString())


def _public_part(file: FileDescriptor, public: Collection[str]) -> FileDescriptorProto:
    shown = FileDescriptorProto()
    file.CopyToProto(shown)
    for service in shown.service:
        methods = [method for method in service.method if f"{file.package}.{service.name}/{method.name}" in public]
        del service.method[:]
        service.method.extend(methods)
    services = [service for service in shown.service if service.method]
    del shown.service[:]
    shown.service.extend(services)
    return shown

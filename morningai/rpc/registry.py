"""A gRPC server that takes no method without a rule: it refuses to be given one, and never serves one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import grpc

from morningai.rpc.call import MethodRule, UndeclaredScope

# What has no scope by its nature: it shows nothing of any tenant.
HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"


class RuledServer(grpc.aio.Server):
    """Passes everything on to `server`; `open_services` are those that need no rule."""

    def __init__(
        self, server: grpc.aio.Server, rules: Mapping[str, MethodRule], open_services: Collection[str] = (HEALTH,)
    ) -> None:
        self._server = server
        self._rules = rules
        self._open_services = open_services

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: dict[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Raises UndeclaredScope that names the first method without a rule."""
        for method in method_handlers:
            if service_name not in self._open_services and f"/{service_name}/{method}" not in self._rules:
                raise UndeclaredScope(
                    f"{service_name}/{method} has no rule here: name its service where the server is made."
                )
        self._server.add_registered_method_handlers(service_name, method_handlers)  # type: ignore[attr-defined]

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler[Any, Any]]) -> None:
        self._server.add_generic_rpc_handlers(generic_rpc_handlers)

    def add_insecure_port(self, address: str) -> int:
        return self._server.add_insecure_port(address)

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        return self._server.add_secure_port(address, server_credentials)

    async def start(self) -> None:
        await self._server.start()

    async def stop(self, grace: float | None = None) -> None:
        await self._server.stop(grace)

    async def wait_for_termination(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109  # as gRPC has it
        return await self._server.wait_for_termination(timeout)


def is_open(method: str, open_services: Collection[str]) -> bool:
    """Whether a method, e.g. /grpc.health.v1.Health/Check, is served without a rule."""
    return method.removeprefix("/").rpartition("/")[0] in open_services

"""How every command is made: its own parameters, the shared options, one boundary where problems become exit codes."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Concatenate, ParamSpec

import typer

from morningai.cli.connection import ConnectionOptions, Place, Principal, find_key, find_place, find_tenant
from morningai.cli.exit_code import ExitCode
from morningai.cli.output import Output
from morningai.cli.problem import Problem, problem_of_call, problem_of_error
from morningai.errors import MorningAIError

if TYPE_CHECKING:
    from morningai.cli.gateway import Gateway

P = ParamSpec("P")

_ADDRESS = Annotated[
    str | None, typer.Option("--address", metavar="HOST:PORT", help="The gateway. [env var: MORNINGAI_ADDRESS]")
]
_DATA_DIR = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Data folder of a running `morningai up`. [env var: MORNINGAI_DATA_DIR]"),
]
_CA = Annotated[
    Path | None,
    typer.Option("--ca", help="PEM file of the authority to trust with https. [env var: MORNINGAI_CA_FILE]"),
]
_CERTIFICATE = Annotated[
    Path | None,
    typer.Option(
        "--certificate",
        help="PEM file of your certificate and its key, where asked for. [env var: MORNINGAI_CERTIFICATE_FILE]",
    ),
]
_KEY = Annotated[
    str | None, typer.Option("--key", help="API key of the tenant; better given as [env var: MORNINGAI_API_KEY]")
]
_OPERATOR_KEY = Annotated[
    str | None, typer.Option("--key", help="The operator's key; better given as [env var: MORNINGAI_OPERATOR_KEY]")
]
_JSON = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


@dataclass(frozen=True)
class Invocation:
    """What a command is given beside its own arguments."""

    output: Output
    connection: ConnectionOptions = field(default_factory=ConnectionOptions)
    principal: Principal = "tenant"

    def place(self) -> Place:
        return find_place(self.connection, os.environ)

    def gateway(self, *, tenant: str = "") -> Gateway:
        """`tenant` comes before MORNINGAI_TENANT; of an API key neither is looked at."""
        from morningai.cli.gateway import Gateway

        place = self.place()
        key = find_key(place, self.connection, os.environ, principal=self.principal)
        return Gateway(place.target, key, tenant=tenant or find_tenant(os.environ))


Command = Callable[Concatenate[Invocation, P], ExitCode]


def gateway_command(
    group: typer.Typer, name: str, *, principal: Principal = "tenant"
) -> Callable[[Command[P]], Command[P]]:
    """Registers a command that talks to the gateway: it also takes --address and the other options of a
    connection, and --json."""

    def register(function: Command[P]) -> Command[P]:
        def run(
            *,
            address: str | None = None,
            key: str | None = None,
            data_dir: Path | None = None,
            ca: Path | None = None,
            certificate: Path | None = None,
            json_output: bool = False,
            **own: object,
        ) -> None:
            connection = ConnectionOptions(address or None, key or None, data_dir, ca, certificate)
            invocation = Invocation(Output(json_output=json_output), connection, principal)
            _end(invocation, lambda: function(invocation, **own))  # type: ignore[call-arg, arg-type]  # by run's signature

        key = _OPERATOR_KEY if principal == "operator" else _KEY
        shared = (
            ("address", _ADDRESS, None),
            ("ca", _CA, None),
            ("certificate", _CERTIFICATE, None),
            ("data_dir", _DATA_DIR, None),
            ("key", key, None),
        )
        _register(group, name, function, run, (*shared, ("json_output", _JSON, False)))
        return function

    return register


def local_command(group: typer.Typer, name: str, *, json_option: bool = True) -> Callable[[Command[P]], Command[P]]:
    """Registers a command that works on this machine; it also takes --json unless it has its own."""

    def register(function: Command[P]) -> Command[P]:
        def run(*, json_output: bool = False, **own: object) -> None:
            invocation = Invocation(Output(json_output=json_output))
            _end(invocation, lambda: function(invocation, **own))  # type: ignore[call-arg, arg-type]  # by run's signature

        _register(group, name, function, run, (("json_output", _JSON, False),) if json_option else ())
        return function

    return register


def _register(
    group: typer.Typer,
    name: str,
    function: Callable[..., ExitCode],
    run: Callable[..., None],
    shared: tuple[tuple[str, object, object], ...],
) -> None:
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    kind = inspect.Parameter.KEYWORD_ONLY
    added = [inspect.Parameter(name, kind, default=default, annotation=option) for name, option, default in shared]
    parameters = [parameter.replace(kind=kind) for parameter in own] + added
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__doc__ = function.__doc__
    group.command(name)(run)


def _end(invocation: Invocation, command: Callable[[], ExitCode]) -> None:
    raise typer.Exit(run_guarded(invocation.output, command))


def run_guarded(output: Output, command: Callable[[], ExitCode]) -> ExitCode:
    """The command's exit code, or the one of the problem it met, which is told."""
    try:
        return command()
    except MorningAIError as error:
        problem = problem_of_error(error)
    except KeyboardInterrupt:
        problem = Problem("Interrupted.", ExitCode.INTERRUPTED, reason="INTERRUPTED")
    except Exception as error:
        grpc = sys.modules.get("grpc")  # a command that never loaded it made no call
        if grpc is None or not isinstance(error, grpc.RpcError):
            raise
        problem = problem_of_call(error)
    output.problem(problem)
    return problem.exit_code

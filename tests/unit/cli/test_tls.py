from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.api.tasks.v1 import tasks_pb2_grpc
from morningai.cli.connection import ConnectionOptions, Target, find_place
from morningai.errors import InvalidInput
from tests.certificates import Authority
from tests.unit.cli.conftest import Cli


class Tasks(tasks_pb2_grpc.TaskServiceServicer):
    def ListTasks(self, request: api.ListTasksRequest, context: grpc.ServicerContext) -> api.ListTasksResponse:
        return api.ListTasksResponse()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def door(authority: Authority) -> Iterator[str]:
    """The address of a gateway that asks for a certificate."""
    pair = authority.issue("door")
    server = grpc.server(ThreadPoolExecutor(2))
    tasks_pb2_grpc.add_TaskServiceServicer_to_server(Tasks(), server)
    own = (pair.key.read_bytes(), pair.certificate.read_bytes())
    credentials = grpc.ssl_server_credentials([own], authority.file.read_bytes(), require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield f"https://127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def own_file(authority: Authority, tmp_path: Path) -> Path:
    pair = authority.issue("client")
    joined = tmp_path / "own.pem"
    joined.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
    return joined


def test_a_gateway_with_a_private_authority_is_reached(
    cli: Cli, door: str, authority: Authority, own_file: Path
) -> None:
    files = ("--ca", str(authority.file), "--certificate", str(own_file))

    said = cli("task", "list", "--address", door, "--key", "mk_1.secret", "--json", *files)

    assert (said.code, said.err) == (0, "")


@pytest.mark.parametrize("left_out", ["--ca", "--certificate"])
def test_it_is_not_without_one_of_the_files(
    cli: Cli, door: str, authority: Authority, own_file: Path, left_out: str
) -> None:
    files = {"--ca": str(authority.file), "--certificate": str(own_file)}
    del files[left_out]

    said = cli(
        "task", "list", "--address", door, "--key", "mk_1.secret", *[part for pair in files.items() for part in pair]
    )

    assert said.code != 0


def test_the_environment_names_the_files(tmp_path: Path) -> None:
    ca, own = tmp_path / "ca.pem", tmp_path / "own.pem"
    ca.touch()
    own.touch()
    environment = {"MORNINGAI_CA_FILE": str(ca), "MORNINGAI_CERTIFICATE_FILE": str(own)}

    place = find_place(ConnectionOptions(address="https://here:1"), environment)

    assert place.target == Target("here:1", tls=True, ca_file=ca, certificate_file=own)


def test_the_environment_s_files_do_not_matter_to_a_plain_address() -> None:
    place = find_place(ConnectionOptions(address="here:1"), {"MORNINGAI_CA_FILE": "/nowhere.pem"})

    assert place.target == Target("here:1")


@pytest.mark.parametrize(
    ("address", "problem"), [("https://here:1", "there is no file"), ("here:1", "is for addresses with TLS")]
)
def test_a_file_that_cannot_be_used_is_refused_by_its_option(address: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem) as refused:
        find_place(ConnectionOptions(address=address, ca=Path("/nowhere.pem")), {})

    assert refused.value.field == "--ca"

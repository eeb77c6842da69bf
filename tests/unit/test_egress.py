from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from morningai.egress import MOST_RESOLVING, AllowList, Destination, EgressGuard, reach_of
from morningai.errors import InvalidInput, Unavailable
from morningai.llm import ModelSettings
from services.docs import settings as docs
from services.gateway import settings as gateway
from services.tenancy import settings as tenancy


def guard(*answers: str, allowed: tuple[str, ...] = ()) -> EgressGuard:
    async def resolver(host: str, port: int) -> list[str]:
        return list(answers)

    return EgressGuard(AllowList.parse(allowed), resolver)


def failing_guard(error: Exception) -> EgressGuard:
    async def resolver(host: str, port: int) -> list[str]:
        raise error

    return EgressGuard(AllowList(), resolver)


INTERNAL = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "168.63.129.16",
    "169.254.169.254",
    "172.31.255.255",
    "192.0.0.192",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "203.0.113.9",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", INTERNAL)
async def test_an_internal_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await guard(address).check("git.example", 443, input_field="remote_uri")
    assert refused.value.field == "remote_uri"


@pytest.mark.parametrize("address", ["8.8.8.8", "140.82.121.4", "2606:50c0:8000::153", "2a00:1450:4001:80b::200e"])
async def test_a_public_address_is_pinned(address: str) -> None:
    destination = await guard(address).check("Git.Example.", 443, input_field="remote_uri")
    assert destination == Destination("git.example", 443, (address,))


async def test_one_internal_address_among_public_ones_refuses_the_host() -> None:
    with pytest.raises(InvalidInput):
        await guard("8.8.8.8", "10.0.0.1").check("git.example", 443, input_field="remote_uri")


async def test_a_number_that_the_resolver_reads_as_loopback_is_refused() -> None:
    with pytest.raises(InvalidInput):
        await EgressGuard().check("2130706433", 443, input_field="remote_uri")


async def test_a_literal_ipv6_loopback_in_brackets_is_refused() -> None:
    with pytest.raises(InvalidInput):
        await EgressGuard().check("[::1]", 443, input_field="remote_uri")


async def test_an_allowed_name_may_be_internal() -> None:
    destination = await guard("10.0.0.7", allowed=("git.corp.example",)).check(
        "git.corp.example", 443, input_field="remote_uri"
    )
    assert destination.addresses == ("10.0.0.7",)


async def test_another_name_with_the_same_address_stays_refused() -> None:
    with pytest.raises(InvalidInput):
        await guard("10.0.0.7", allowed=("git.corp.example",)).check("evil.example", 443, input_field="remote_uri")


async def test_an_allowed_network_may_be_reached_by_any_name() -> None:
    destination = await guard("127.0.0.1", allowed=("127.0.0.0/8",)).check("localhost", 80, input_field="remote_uri")
    assert destination.addresses == ("127.0.0.1",)


async def test_an_allowed_name_that_points_to_the_metadata_service_is_refused() -> None:
    with pytest.raises(InvalidInput):
        await guard("169.254.169.254", allowed=("git.corp.example",)).check(
            "git.corp.example", 80, input_field="remote_uri"
        )


async def test_the_internal_address_itself_is_not_told() -> None:
    with pytest.raises(InvalidInput) as refused:
        await guard("10.9.8.7").check("git.example", 443, input_field="remote_uri")
    assert "10.9.8.7" not in str(refused.value)


async def test_names_are_resolved_while_every_other_thread_is_busy() -> None:
    done = threading.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    busy = loop.run_in_executor(None, done.wait, 20)
    guard = EgressGuard(AllowList.parse(["127.0.0.1"]), timeout_seconds=2.0)
    try:
        assert (await guard.check("127.0.0.1", 443, input_field="url")).addresses == ("127.0.0.1",)
    finally:
        done.set()
        await busy


async def test_a_bounded_number_of_names_is_resolved_at_a_time() -> None:
    guard = EgressGuard(AllowList.parse(["127.0.0.1"]))
    await asyncio.gather(*(guard.check("127.0.0.1", port, input_field="url") for port in range(1, 201)))
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("egress")]
    assert 0 < len(threads) <= MOST_RESOLVING


async def test_a_name_that_does_not_exist_is_wrong_input() -> None:
    with pytest.raises(InvalidInput, match="does not exist"):
        await failing_guard(socket.gaierror(socket.EAI_NONAME, "unknown")).check("x.example", 443, input_field="url")


async def test_a_resolver_that_fails_for_now_is_retried() -> None:
    with pytest.raises(Unavailable):
        await failing_guard(socket.gaierror(socket.EAI_AGAIN, "again")).check("x.example", 443, input_field="url")


async def test_a_host_without_addresses_is_refused() -> None:
    with pytest.raises(InvalidInput):
        await guard().check("x.example", 443, input_field="url")


@pytest.mark.parametrize("entry", ["10.0.0.1/8", "*.example.com", "a b"])
def test_an_allow_list_entry_that_is_neither_name_nor_network_stops_the_start(entry: str) -> None:
    with pytest.raises(ValueError, match="neither"):
        AllowList.parse([entry])


def test_an_address_that_hides_the_metadata_service_is_never_allowed() -> None:
    assert reach_of(ipaddress.ip_address("::ffff:169.254.169.254")) == "never"


@pytest.mark.parametrize(
    ("settings", "own"),
    [
        (docs.Settings, ["docs_egress_allowed"]),
        (gateway.Settings, ["webhook_egress_allowed"]),
        (tenancy.Settings, ["model_egress_allowed", "identity_egress_allowed"]),
        (ModelSettings, ["egress_allowed"]),
    ],
)
def test_what_is_allowed_for_one_purpose_is_read_for_no_other(settings, own):
    assert [name for name in settings.model_fields if "egress" in name] == own

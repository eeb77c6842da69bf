"""The one guard for connections to addresses a tenant chose: resolve once, deny internal, connect to what was checked.

Invariant: callers connect only to the addresses of a `Destination`, so a name that changes its answer after the check
gains nothing. A redirect is a new destination and is checked again.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Literal, TypeAlias

import structlog
from pydantic import AfterValidator

from morningai.errors import InvalidInput, Unavailable

log = structlog.get_logger()

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver: TypeAlias = Callable[[str, int], Awaitable[list[str]]]
Reach: TypeAlias = Literal["public", "internal", "never"]

# Written out, because `is_global` of Python 3.11 says yes to NAT64, 6to4 and multicast.
_INTERNAL = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
        "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "::1/128", "2001::/23", "2001:db8::/32", "3fff::/20", "fc00::/7", "fec0::/10",
    )
)  # fmt: skip
# What no allowed name may stand for: metadata services, link-local, multicast, unspecified, reserved.
_NEVER = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32", "224.0.0.0/3",
        "::/128", "fe80::/10", "ff00::/8", "fd00:ec2::254/128", "fd20:ce::254/128",
    )
)  # fmt: skip
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = tuple(ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48"))
_IPV4_COMPATIBLE = ipaddress.IPv6Network("::/96")
# Threads of their own: a name that a tenant chose may take the resolver long, and nothing else waits behind it.
MOST_RESOLVING = 32
_RESOLVING = ThreadPoolExecutor(MOST_RESOLVING, thread_name_prefix="egress")


@dataclass(frozen=True, slots=True)
class Destination:
    """A host whose addresses were checked; connect to one of them and to nothing else."""

    host: str
    port: int
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AllowList:
    """Internal hosts that an operator allows, by name or network; empty by default."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[IPNetwork, ...] = ()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> AllowList:
        """Names and networks, e.g. `git.corp.example`, `10.20.0.0/16`, `127.0.0.1`. Raises ValueError for neither."""
        hosts: set[str] = set()
        networks: list[IPNetwork] = []
        for entry in (entry.strip().lower().rstrip(".") for entry in entries if entry.strip()):
            network = _parse_network(entry)
            if network is not None:
                networks.append(network)
            elif "/" in entry or "*" in entry or " " in entry:
                raise ValueError(f"'{entry}' is neither a host name nor a network")
            else:
                hosts.add(entry)
        return cls(hosts=frozenset(hosts), networks=tuple(networks))

    def allows(self, host: str, address: IPAddress) -> bool:
        if any(address in network for network in self.networks):
            return True
        return host in self.hosts and reach_of(address) != "never"


async def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host by the system's resolver. Raises OSError."""
    loop = asyncio.get_running_loop()
    ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    found = await loop.run_in_executor(_RESOLVING, ask)
    return [str(address[0]) for _, _, _, _, address in found]


def _checked(hosts: str) -> str:
    AllowList.parse(hosts.split(","))
    return hosts


# A setting: an AllowList as people write it, by commas.
EgressList: TypeAlias = Annotated[str, AfterValidator(_checked)]


@dataclass(frozen=True, slots=True)
class EgressGuard:
    """Checks destinations; one for each purpose, from its own setting."""

    allowed: AllowList = field(default_factory=AllowList)
    resolver: Resolver = resolve
    timeout_seconds: float = 5.0

    async def check(self, host: str, port: int, *, input_field: str) -> Destination:
        """Resolve a host and refuse it when any of its addresses is internal.

        Raises InvalidInput for `input_field`, or Unavailable when the resolver does not answer.
        """
        name = host.strip("[]").lower().rstrip(".")
        addresses = await self._resolve(name, port, input_field)
        for address in addresses:
            if reach_of(address) != "public" and not self.allowed.allows(name, address):
                # Which address is for the operator alone: told to a tenant, it would map the network inside.
                log.warning("egress.refused", host=name, address=str(address), field=input_field)
                raise InvalidInput(
                    input_field,
                    f"host '{host}' has an internal address.",
                    remedy="Use a public host, or ask the operator to allow it.",
                )
        return Destination(host=name, port=port, addresses=tuple(str(address) for address in addresses))

    async def check_url(self, scheme: str, host: str, port: int, *, input_field: str) -> Destination:
        """As `check`; without encryption only hosts are reached that the operator allows."""
        destination = await self.check(host, port, input_field=input_field)
        if scheme != "https" and not all(
            self.allowed.allows(destination.host, ipaddress.ip_address(address)) for address in destination.addresses
        ):
            raise InvalidInput(input_field, "is not an https address.", remedy="Use https://host/path.")
        return destination

    async def _resolve(self, name: str, port: int, input_field: str) -> list[IPAddress]:
        try:
            async with asyncio.timeout(self.timeout_seconds):
                answers = await self.resolver(name, port)
        except TimeoutError as error:
            raise Unavailable(f"The resolver did not answer for '{name}'.") from error
        except (OSError, UnicodeError) as error:
            if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
                raise Unavailable(f"The resolver did not answer for '{name}'.") from error
            raise InvalidInput(input_field, f"host '{name}' does not exist.", remedy="Check its spelling.") from error
        # A scoped address (`fe80::1%eth0`) parses with its scope, and the scope does not hide it from the check.
        addresses = [ipaddress.ip_address(answer) for answer in dict.fromkeys(answers)]
        if not addresses:
            raise InvalidInput(input_field, f"host '{name}' has no address.", remedy="Check its spelling.")
        return addresses


def reach_of(address: IPAddress) -> Reach:
    """Whether an address is public, internal, or one that no name may stand for."""
    reaches = [_own_reach(address), *(_own_reach(embedded) for embedded in _embedded_ipv4(address))]
    if "never" in reaches:
        return "never"
    return "public" if reaches == ["public"] else "internal"


def _own_reach(address: IPAddress) -> Reach:
    if any(address in network for network in _NEVER):
        return "never"
    if any(address in network for network in _INTERNAL):
        return "internal"
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST:
        return "internal"
    return "public"


def _embedded_ipv4(address: IPAddress) -> list[ipaddress.IPv4Address]:
    """IPv4 addresses that a translating network would reach; an address that carries one is never public."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    embedded = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in (*_NAT64, _IPV4_COMPATIBLE)) and int(address) > 1:
        embedded.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [found for found in embedded if found is not None]


def _parse_network(entry: str) -> IPNetwork | None:
    try:
        return ipaddress.ip_network(entry.strip("[]"), strict=True)
    except ValueError:
        return None

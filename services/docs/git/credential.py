"""Hands git the credential of one host through a pipe.

Invariant: the token is in no argument, no environment and no file. Git reads it when the host asks for a credential,
and has none for any other host.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from services.docs.domain import Credential, Remote

# Git appends what it wants: `get`, and later `store` or `erase`, for which there is nothing to do.
_HELPER = '!answer() {{ test "$1" = get && cat /dev/fd/{descriptor}; }}; answer'


@dataclass(frozen=True, slots=True)
class Handover:
    """What a command needs to be given a credential; `hidden` is what nothing that git writes may show."""

    configuration: Mapping[str, str] = field(default_factory=dict)
    descriptors: tuple[int, ...] = ()
    hidden: tuple[str, ...] = field(default=(), repr=False)


@contextmanager
def handed_over(credential: Credential | None, remote: Remote) -> Iterator[Handover]:
    """For one command while the block lasts; nothing without a credential."""
    if credential is None:
        yield Handover()
        return
    reading, writing = os.pipe()
    try:
        with open(writing, "wb") as pipe:
            pipe.write(f"username={credential.username}\npassword={credential.token}\n".encode("ascii"))
        yield Handover(
            configuration={f"credential.{_origin(remote)}.helper": _HELPER.format(descriptor=reading)},
            descriptors=(reading,),
            hidden=_spellings(credential),
        )
    finally:
        os.close(reading)


def _origin(remote: Remote) -> str:
    return f"https://{urlsplit(remote.uri).netloc}"


def _spellings(credential: Credential) -> tuple[str, ...]:
    """The token as it is, in a URL, and in the header that carries it."""
    header = base64.b64encode(f"{credential.username}:{credential.token}".encode("ascii")).decode("ascii")
    return credential.token, quote(credential.token, safe=""), header

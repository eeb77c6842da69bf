"""Fetches a remote to a commit, and runs what else talks to it: only at addresses that the egress guard checked,
without following redirects.

Invariant: git never resolves the host itself; https gets the checked addresses pinned, ssh connects to one of them. A
credential is for the remote's own host.
"""

from __future__ import annotations

import ipaddress
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from morningai.egress import Destination, EgressGuard
from morningai.errors import InvalidInput, MorningAIError, Unavailable
from services.docs.domain import Credential, Remote, is_commit, parse_revision
from services.docs.git.credential import handed_over
from services.docs.git.process import Command, GitFailed, GitOutputTooLarge, GitTimedOut, run_git
from services.docs.git.store import INCOMING_REF, GitStore

UPLOAD_REMEDY = "Or upload the repository: `morningai source add NAME PATH`."
CREDENTIAL_REMEDY = f"Store one: `morningai source credential set NAME`. {UPLOAD_REMEDY}"
REFUSALS = ("could not read username", "authentication failed", "returned error: 401", "returned error: 403")
# Phrases of git, curl and ssh, and what they mean: the field (empty: try again), the problem, the remedy.
_PHRASES = (
    (("couldn't find remote ref", "not our ref", "no such remote ref"), "revision", "the remote has no such revision.",
     "Check the branch, tag or commit."),
    (REFUSALS, "remote_uri", "the remote wants a credential.", CREDENTIAL_REMEDY),
    (("permission denied",), "remote_uri", "the remote wants another key.", UPLOAD_REMEDY),
    (("host key verification failed",), "remote_uri", "the host's key is not known.",
     "Ask the operator to add it to the file in MORNINGAI_DOCS_SSH_KNOWN_HOSTS."),
    (("returned error: 30", "unable to update url base from redirection"), "remote_uri", "the remote redirects.",
     "Use the address it redirects to."),
    (("certificate",), "remote_uri", "the host's certificate is not valid.",
     "Ask the operator to add its authority to the file in MORNINGAI_DOCS_CERTIFICATE_FILE."),
    (("not found", "does not exist", "does not appear to be a git repository", "returned error: 404",
      "returned error: 410"), "remote_uri", "there is no repository.",
     "Check its spelling. Some hosts say so of what a credential is missing for."),
    (("fsck error",), "remote_uri", "git refuses objects in it.", "Run `git fsck --strict` on it and repair it."),
    (("signal 25", "file too large", "invalid index-pack output"), "remote_uri", "it is larger than allowed.",
     "Ask the operator to raise MORNINGAI_DOCS_REPOSITORY_BYTES."),
    (("failed to connect", "couldn't connect", "connection refused", "connection timed out", "connection reset",
      "timed out", "too slow", "returned error: 429", "returned error: 5", "early eof", "hung up",
      "recv error", "recv failure", "ssl_read"), "", "", ""),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RemoteAccess:
    """What an operator provides for remotes: the guard, and files for ssh and private certificate authorities."""

    guard: EgressGuard = field(default_factory=EgressGuard)
    certificate_file: Path | None = None
    ssh_key_file: Path | None = None
    ssh_known_hosts_file: Path | None = None


async def fetch_remote(
    remote: Remote,
    store: GitStore,
    access: RemoteAccess,
    *,
    revision: str = "HEAD",
    credential: Credential | None = None,
) -> str:
    """Fetch a revision with its history into the store and return its commit; `credential` is for https.

    Raises InvalidInput for "remote_uri", "revision" or "credential", and Unavailable when another try may help.
    """
    arguments = (
        "fetch", "--quiet", "--no-tags", "--no-write-fetch-head",
        "--no-recurse-submodules", "--no-auto-maintenance", "--no-show-forced-updates", "--end-of-options",
        remote.uri, f"+{parse_revision(revision)}:{INCOMING_REF}",
    )  # fmt: skip
    try:
        await run_against(remote, store, access, *arguments, credential=credential)
    except GitFailed as error:
        raise explain(error, remote, with_credential=credential is not None) from error
    except (GitTimedOut, GitOutputTooLarge) as error:
        raise Unavailable(f"Fetching {remote.uri} took more than {store.limits.timeout_seconds:.0f} s.") from error
    commit = await store.resolve_commit(INCOMING_REF)
    await store.keep(commit)
    return commit


async def read_branch(
    remote: Remote, store: GitStore, access: RemoteAccess, *, branch: str, credential: Credential | None = None
) -> str:
    """The commit that a branch of the remote is at, or its HEAD.

    Raises InvalidInput for "remote_uri", "branch" or "credential", and Unavailable when another try may help.
    """
    ref = f"refs/heads/{branch}" if branch else "HEAD"
    try:
        output = await run_against(
            remote, store, access, "ls-remote", "--quiet", "--end-of-options", remote.uri, ref, credential=credential
        )
    except GitFailed as error:
        raise explain(error, remote, with_credential=credential is not None) from error
    except (GitTimedOut, GitOutputTooLarge) as error:
        raise Unavailable(f"Asking {remote.uri} took more than {store.limits.timeout_seconds:.0f} s.") from error
    for line in output.decode("utf-8", "replace").splitlines():
        commit, _, name = line.partition("\t")
        if name == ref and is_commit(commit):
            return commit
    raise InvalidInput("branch", f"the remote has no '{branch or 'HEAD'}'.", remedy="Check the branch, or push it.")


async def run_against(
    remote: Remote, store: GitStore, access: RemoteAccess, *arguments: str, credential: Credential | None
) -> bytes:
    """A git command that talks to the remote, at an address that the guard checked for it.

    Raises InvalidInput("remote_uri") and Unavailable, and what `run_git` raises.
    """
    destination = await access.guard.check(remote.host, remote.port, input_field="remote_uri")
    with handed_over(credential, remote) as handover:
        command = Command.make(
            "--git-dir",
            str(store.folder),
            *arguments,
            configuration={**_https_configuration(remote, destination, access), **handover.configuration},
            environment=_ssh_environment(remote, destination, access),
            protocols=remote.scheme,
            descriptors=handover.descriptors,
            hidden=handover.hidden,
        )
        return await run_git(command, store.limits)


def explain(error: GitFailed, remote: Remote, *, with_credential: bool = False) -> MorningAIError:
    """The product's error for what git, curl or ssh wrote."""
    written = error.error_output.lower()
    if with_credential and any(phrase in written for phrase in REFUSALS):
        return InvalidInput(
            "credential",
            f"{remote.host} does not accept the stored one for this repository.",
            remedy="Store one that may read it: `morningai source credential set NAME`.",
        )
    for phrases, input_field, problem, remedy in _PHRASES:
        if any(phrase in written for phrase in phrases):
            if not input_field:
                return Unavailable(f"{remote.host} did not answer ({error.fatal}).")
            return InvalidInput(input_field, problem, remedy=remedy)
    return InvalidInput("remote_uri", f"git cannot read it ({error.fatal}).", remedy=UPLOAD_REMEDY)


def _https_configuration(remote: Remote, destination: Destination, access: RemoteAccess) -> dict[str, str]:
    if remote.scheme != "https":
        return {}
    configuration = {"http.curloptResolve": pinned_resolution(destination)}
    if access.certificate_file is not None:
        configuration["http.sslCAInfo"] = str(access.certificate_file)
    return configuration


def pinned_resolution(destination: Destination) -> str:
    """curl's `HOST:PORT:ADDRESS[,ADDRESS]…`; a literal address needs none, and an empty value clears the list."""
    if _is_address(destination.host):
        return ""
    addresses = ",".join(f"[{address}]" if ":" in address else address for address in destination.addresses)
    return f"{destination.host}:{destination.port}:{addresses}"


def _ssh_environment(remote: Remote, destination: Destination, access: RemoteAccess) -> dict[str, str]:
    if remote.scheme != "ssh":
        return {}
    return {"GIT_SSH_COMMAND": shlex.join(ssh_command(destination, access)), "GIT_SSH_VARIANT": "ssh"}


def ssh_command(destination: Destination, access: RemoteAccess) -> list[str]:
    """An ssh that connects to the checked address, accepts only a known key and asks nothing."""
    alias = destination.host if destination.port == 22 else f"[{destination.host}]:{destination.port}"
    options = {
        "HostName": destination.addresses[0],
        "HostKeyAlias": alias,
        "CheckHostIP": "no",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(access.ssh_known_hosts_file or "/dev/null"),
        "GlobalKnownHostsFile": "/dev/null",
        "UpdateHostKeys": "no",
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "IdentityFile": str(access.ssh_key_file or "none"),
        "PreferredAuthentications": "publickey",
        "ProxyCommand": "none",
        "PermitLocalCommand": "no",
        "ForwardAgent": "no",
        "ClearAllForwardings": "yes",
        "ControlPath": "none",
        "ConnectTimeout": "15",
    }
    return ["ssh", "-F", "/dev/null", *(part for key, value in options.items() for part in ("-o", f"{key}={value}"))]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

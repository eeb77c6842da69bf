"""The credentials of sources: sealed for the tenant, the source and its remote, opened only to fetch from it."""

from __future__ import annotations

from morningai.db.session import Session
from morningai.errors import FailedPrecondition
from morningai.secrets.vault import Vault
from services.docs import repository
from services.docs.domain import Credential, Source, parse_remote


async def set_credential(session: Session, vault: Vault, source_id: str, credential: Credential) -> Source:
    """Raises NotFound, and FailedPrecondition for a source that is fetched from no https remote."""
    source = await repository.get_source(session, source_id)
    host = _https_host(source)
    sealed = await vault.seal(
        session, repository.credential_cell(session.tenant_id, source), credential.token.encode("ascii")
    )
    await repository.put_credential(session, source_id, username=credential.username, token=sealed)
    await repository.record(session, "set_credential", source, {"host": host, "username": credential.username})
    return await repository.get_source(session, source_id)


async def clear_credential(session: Session, source_id: str) -> Source:
    """Raises NotFound."""
    source = await repository.get_source(session, source_id)
    if await repository.delete_credential(session, source_id):
        await repository.record(session, "clear_credential", source, {})
    return await repository.get_source(session, source_id)


async def open_credential(session: Session, vault: Vault, source: Source) -> Credential | None:
    """None when the source has none. Raises CannotOpen."""
    stored = await repository.get_credential(session, source.source_id)
    if stored is None:
        return None
    username, sealed = stored
    token = await vault.open(session, repository.credential_cell(session.tenant_id, source), sealed)
    return Credential(username, token.decode("ascii"))


def _https_host(source: Source) -> str:
    if not source.remote_uri.startswith("https://"):
        raise FailedPrecondition(
            f"{source.name} is fetched from no https remote.", remedy="Only an https remote takes a token."
        )
    return parse_remote(source.remote_uri).host

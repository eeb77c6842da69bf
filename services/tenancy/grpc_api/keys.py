"""ApiKeyService."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from morningai.api.tenants.v1 import keys_pb2 as api
from morningai.api.tenants.v1 import keys_pb2_grpc
from morningai.db.session import Database
from morningai.rpc.call import Context, rpc_session
from morningai.rpc.time import duration, moment, timestamp
from services.tenancy.domain.keys import (
    KEY_ID,
    ApiKey,
    PresentableKey,
    check_new_key,
    check_overlap,
    check_rotation,
    parse_key_id,
)
from services.tenancy.domain.pages import Place, check_page
from services.tenancy.repository import keys as repository


class ApiKeyServicer(keys_pb2_grpc.ApiKeyServiceServicer):
    def __init__(self, database: Database) -> None:
        self._database = database

    async def CreateApiKey(self, request: api.CreateApiKeyRequest, context: Context) -> api.CreateApiKeyResponse:
        given = request.api_key
        expires = moment(given.expire_time, field="api_key.expire_time") if given.HasField("expire_time") else None
        key = make_key()
        async with rpc_session(self._database) as session:
            new = check_new_key(
                display_name=given.display_name,
                scopes=given.scopes,
                expires_at=expires,
                held=session.scopes,
                now=datetime.now(UTC),
            )
            created = await repository.create_key(session, new, key)
        return api.CreateApiKeyResponse(api_key=_message(created), key=str(key))

    async def ListApiKeys(self, request: api.ListApiKeysRequest, context: Context) -> api.ListApiKeysResponse:
        page = check_page(request.page_size, request.page_token, id_form=KEY_ID)
        async with rpc_session(self._database) as session:
            found = await repository.list_keys(session, page)
        last = found[page.size - 1] if len(found) > page.size else None
        return api.ListApiKeysResponse(
            api_keys=[_message(key) for key in found[: page.size]],
            next_page_token=Place(last.created_at, last.key_id).token() if last else "",
        )

    async def GetApiKey(self, request: api.GetApiKeyRequest, context: Context) -> api.ApiKey:
        async with rpc_session(self._database) as session:
            return _message(await repository.get_key(session, parse_key_id(request.name)))

    async def RotateApiKey(self, request: api.RotateApiKeyRequest, context: Context) -> api.RotateApiKeyResponse:
        given = duration(request.overlap, field="overlap") if request.HasField("overlap") else None
        key = make_key(parse_key_id(request.name))
        overlap = check_overlap(given)
        async with rpc_session(self._database) as session:
            current = await repository.get_key(session, key.key_id)
            check_rotation(current, held=session.scopes, now=datetime.now(UTC))
            rotated = await repository.rotate_key(session, key, overlap)
        return api.RotateApiKeyResponse(api_key=_message(rotated), key=str(key))

    async def RevokeApiKey(self, request: api.RevokeApiKeyRequest, context: Context) -> api.ApiKey:
        async with rpc_session(self._database) as session:
            return _message(await repository.revoke_key(session, parse_key_id(request.name)))


def make_key(key_id: str = "") -> PresentableKey:
    """A new secret, and a new id where none is given."""
    return PresentableKey(key_id or f"mk_{secrets.token_hex(8)}", secrets.token_urlsafe(32))


def _message(key: ApiKey) -> api.ApiKey:
    return api.ApiKey(
        name=key.name,
        display_name=key.display_name,
        scopes=key.scopes,
        creator=key.creator,
        create_time=timestamp(key.created_at),
        expire_time=timestamp(key.expires_at),
        last_used_time=timestamp(key.last_used_at),
        revoke_time=timestamp(key.revoked_at),
        previous_secret_expire_time=timestamp(key.previous_expires_at),
    )

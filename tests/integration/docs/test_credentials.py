"""A private repository over https: its credential in real rows, on its way to git, and nowhere else."""

from __future__ import annotations

import base64
from urllib.parse import quote

import psycopg
import pytest
from structlog.testing import capture_logs

from morningai.db.session import Database
from morningai.errors import FailedPrecondition, InvalidInput
from morningai.secrets.key_ring import KeyRing, make_key
from morningai.secrets.rewrap import rewrap
from morningai.secrets.sealed import CannotOpen
from morningai.secrets.vault import Vault
from services.docs import repository
from services.docs.credentials import clear_credential, open_credential, set_credential
from services.docs.domain import LONGEST_TOKEN, LONGEST_USERNAME, Credential, parse_credential
from services.docs.git import process
from services.docs.git.bundle import verify_bundle
from services.docs.git.remote import fetch_remote
from services.docs.settings import Settings
from services.docs.sources import SourceStores
from tests.git_server import ADDRESS, serving_git

TOKEN = "glpat-+hush/hush=0123"
CREDENTIAL = Credential("deploy", TOKEN)
OLD, NEW = make_key("old"), make_key("new")
SETTINGS = ("database_dsn", "relay_dsn", "nats_url", "nats_user", "nats_password", "grpc_address", "tenancy_address")
SPELLINGS = (TOKEN, quote(TOKEN, safe=""), base64.b64encode(f"deploy:{TOKEN}".encode()).decode())


@pytest.fixture
def private(server):
    server.username, server.token = "deploy", TOKEN
    return server


@pytest.fixture
def other(project, tmp_path):
    """Another host, which asks for a credential too."""
    (folder := tmp_path / "other").mkdir()
    with serving_git(project.folder, folder) as running:
        running.token = "another token"
        yield running


async def fetch(server, store, path="private", credential=CREDENTIAL):
    return await fetch_remote(server.remote(path), store, server.access(), credential=credential)


async def test_a_private_repository_is_fetched_with_its_credential(project, private, store):
    assert await fetch(private, store) == project.git("rev-parse", "HEAD")
    assert set(private.authorizations) == {private.expected}


async def test_the_longest_credential_fits_into_the_pipe(private, store):
    longest = parse_credential("u" * LONGEST_USERNAME, "t" * LONGEST_TOKEN)
    private.username, private.token = longest.username, longest.token
    await fetch(private, store, credential=longest)


async def test_it_is_fetched_again_with_it(project, private, store):
    await fetch(private, store)
    commit = project.commit({"new.txt": "new\n"})
    assert await fetch(private, store) == commit


async def test_without_a_credential_the_refusal_says_how_to_store_one(private, store):
    with pytest.raises(InvalidInput, match="wants a credential") as refused:
        await fetch(private, store, credential=None)
    assert refused.value.field == "remote_uri"
    assert "morningai source credential set" in refused.value.remedy


@pytest.mark.parametrize("wrong", [Credential("deploy", "wrong-token"), Credential("other", TOKEN)])
async def test_a_wrong_credential_is_named_and_never_shown(private, store, wrong):
    with pytest.raises(InvalidInput, match=r"git\.invalid does not accept") as refused:
        await fetch(private, store, credential=wrong)
    assert refused.value.field == "credential"
    assert "morningai source credential set" in refused.value.remedy
    assert wrong.token not in f"{refused.value} {refused.value.__cause__.error_output}"


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_a_token_that_the_remote_repeats_is_hidden(private, store, spelling):
    private.error = f"no entry for {spelling}"
    with pytest.raises(InvalidInput, match=r"no entry for \[hidden\]") as refused:
        await fetch(private, store, path="private")
    assert spelling not in f"{refused.value} {refused.value.__cause__.error_output}"


async def test_a_remote_that_asks_for_nothing_is_not_told(private, store):
    await fetch(private, store, path="project")
    assert private.authorizations == []


async def test_the_token_is_in_no_argument_environment_or_file(private, store):
    await fetch(private, store)
    shown = b"\n".join(private.processes)
    assert b"git-remote-https" in shown
    assert b"credential.https://git.invalid" in shown
    contents = [path.read_bytes() for path in store.folder.rglob("*") if path.is_file()]
    assert len(contents) > 3
    spellings = [spelling.encode() for spelling in SPELLINGS]
    assert not [spelling for spelling in spellings if spelling in shown or any(spelling in c for c in contents)]


@pytest.mark.parametrize("path", ["moved", "guarded"])
async def test_a_redirect_to_another_host_is_not_followed(private, other, store, path):
    private.target = f"https://{ADDRESS}:{other.port}/private"
    with pytest.raises(InvalidInput, match="redirects"):
        await fetch(private, store, path=path)
    assert other.requests == []


@pytest.mark.parametrize("path", ["moved", "guarded"])
async def test_even_a_git_that_follows_has_no_credential_for_another_host(private, other, store, path, monkeypatch):
    monkeypatch.setitem(process._CONFIGURATION, "http.followRedirects", "true")
    monkeypatch.setitem(process._CONFIGURATION, "http.sslVerify", "false")
    private.target = f"https://{ADDRESS}:{other.port}/private"
    with pytest.raises(InvalidInput):
        await fetch(private, store, path=path)
    assert other.requests
    assert other.authorizations == []


async def test_the_other_host_would_have_seen_it(private, other, store):
    """Else the tests above would prove nothing."""
    with pytest.raises(InvalidInput, match="does not accept"):
        await fetch(other, store)
    assert other.authorizations == [private.expected]


@pytest.fixture
async def docs(database):
    pool = Database(database.dsn("docs_app"))
    await pool.open()
    yield pool
    await pool.close()


@pytest.fixture
def uri(private):
    return f"https://{ADDRESS}:{private.port}/private"


@pytest.fixture
async def source(docs, tenant, uri):
    return await register(docs, tenant, uri)


async def register(docs, tenant, uri):
    async with docs.tenant_session(tenant.grant()) as session:
        return await repository.insert_source(session, source_id="shop", repository=uri, remote_uri=uri)


async def put(docs, tenant, ring=OLD, credential=CREDENTIAL):
    async with docs.tenant_session(tenant.grant()) as session:
        return await set_credential(session, Vault(KeyRing.parse(ring)), "shop", credential)


async def opened(docs, tenant, source, ring=OLD):
    async with docs.tenant_session(tenant.grant()) as session:
        return await open_credential(session, Vault(KeyRing.parse(ring)), source)


async def test_what_is_stored_is_told_without_the_token(docs, tenant, source):
    kept = await put(docs, tenant)
    assert (kept.credential_username, TOKEN in repr(kept)) == ("deploy", False)
    async with docs.tenant_session(tenant.grant()) as session:
        listed = await repository.list_sources(session, after="", limit=10)
    assert [(one.credential_username, one.credential_set_at) for one in listed] == [("deploy", kept.credential_set_at)]


async def test_it_opens_for_its_source(docs, tenant, source):
    await put(docs, tenant)
    assert await opened(docs, tenant, source) == CREDENTIAL


async def test_a_second_one_takes_the_place_of_the_first(docs, tenant, source):
    await put(docs, tenant)
    await put(docs, tenant, credential=Credential("git", "another-token"))
    assert await opened(docs, tenant, source) == Credential("git", "another-token")


async def test_a_cleared_one_is_gone(docs, tenant, source, database):
    await put(docs, tenant)
    for _ in range(2):
        async with docs.tenant_session(tenant.grant()) as session:
            assert (await clear_credential(session, "shop")).credential_set_at is None
    assert await opened(docs, tenant, source) is None
    assert database.rows("SELECT count(*) FROM docs.source_credentials") == [(0,)]


async def test_each_act_is_an_entry_of_the_audit_log(docs, tenant, source, database):
    await put(docs, tenant)
    for _ in range(2):
        async with docs.tenant_session(tenant.grant()) as session:
            await clear_credential(session, "shop")
    entries = database.rows(
        "SELECT action, resource, details FROM tenancy.audit_log WHERE tenant_id = %s AND action ~ 'sources'"
        " ORDER BY created_at",
        tenant.tenant_id,
    )
    assert entries == [
        ("sources.set_credential", "sources/shop", {"host": ADDRESS, "username": "deploy"}),
        ("sources.clear_credential", "sources/shop", {}),
    ]


async def test_an_ssh_remote_takes_no_token(docs, tenant):
    await register(docs, tenant, "ssh://git@git.example/shop.git")
    with pytest.raises(FailedPrecondition, match="no https remote"):
        await put(docs, tenant)


MOVES = {
    "to another remote": "UPDATE docs.sources SET remote_uri = 'https://elsewhere.example/private'",
    "to another source": (
        "INSERT INTO docs.sources (tenant_id, source_id, kind, repository, remote_uri)"
        " SELECT tenant_id, 'other', kind, repository, remote_uri FROM docs.sources;"
        "UPDATE docs.source_credentials SET source_id = 'other'"
    ),
}


@pytest.mark.parametrize("move", MOVES)
async def test_moved_by_hand_it_does_not_open(docs, tenant, source, database, move):
    await put(docs, tenant)
    database.execute(MOVES[move])
    source_id = str(database.rows("SELECT source_id FROM docs.source_credentials")[0][0])
    async with docs.tenant_session(tenant.grant()) as session:
        moved = await repository.get_source(session, source_id)
    with pytest.raises(CannotOpen):
        await opened(docs, tenant, moved)


async def test_another_tenant_s_opens_in_no_other_tenant(docs, tenant, source, database, uri):
    stranger = database.create_tenant("stranger")
    await put(docs, tenant)
    theirs = await register(docs, stranger, uri)
    assert await opened(docs, stranger, theirs) is None
    copied = {"data_keys": "data_key_id, wrapped", "source_credentials": "source_id, username, token"}
    for table, columns in copied.items():
        chosen = f"SELECT '{stranger.tenant_id}', {columns} FROM docs.{table}"
        database.execute(f"INSERT INTO docs.{table} (tenant_id, {columns}) {chosen}")
    with pytest.raises(CannotOpen):
        await opened(docs, stranger, theirs)


async def test_the_wrapping_key_is_replaced_while_it_opens(docs, tenant, source, database):
    await put(docs, tenant)
    both = KeyRing.parse(f"{NEW},{OLD}")
    assert rewrap(database.admin_dsn, "docs", both) == 1
    assert await opened(docs, tenant, source, NEW) == CREDENTIAL
    with pytest.raises(CannotOpen):
        await opened(docs, tenant, source, OLD)


async def test_no_row_holds_the_token(docs, tenant, source, database):
    await put(docs, tenant)
    with psycopg.connect(database.admin_dsn) as connection:
        tables = connection.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text"
            " IN ('docs', 'tenancy', 'kernel')"
        ).fetchall()
        rows = [str(row) for (table,) in tables for row in connection.execute(f"SELECT t::text FROM {table} AS t")]
    assert any("deploy" in row for row in rows)
    spellings = [text for spelling in SPELLINGS for text in (spelling, spelling.encode().hex())]
    assert [row for row in rows if any(spelling in row for spelling in spellings)] == []


@pytest.fixture
def stores(private, tmp_path):
    settings = Settings(
        work_dir=tmp_path / "work",
        secret_keys=OLD,
        docs_egress_allowed=ADDRESS,
        docs_certificate_file=private.certificate_file,
        **dict.fromkeys(SETTINGS, "dbname=none"),
    )
    return SourceStores(settings, Vault(KeyRing.parse(OLD)))


async def test_a_bundle_is_made_of_a_private_repository_whose_cache_is_gone(
    project, private, stores, docs, tenant, source, tmp_path
):
    await put(docs, tenant)
    commit, bundle = project.git("rev-parse", "HEAD"), tmp_path / "made.bundle"
    with capture_logs() as logs:
        await stores.make_bundle(docs, tenant.grant(), source, commit, bundle)
    assert private.authorizations
    assert verify_bundle(bundle).heads == {f"refs/heads/snapshot/{commit}": commit}
    assert TOKEN.encode() not in bundle.read_bytes()
    assert TOKEN not in str(logs)


async def test_a_source_is_fetched_with_the_credential_that_its_tenant_stored(
    project, stores, docs, tenant, source, database, uri
):
    stranger = database.create_tenant("stranger")
    theirs = await register(docs, stranger, uri)
    await put(docs, tenant)
    async with stores.store_of(tenant.tenant_id, "shop") as store:
        assert await stores.fetch(store, docs, tenant.grant(), source) == project.git("rev-parse", "HEAD")
    async with stores.store_of(stranger.tenant_id, "shop") as store:
        with pytest.raises(InvalidInput, match="wants a credential"):
            await stores.fetch(store, docs, stranger.grant(), theirs)

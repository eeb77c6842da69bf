"""What a login may call shows and changes nothing of another tenant, whatever it is given."""

from __future__ import annotations

import re

import pytest

from tests.isolation.checks import Leaked
from tests.isolation.functions import assert_no_function_crosses
from tests.isolation.tables import APP_LOGINS
from tests.isolation.test_rows import INVALID_PROOFS

INVALID = ("missing", "expired", "with a wrong mac", "garbage")


@pytest.mark.parametrize("login", APP_LOGINS)
def test_with_the_proof_of_a_no_function_shows_or_changes_b_s_rows(world, login, tried):
    tried("rows", assert_no_function_crosses(world, login, world.a.grant(), hidden=(world.b.tenant_id,)))


@pytest.mark.parametrize("kind", INVALID)
@pytest.mark.parametrize("login", APP_LOGINS)
def test_without_a_valid_proof_no_function_shows_or_changes_rows(world, login, kind, tried):
    both = (world.a.tenant_id, world.b.tenant_id)
    tried("rows", assert_no_function_crosses(world, login, INVALID_PROOFS[kind](world), hidden=both))


SEARCH = "docs.search_chunks(uuid,text,integer)"
ADDED = "docs.count_words(text)"


def forget_the_tenant(world):
    """Search finds whatever has the words."""
    body = str(world.database.rows("SELECT pg_get_functiondef(%s::regprocedure)", SEARCH)[0][0])
    assert body.count(" = tenant AND ") == 3
    world.database.execute(re.sub(r"[scf]\.tenant_id = tenant AND ", "", body))


def add_a_function_for_all(world):
    world.database.execute(f"""
        CREATE FUNCTION {ADDED.replace("text", "word text")} RETURNS bigint
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
          SELECT count(*) FROM docs.chunks WHERE text LIKE '%' || word || '%'
        $$;
        ALTER FUNCTION {ADDED} OWNER TO docs_search;
        GRANT EXECUTE ON FUNCTION {ADDED} TO docs_app
    """)


def test_a_function_that_looks_at_every_tenant_is_noticed(weakened, killed):
    forget_the_tenant(weakened)
    add_a_function_for_all(weakened)
    with pytest.raises(Leaked) as caught:
        assert_no_function_crosses(weakened, "docs_app", weakened.a.grant(), hidden=(weakened.b.tenant_id,))
    killed([SEARCH, ADDED], {leak.table for leak in caught.value.leaks})

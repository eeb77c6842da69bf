-- migrate:up

-- Roles: per service a NOLOGIN owner of the schema, a login that owns nothing, and a login for the relay.
-- Logins get their passwords from the migrator, never from a file.
DO $$
DECLARE service text;
BEGIN
  CREATE ROLE kernel_owner NOLOGIN;
  CREATE ROLE kernel_prover NOLOGIN;          -- owns the functions that read the proof key
  CREATE ROLE tenancy_authenticator NOLOGIN;  -- owns the lookup of API keys
  CREATE ROLE tenancy_registrar NOLOGIN;      -- owns the creation of tenants
  CREATE ROLE docs_search NOLOGIN;            -- owns full-text search
  FOREACH service IN ARRAY ARRAY['gateway', 'orchestrator', 'docs', 'faqgen', 'codegen', 'tenancy'] LOOP
    EXECUTE format('CREATE ROLE %I NOLOGIN', service || '_owner');
    EXECUTE format('CREATE ROLE %I LOGIN NOINHERIT', service || '_app');
    EXECUTE format('CREATE ROLE %I LOGIN NOINHERIT', service || '_relay');
    EXECUTE format('CREATE SCHEMA %I AUTHORIZATION %I', service, service || '_owner');
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I, %I', service, service || '_app', service || '_relay');
    EXECUTE format('ALTER ROLE %I SET search_path = %I', service || '_app', service);
    EXECUTE format('ALTER ROLE %I SET search_path = %I', service || '_relay', service);
    EXECUTE format('ALTER ROLE %I SET search_path = %I', service || '_owner', service);
  END LOOP;
  GRANT tenancy_authenticator, tenancy_registrar TO tenancy_owner;
  GRANT docs_search TO docs_owner;
  GRANT USAGE, CREATE ON SCHEMA tenancy TO tenancy_authenticator, tenancy_registrar;
  GRANT USAGE, CREATE ON SCHEMA docs TO docs_search;
END $$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
CREATE SCHEMA extensions;
GRANT USAGE ON SCHEMA extensions TO PUBLIC;
CREATE EXTENSION btree_gin SCHEMA extensions;

ALTER SCHEMA kernel OWNER TO kernel_owner;
GRANT USAGE ON SCHEMA kernel TO PUBLIC;

-- HMAC-SHA256 (RFC 2104) with its pads stored, so that one proof costs two sha256() calls.
CREATE TABLE kernel.proof_keys (
  key_id text PRIMARY KEY,
  inner_pad bytea NOT NULL CHECK (length(inner_pad) = 64),
  outer_pad bytea NOT NULL CHECK (length(outer_pad) = 64),
  created_at timestamptz NOT NULL DEFAULT now(),
  minting boolean NOT NULL
);
CREATE UNIQUE INDEX one_minting_key ON kernel.proof_keys (minting) WHERE minting;
COMMENT ON TABLE kernel.proof_keys IS 'global: the keys that sign proofs belong to no tenant; no login may read them';
ALTER TABLE kernel.proof_keys OWNER TO kernel_owner;
ALTER TABLE kernel.proof_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE kernel.proof_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY prover ON kernel.proof_keys FOR SELECT TO kernel_prover USING (true);
COMMENT ON POLICY prover ON kernel.proof_keys IS 'declared: the functions that mint and verify proofs';
GRANT SELECT ON kernel.proof_keys TO kernel_prover;

-- Two random UUIDs carry 244 random bits; their digest is the key.
WITH secret AS (
  SELECT sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8'))
         || decode(repeat('00', 32), 'hex') AS key
), pads AS (
  SELECT string_agg(set_byte('\x00', 0, get_byte(key, i) # 54), '' ORDER BY i) AS inner_pad,
         string_agg(set_byte('\x00', 0, get_byte(key, i) # 92), '' ORDER BY i) AS outer_pad
  FROM secret, generate_series(0, 63) AS i
)
INSERT INTO kernel.proof_keys (key_id, inner_pad, outer_pad, minting)
SELECT 'k1', inner_pad, outer_pad, true FROM pads;

-- A verified proof. A grant has no task and no message, a seal no expiry.
CREATE TYPE kernel.proof AS (
  kind text, tenant_id uuid, principal text, scopes text[], task_id uuid, message_id uuid
);

CREATE FUNCTION kernel.mac(key text, message text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT encode(sha256(k.outer_pad || sha256(k.inner_pad || convert_to(message, 'UTF8'))), 'hex')
  FROM kernel.proof_keys AS k WHERE k.key_id = key
$$;

CREATE FUNCTION kernel.sign(message text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT signed || '|' || kernel.mac(k.key_id, signed)
  FROM kernel.proof_keys AS k, LATERAL (SELECT k.key_id || '|' || message AS signed) AS s WHERE k.minting
$$;

-- grant: key|g|tenant|principal|scopes|expiry (seconds since 1970)|mac
CREATE FUNCTION kernel.mint_grant(tenant uuid, principal text, scopes text[], lifetime interval DEFAULT '5 minutes')
RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT kernel.sign(concat_ws('|', 'g', tenant, principal, array_to_string(scopes, ','),
                               extract(epoch FROM statement_timestamp() + lifetime)::bigint))
$$;

-- seal: key|s|tenant|principal|scopes|task|message|mac
CREATE FUNCTION kernel.mint_seal(proof kernel.proof, task uuid, message uuid) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT kernel.sign(concat_ws('|', 's', proof.tenant_id, proof.principal, array_to_string(proof.scopes, ','),
                               task, message))
$$;

CREATE FUNCTION kernel.verify(presented text) RETURNS kernel.proof
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  part text[] := string_to_array(presented, '|');
  count integer := coalesce(array_length(part, 1), 0);
  signed text;
BEGIN
  IF count NOT IN (7, 8) THEN RETURN NULL; END IF;
  signed := array_to_string(part[1:count - 1], '|');
  IF part[count] IS DISTINCT FROM kernel.mac(part[1], signed) THEN RETURN NULL; END IF;
  IF part[2] = 'g' AND count = 7 THEN
    IF part[6]::bigint <= extract(epoch FROM statement_timestamp()) THEN RETURN NULL; END IF;
    RETURN ('g', part[3]::uuid, part[4], string_to_array(part[5], ','), NULL, NULL)::kernel.proof;
  ELSIF part[2] = 's' AND count = 8 THEN
    RETURN ('s', part[3]::uuid, part[4], string_to_array(part[5], ','), part[6]::uuid, part[7]::uuid)::kernel.proof;
  END IF;
  RETURN NULL;
END $$;

CREATE FUNCTION kernel.current_proof() RETURNS kernel.proof
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT kernel.verify(nullif(current_setting('morningai.proof', true), ''))
$$;

-- What every policy compares with. NULL, and so no row, without a valid proof. STABLE, never IMMUTABLE:
-- an immutable function would be folded into a cached plan and leak one tenant's rows to the next.
CREATE FUNCTION kernel.tenant_id() RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT (kernel.verify(nullif(current_setting('morningai.proof', true), ''))).tenant_id
$$;

CREATE FUNCTION kernel.message_id() RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT (kernel.current_proof()).message_id
$$;

CREATE FUNCTION kernel.has_scope(scope text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(scope = ANY ((kernel.current_proof()).scopes), false)
$$;

-- Opens the session of one transaction; the setting ends with it.
CREATE FUNCTION kernel.open_session(presented text) RETURNS kernel.proof
LANGUAGE plpgsql VOLATILE SECURITY DEFINER AS $$
DECLARE verified kernel.proof := kernel.verify(presented);
BEGIN
  IF verified IS NULL OR verified.tenant_id IS NULL THEN
    RAISE EXCEPTION 'the proof is missing, forged or expired' USING ERRCODE = 'insufficient_privilege';
  END IF;
  PERFORM set_config('morningai.proof', presented, true);
  RETURN verified;
END $$;
ALTER FUNCTION kernel.open_session(text) SET search_path = pg_catalog, pg_temp;

-- The seal of an outgoing message is minted here and nowhere else, from the session that inserts it.
CREATE FUNCTION kernel.seal_outbox() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE proof kernel.proof := kernel.current_proof();
BEGIN
  IF proof.tenant_id IS NULL THEN
    RAISE EXCEPTION 'no verified session' USING ERRCODE = 'insufficient_privilege';
  END IF;
  IF proof.kind = 's' AND NEW.task_id IS DISTINCT FROM proof.task_id THEN
    RAISE EXCEPTION 'a message of task % cannot be sent in a session of task %', NEW.task_id, proof.task_id
      USING ERRCODE = 'insufficient_privilege';
  END IF;
  NEW.tenant_id := proof.tenant_id;
  NEW.seal := kernel.mint_seal(proof, NEW.task_id, NEW.id);
  RETURN NEW;
END $$;

DO $$
DECLARE signature text;
BEGIN
  FOREACH signature IN ARRAY ARRAY[
    'kernel.mac(text, text)', 'kernel.sign(text)', 'kernel.mint_grant(uuid, text, text[], interval)',
    'kernel.mint_seal(kernel.proof, uuid, uuid)', 'kernel.verify(text)', 'kernel.current_proof()',
    'kernel.tenant_id()', 'kernel.message_id()', 'kernel.has_scope(text)', 'kernel.open_session(text)',
    'kernel.seal_outbox()'
  ] LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
  END LOOP;
END $$;
GRANT CREATE ON SCHEMA kernel TO kernel_prover;
ALTER FUNCTION kernel.mac(text, text) OWNER TO kernel_prover;
ALTER FUNCTION kernel.sign(text) OWNER TO kernel_prover;
ALTER FUNCTION kernel.mint_grant(uuid, text, text[], interval) OWNER TO kernel_prover;
ALTER FUNCTION kernel.mint_seal(kernel.proof, uuid, uuid) OWNER TO kernel_prover;
ALTER FUNCTION kernel.verify(text) OWNER TO kernel_prover;
ALTER FUNCTION kernel.current_proof() OWNER TO kernel_prover;
ALTER FUNCTION kernel.tenant_id() OWNER TO kernel_prover;
ALTER FUNCTION kernel.message_id() OWNER TO kernel_prover;
ALTER FUNCTION kernel.has_scope(text) OWNER TO kernel_prover;
ALTER FUNCTION kernel.open_session(text) OWNER TO kernel_prover;
ALTER FUNCTION kernel.seal_outbox() OWNER TO kernel_prover;
REVOKE CREATE ON SCHEMA kernel FROM kernel_prover;
GRANT EXECUTE ON FUNCTION kernel.tenant_id(), kernel.message_id(), kernel.has_scope(text), kernel.current_proof(),
  kernel.open_session(text) TO
  gateway_app, orchestrator_app, docs_app, faqgen_app, codegen_app, tenancy_app,
  tenancy_authenticator, tenancy_registrar, docs_search;
GRANT EXECUTE ON FUNCTION kernel.tenant_id(), kernel.message_id() TO
  gateway_owner, orchestrator_owner, docs_owner, faqgen_owner, codegen_owner, tenancy_owner;
GRANT EXECUTE ON FUNCTION kernel.seal_outbox() TO
  gateway_owner, orchestrator_owner, docs_owner, faqgen_owner, codegen_owner, tenancy_owner;
GRANT EXECUTE ON FUNCTION kernel.mint_grant(uuid, text, text[], interval) TO tenancy_authenticator, tenancy_registrar;
GRANT EXECUTE ON FUNCTION kernel.sign(text), kernel.mac(text, text) TO tenancy_authenticator, tenancy_registrar;

-- migrate:down
SELECT 1 / 0;  -- forward only

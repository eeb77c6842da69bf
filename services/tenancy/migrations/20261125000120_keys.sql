-- migrate:up

ALTER TABLE api_keys
  ADD COLUMN creator text NOT NULL DEFAULT '',
  ADD COLUMN previous_hash_key_id text,
  ADD COLUMN previous_secret_hash text,
  ADD COLUMN previous_expires_at timestamptz,
  ADD COLUMN last_used_at timestamptz;
CREATE INDEX api_keys_by_time ON api_keys (tenant_id, created_at, key_id);

GRANT SELECT (creator, previous_expires_at, last_used_at) ON api_keys TO tenancy_app;
CREATE POLICY administrator ON api_keys TO tenancy_administrator
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
GRANT SELECT, INSERT, UPDATE ON api_keys TO tenancy_administrator;
CREATE POLICY key_uses ON api_keys FOR UPDATE TO tenancy_authenticator USING (true) WITH CHECK (true);
COMMENT ON POLICY key_uses ON api_keys IS 'declared: the uses of keys of all tenants are noted in one batch';
GRANT UPDATE (last_used_at) ON api_keys TO tenancy_authenticator;

-- The same table as in services/tenancy/domain/principals.py, where a test compares them.
CREATE FUNCTION scopes_of_role(role text) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE role WHEN 'owner' THEN owner WHEN 'admin' THEN admin WHEN 'member' THEN member WHEN 'viewer' THEN viewer END
  FROM (SELECT ARRAY['answers.read', 'changes.read', 'documents.read', 'faqs.read', 'sources.read', 'subscriptions.read',
                     'tasks.read', 'tenants.read', 'usage.read'] AS viewer) AS v,
    LATERAL (SELECT viewer || ARRAY['sources.write', 'tasks.write'] AS member) AS m,
    LATERAL (SELECT member || ARRAY['audit.read', 'keys.read', 'keys.write', 'limits.write', 'members.read',
                                    'members.write', 'secrets.write', 'subscriptions.write'] AS admin) AS a,
    LATERAL (SELECT admin || ARRAY['tenants.write'] AS owner) AS o
$$;

-- What the caller may pass on. Raises unless the session is a grant's with the scope demanded: a seal administers nothing.
CREATE FUNCTION held_scopes(demanded text) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE proof kernel.proof := kernel.current_proof();
BEGIN
  IF proof.kind IS DISTINCT FROM 'g' OR NOT demanded = ANY (proof.scopes) THEN
    RAISE EXCEPTION 'the session does not hold the scope %', demanded USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN proof.scopes;
END $$;

CREATE FUNCTION create_api_key(
  new_key_id text, secret text, new_display_name text, new_scopes text[], new_expires_at timestamptz
) RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE hash_key text := split_part(kernel.sign('hash'), '|', 1);
BEGIN
  IF NOT new_scopes <@ tenancy.held_scopes('keys.write') THEN
    RAISE EXCEPTION 'a key cannot hold more than its creator' USING ERRCODE = 'insufficient_privilege';
  END IF;
  INSERT INTO tenancy.api_keys (tenant_id, key_id, hash_key_id, secret_hash, display_name, scopes, expires_at, creator)
  VALUES (kernel.tenant_id(), new_key_id, hash_key, kernel.mac(hash_key, 'api-key|' || new_key_id || '|' || secret),
          new_display_name, new_scopes, new_expires_at, (kernel.current_proof()).principal);
  PERFORM tenancy.record('keys.create', 'apiKeys/' || new_key_id, jsonb_build_object(
    'display_name', new_display_name, 'scopes', to_jsonb(new_scopes), 'expire_time', new_expires_at));
END $$;

-- The old secret stays valid for the overlap. False when there is no such living key that the caller could have made.
CREATE FUNCTION rotate_api_key(id text, secret text, overlap interval) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  held text[] := tenancy.held_scopes('keys.write');
  hash_key text := split_part(kernel.sign('hash'), '|', 1);
BEGIN
  UPDATE tenancy.api_keys SET
    previous_hash_key_id = hash_key_id, previous_secret_hash = secret_hash,
    previous_expires_at = statement_timestamp() + overlap,
    hash_key_id = hash_key, secret_hash = kernel.mac(hash_key, 'api-key|' || id || '|' || secret)
  WHERE tenant_id = kernel.tenant_id() AND key_id = id AND revoked_at IS NULL AND scopes <@ held
    AND (expires_at IS NULL OR expires_at > statement_timestamp());
  IF NOT FOUND THEN RETURN false; END IF;
  PERFORM tenancy.record('keys.rotate', 'apiKeys/' || id, jsonb_build_object(
    'overlap_seconds', extract(epoch FROM overlap)::bigint));
  RETURN true;
END $$;

-- A key that was revoked stays revoked since then.
CREATE FUNCTION revoke_api_key(id text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM tenancy.held_scopes('keys.write');
  UPDATE tenancy.api_keys SET revoked_at = statement_timestamp()
  WHERE tenant_id = kernel.tenant_id() AND key_id = id AND revoked_at IS NULL;
  IF FOUND THEN PERFORM tenancy.record('keys.revoke', 'apiKeys/' || id); END IF;
END $$;

-- As before, and with the secret before the last rotation; a grant does not outlive its key.
CREATE OR REPLACE FUNCTION authenticate(presented text) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  id text := split_part(presented, '.', 1);
  secret text := substr(presented, length(id) + 2);
  found record;
BEGIN
  IF id LIKE 'op\_%' THEN
    SELECT * INTO found FROM tenancy.operator_keys WHERE key_id = id;
    IF found.secret_hash = kernel.mac(found.hash_key_id, 'operator-key|' || id || '|' || secret) THEN
      RETURN kernel.mint_grant('00000000-0000-0000-0000-000000000000', 'operator:' || id, ARRAY['operator']);
    END IF;
    RETURN NULL;
  END IF;
  SELECT k.* INTO found FROM tenancy.api_keys AS k JOIN tenancy.tenants AS t USING (tenant_id)
  WHERE k.key_id = id AND t.state = 'active' AND k.revoked_at IS NULL
    AND (k.expires_at IS NULL OR k.expires_at > statement_timestamp());
  IF found.secret_hash = kernel.mac(found.hash_key_id, 'api-key|' || id || '|' || secret)
    OR (found.previous_expires_at > statement_timestamp() AND
        found.previous_secret_hash = kernel.mac(found.previous_hash_key_id, 'api-key|' || id || '|' || secret)) THEN
    RETURN kernel.mint_grant(found.tenant_id, 'key:' || id, found.scopes,
                             least(interval '5 minutes', found.expires_at - statement_timestamp()));
  END IF;
  RETURN NULL;
END $$;

-- At most one write a minute for each key; a key that is being changed is left for the next time.
CREATE FUNCTION note_key_uses(used_ids text[], used_at timestamptz[]) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE tenancy.api_keys AS k SET last_used_at = least(u.at, statement_timestamp())
  FROM (SELECT l.key_id, f.at FROM unnest(used_ids, used_at) AS f (id, at)
        JOIN tenancy.api_keys AS l ON l.key_id = f.id
        WHERE l.last_used_at IS NULL OR l.last_used_at <= f.at - interval '1 minute'
        FOR UPDATE OF l SKIP LOCKED) AS u
  WHERE k.key_id = u.key_id
$$;

REVOKE ALL ON FUNCTION scopes_of_role(text), held_scopes(text),
  create_api_key(text, text, text, text[], timestamptz), rotate_api_key(text, text, interval), revoke_api_key(text),
  note_key_uses(text[], timestamptz[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION held_scopes(text) TO tenancy_administrator, tenancy_registrar;
GRANT EXECUTE ON FUNCTION scopes_of_role(text) TO tenancy_app, tenancy_administrator, tenancy_authenticator, tenancy_registrar;
ALTER FUNCTION create_api_key(text, text, text, text[], timestamptz) OWNER TO tenancy_administrator;
ALTER FUNCTION rotate_api_key(text, text, interval) OWNER TO tenancy_administrator;
ALTER FUNCTION revoke_api_key(text) OWNER TO tenancy_administrator;
ALTER FUNCTION note_key_uses(text[], timestamptz[]) OWNER TO tenancy_authenticator;
GRANT EXECUTE ON FUNCTION create_api_key(text, text, text, text[], timestamptz), rotate_api_key(text, text, interval),
  revoke_api_key(text) TO tenancy_app;
GRANT EXECUTE ON FUNCTION note_key_uses(text[], timestamptz[]) TO gateway_app;

-- The first keys of existing tenants may do what those of new ones may.
ALTER TABLE api_keys NO FORCE ROW LEVEL SECURITY;
UPDATE api_keys SET scopes = scopes_of_role('owner') WHERE display_name = 'first key' AND scopes <@ scopes_of_role('owner');
ALTER TABLE api_keys FORCE ROW LEVEL SECURITY;

-- migrate:down
SELECT 1 / 0;  -- forward only

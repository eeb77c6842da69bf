-- migrate:up

CREATE TABLE tenants (
  tenant_id uuid NOT NULL PRIMARY KEY,
  slug text NOT NULL CHECK (slug ~ '^[a-z][a-z0-9-]{1,38}[a-z0-9]$'),
  display_name text NOT NULL,
  state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended')),
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_keys (
  tenant_id uuid NOT NULL,
  key_id text NOT NULL,
  hash_key_id text NOT NULL,
  secret_hash text NOT NULL,
  display_name text NOT NULL,
  scopes text[] NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz,
  revoked_at timestamptz,
  PRIMARY KEY (tenant_id, key_id),
  FOREIGN KEY (tenant_id) REFERENCES tenants (tenant_id)
);
CREATE INDEX api_keys_by_id ON api_keys (key_id);

CREATE TABLE operator_keys (
  key_id text PRIMARY KEY,
  hash_key_id text NOT NULL,
  secret_hash text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE operator_keys IS 'global: operators stand outside all tenants; no login may read it';

ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;
ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE api_keys FORCE ROW LEVEL SECURITY;
ALTER TABLE operator_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE operator_keys FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant ON tenants TO tenancy_app
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
CREATE POLICY tenant ON api_keys TO tenancy_app
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
GRANT SELECT ON tenants TO tenancy_app;
GRANT SELECT (tenant_id, key_id, display_name, scopes, created_at, expires_at, revoked_at) ON api_keys TO tenancy_app;

CREATE POLICY authenticator ON tenants FOR SELECT TO tenancy_authenticator USING (true);
CREATE POLICY authenticator ON api_keys FOR SELECT TO tenancy_authenticator USING (true);
CREATE POLICY authenticator ON operator_keys FOR SELECT TO tenancy_authenticator USING (true);
COMMENT ON POLICY authenticator ON tenants IS 'declared: a key is looked up before its tenant is known';
COMMENT ON POLICY authenticator ON api_keys IS 'declared: a key is looked up before its tenant is known';
COMMENT ON POLICY authenticator ON operator_keys IS 'declared: a key is looked up before its principal is known';
GRANT SELECT ON tenants, api_keys, operator_keys TO tenancy_authenticator;

CREATE POLICY registrar ON tenants TO tenancy_registrar USING (true) WITH CHECK (true);
CREATE POLICY registrar ON api_keys FOR INSERT TO tenancy_registrar WITH CHECK (true);
CREATE POLICY registrar ON operator_keys TO tenancy_registrar USING (true) WITH CHECK (true);
COMMENT ON POLICY registrar ON tenants IS 'declared: an operator creates a tenant that does not exist yet';
COMMENT ON POLICY registrar ON api_keys IS 'declared: the first key of a new tenant';
COMMENT ON POLICY registrar ON operator_keys IS 'declared: the migrator sets the key of the operator';
GRANT SELECT, INSERT ON tenants TO tenancy_registrar;
GRANT INSERT ON api_keys TO tenancy_registrar;
GRANT SELECT, INSERT, DELETE ON operator_keys TO tenancy_registrar;

-- Exchanges a key (mk_<id>.<secret> or op_<id>.<secret>) for a grant; NULL when it is not valid.
CREATE FUNCTION authenticate(presented text) RETURNS text
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
  IF found.secret_hash = kernel.mac(found.hash_key_id, 'api-key|' || id || '|' || secret) THEN
    RETURN kernel.mint_grant(found.tenant_id, 'key:' || id, found.scopes);
  END IF;
  RETURN NULL;
END $$;

-- Creates a tenant with its first key. Needs an operator's session.
CREATE FUNCTION create_tenant(new_slug text, new_display_name text, new_key_id text, secret text, new_scopes text[])
RETURNS uuid LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  new_id uuid := uuidv7();
  hash_key text := split_part(kernel.sign('hash'), '|', 1);
BEGIN
  IF NOT kernel.has_scope('operator') THEN
    RAISE EXCEPTION 'only an operator creates tenants' USING ERRCODE = 'insufficient_privilege';
  END IF;
  PERFORM pg_advisory_xact_lock(hashtext('tenancy.create_tenant'));
  IF EXISTS (SELECT FROM tenancy.tenants WHERE slug = new_slug) THEN
    RAISE EXCEPTION 'slug % is taken', new_slug USING ERRCODE = 'unique_violation';
  END IF;
  INSERT INTO tenancy.tenants (tenant_id, slug, display_name) VALUES (new_id, new_slug, new_display_name);
  INSERT INTO tenancy.api_keys (tenant_id, key_id, hash_key_id, secret_hash, display_name, scopes)
  VALUES (new_id, new_key_id, hash_key, kernel.mac(hash_key, 'api-key|' || new_key_id || '|' || secret), 'first key', new_scopes);
  RETURN new_id;
END $$;

-- One operator key at a time; executed by the migrator, who is no app login.
CREATE FUNCTION set_operator_key(new_key_id text, secret text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE hash_key text := split_part(kernel.sign('hash'), '|', 1);
BEGIN
  DELETE FROM tenancy.operator_keys;
  INSERT INTO tenancy.operator_keys (key_id, hash_key_id, secret_hash)
  VALUES (new_key_id, hash_key, kernel.mac(hash_key, 'operator-key|' || new_key_id || '|' || secret));
END $$;

REVOKE ALL ON FUNCTION authenticate(text), create_tenant(text, text, text, text, text[]), set_operator_key(text, text)
  FROM PUBLIC;
ALTER FUNCTION authenticate(text) OWNER TO tenancy_authenticator;
ALTER FUNCTION create_tenant(text, text, text, text, text[]) OWNER TO tenancy_registrar;
ALTER FUNCTION set_operator_key(text, text) OWNER TO tenancy_registrar;
GRANT EXECUTE ON FUNCTION authenticate(text) TO gateway_app, tenancy_app;
GRANT EXECUTE ON FUNCTION create_tenant(text, text, text, text, text[]) TO tenancy_app;
GRANT USAGE ON SCHEMA tenancy TO gateway_app;

-- migrate:down
SELECT 1 / 0;  -- forward only

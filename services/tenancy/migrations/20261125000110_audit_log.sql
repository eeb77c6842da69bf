-- migrate:up

CREATE TABLE audit_log (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  entry_id uuid NOT NULL DEFAULT uuidv7(),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  principal text NOT NULL,
  action text NOT NULL CHECK (action ~ '^[a-z_]+\.[a-z_]+$'),
  resource text NOT NULL CHECK (length(resource) <= 500),
  details jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(details) = 'object'),
  trace_id text NOT NULL DEFAULT '',
  outcome text NOT NULL DEFAULT 'succeeded' CHECK (outcome IN ('succeeded', 'refused')),
  PRIMARY KEY (tenant_id, entry_id),
  FOREIGN KEY (tenant_id) REFERENCES tenants (tenant_id)
);
CREATE INDEX audit_log_by_time ON audit_log (tenant_id, created_at, entry_id);

ALTER TABLE audit_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_log FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON audit_log TO tenancy_app
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
GRANT SELECT ON audit_log TO tenancy_app;

CREATE POLICY auditor ON audit_log FOR INSERT TO tenancy_auditor WITH CHECK (true);
COMMENT ON POLICY auditor ON audit_log IS 'declared: what an operator does to a tenant is an entry of that tenant';
GRANT INSERT ON audit_log TO tenancy_auditor;

-- Holds for the owner and superusers too, as long as they do not take the trigger away.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER append_only;

-- For functions that act on a tenant they were not called in; no login may execute it.
CREATE FUNCTION record_in(tenant uuid, principal text, action text, resource text, details jsonb, outcome text)
RETURNS void LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO tenancy.audit_log (tenant_id, principal, action, resource, details, trace_id, outcome)
  VALUES (tenant, principal, action, resource, details,
          coalesce(substring(current_setting('morningai.trace_id', true) FROM '^[0-9a-f]{32}$'), ''), outcome)
$$;

-- An entry of the session's tenant, by the session's principal. Raises without a tenant's session.
CREATE FUNCTION record(action text, resource text, details jsonb DEFAULT '{}', outcome text DEFAULT 'succeeded')
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE proof kernel.proof := kernel.current_proof();
BEGIN
  IF proof.tenant_id IS NULL THEN
    RAISE EXCEPTION 'no verified session' USING ERRCODE = 'insufficient_privilege';
  END IF;
  PERFORM tenancy.record_in(proof.tenant_id, proof.principal, action, resource, details, outcome);
END $$;

REVOKE ALL ON FUNCTION refuse_change(), record_in(uuid, text, text, text, jsonb, text), record(text, text, jsonb, text)
  FROM PUBLIC;
ALTER FUNCTION record_in(uuid, text, text, text, jsonb, text) OWNER TO tenancy_auditor;
ALTER FUNCTION record(text, text, jsonb, text) OWNER TO tenancy_auditor;
GRANT EXECUTE ON FUNCTION record_in(uuid, text, text, text, jsonb, text) TO tenancy_registrar;
GRANT EXECUTE ON FUNCTION record(text, text, jsonb, text) TO
  gateway_app, orchestrator_app, docs_app, faqgen_app, codegen_app, tenancy_app, tenancy_administrator;
GRANT USAGE ON SCHEMA tenancy TO orchestrator_app, docs_app, faqgen_app, codegen_app;

-- As before, and with an entry in the new tenant's log.
CREATE OR REPLACE FUNCTION create_tenant(
  new_slug text, new_display_name text, new_key_id text, secret text, new_scopes text[]
) RETURNS uuid LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  new_id uuid := uuidv7();
  hash_key text := split_part(kernel.sign('hash'), '|', 1);
  operator text := (kernel.current_proof()).principal;
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
  PERFORM tenancy.record_in(new_id, operator, 'tenants.create', 'tenants/' || new_id,
                            jsonb_build_object('slug', new_slug, 'first_key', 'apiKeys/' || new_key_id), 'succeeded');
  RETURN new_id;
END $$;

-- migrate:down
SELECT 1 / 0;  -- forward only

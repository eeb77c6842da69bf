-- migrate:up

-- Each tenant's data keys, wrapped by the key-encryption key of the settings; a tenant's credentials are sealed with them.
CREATE TABLE data_keys (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  data_key_id uuid NOT NULL,
  wrapped bytea NOT NULL,
  is_current boolean NOT NULL DEFAULT true,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, data_key_id)
);
CREATE UNIQUE INDEX data_keys_current ON data_keys (tenant_id) WHERE is_current;

-- Where a tenant's model calls go instead of the platform's endpoint; 'any' holds for the kinds of task without a row.
CREATE TABLE model_endpoints (
  tenant_id uuid NOT NULL,
  kind text NOT NULL CHECK (kind IN ('any', 'answer', 'faq', 'document', 'change')),
  base_url text NOT NULL,
  model text NOT NULL,
  context_tokens integer NOT NULL CHECK (context_tokens > 0),
  api_key bytea,
  set_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, kind)
);
COMMENT ON COLUMN model_endpoints.api_key IS 'sealed for its kind and its base_url; NULL where the endpoint asks for none';

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['data_keys', 'model_endpoints'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('GRANT SELECT ON %I TO tenancy_app', name);
  END LOOP;
END $$;
CREATE POLICY tenant ON data_keys TO tenancy_app
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
GRANT INSERT ON data_keys TO tenancy_app;
CREATE POLICY tenant ON model_endpoints TO tenancy_app, tenancy_administrator, tenancy_accountant
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
GRANT SELECT, INSERT, UPDATE, DELETE ON model_endpoints TO tenancy_administrator;
GRANT SELECT (tenant_id, kind) ON model_endpoints TO tenancy_accountant;

-- Of the session's own tenant, in place of what was set before.
CREATE FUNCTION set_model_endpoint(
  new_kind text, new_base_url text, new_model text, new_context_tokens integer, new_api_key bytea
) RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM tenancy.held_scopes('secrets.write');
  INSERT INTO tenancy.model_endpoints AS e (tenant_id, kind, base_url, model, context_tokens, api_key)
  VALUES (kernel.tenant_id(), new_kind, new_base_url, new_model, new_context_tokens, new_api_key)
  ON CONFLICT (tenant_id, kind) DO UPDATE SET base_url = excluded.base_url, model = excluded.model,
    context_tokens = excluded.context_tokens, api_key = excluded.api_key, set_at = now();
  PERFORM tenancy.record('models.set_endpoint', 'modelEndpoints/' || new_kind, jsonb_build_object(
    'base_url', new_base_url, 'model', new_model, 'has_api_key', new_api_key IS NOT NULL));
END $$;

-- Of the session's own tenant; nothing where there is none.
CREATE FUNCTION clear_model_endpoint(old_kind text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM tenancy.held_scopes('secrets.write');
  DELETE FROM tenancy.model_endpoints WHERE tenant_id = kernel.tenant_id() AND kind = old_kind;
  IF FOUND THEN
    PERFORM tenancy.record('models.clear_endpoint', 'modelEndpoints/' || old_kind, '{}');
  END IF;
END $$;

-- Whether tenancy has to be asked for the endpoint of the session's tenant: most tenants have none.
CREATE FUNCTION has_model_endpoint(for_kind text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (
    SELECT FROM tenancy.model_endpoints WHERE tenant_id = (SELECT kernel.tenant_id()) AND kind IN ('any', for_kind))
$$;

DO $$
DECLARE signature text;
BEGIN
  FOREACH signature IN ARRAY ARRAY[
    'set_model_endpoint(text, text, text, integer, bytea)', 'clear_model_endpoint(text)', 'has_model_endpoint(text)'
  ] LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
    EXECUTE format('ALTER FUNCTION %s OWNER TO tenancy_administrator', signature);
  END LOOP;
END $$;
ALTER FUNCTION has_model_endpoint(text) OWNER TO tenancy_accountant;
GRANT EXECUTE ON FUNCTION set_model_endpoint(text, text, text, integer, bytea), clear_model_endpoint(text) TO tenancy_app;
GRANT EXECUTE ON FUNCTION has_model_endpoint(text) TO docs_app, faqgen_app, codegen_app;

-- migrate:down
SELECT 1 / 0;  -- forward only

-- migrate:up

CREATE POLICY subscribers ON tenants FOR SELECT TO tenancy_subscribers USING (true);
CREATE POLICY subscribers ON api_keys FOR SELECT TO tenancy_subscribers USING (true);
COMMENT ON POLICY subscribers ON tenants IS 'declared: connections of all tenants are checked at once, without a proof';
COMMENT ON POLICY subscribers ON api_keys IS 'declared: connections of all tenants are checked at once, without a proof';
GRANT SELECT (tenant_id, state) ON tenants TO tenancy_subscribers;
GRANT SELECT (tenant_id, key_id, scopes, expires_at, revoked_at) ON api_keys TO tenancy_subscribers;

-- Which of these connected keys may stay: it says nothing of any other key or tenant.
CREATE FUNCTION allowed_subscribers(tenants uuid[], keys text[]) RETURNS TABLE (tenant_id uuid, key_id text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT k.tenant_id, k.key_id
  FROM unnest(tenants, keys) AS connected (tenant_id, key_id)
  JOIN tenancy.api_keys AS k USING (tenant_id, key_id)
  JOIN tenancy.tenants AS t ON t.tenant_id = k.tenant_id
  WHERE t.state = 'active' AND k.revoked_at IS NULL
    AND (k.expires_at IS NULL OR k.expires_at > statement_timestamp())
    AND 'subscriptions.read' = ANY (k.scopes)
$$;
REVOKE ALL ON FUNCTION allowed_subscribers(uuid[], text[]) FROM PUBLIC;
ALTER FUNCTION allowed_subscribers(uuid[], text[]) OWNER TO tenancy_subscribers;
GRANT EXECUTE ON FUNCTION allowed_subscribers(uuid[], text[]) TO tenancy_app;

-- migrate:down
SELECT 1 / 0;  -- forward only

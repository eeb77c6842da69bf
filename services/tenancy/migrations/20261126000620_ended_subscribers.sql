-- migrate:up

-- Which of these keys are revoked, have expired or do not exist, and so will never hear anything again. A suspended
-- tenant's keys are as good as they were.
CREATE FUNCTION ended_subscribers(tenants uuid[], keys text[]) RETURNS TABLE (tenant_id uuid, key_id text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT held.tenant_id, held.key_id
  FROM unnest(tenants, keys) AS held (tenant_id, key_id)
  WHERE NOT EXISTS (
    SELECT FROM tenancy.api_keys AS k
    WHERE k.tenant_id = held.tenant_id AND k.key_id = held.key_id AND k.revoked_at IS NULL
      AND (k.expires_at IS NULL OR k.expires_at > statement_timestamp()))
$$;
REVOKE ALL ON FUNCTION ended_subscribers(uuid[], text[]) FROM PUBLIC;
ALTER FUNCTION ended_subscribers(uuid[], text[]) OWNER TO tenancy_subscribers;
GRANT EXECUTE ON FUNCTION ended_subscribers(uuid[], text[]) TO tenancy_app;

-- migrate:down
SELECT 1 / 0;  -- forward only

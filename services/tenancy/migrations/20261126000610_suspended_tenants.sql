-- migrate:up

CREATE INDEX tenants_suspended ON tenants (tenant_id) WHERE state = 'suspended';

-- Whom nothing is sent to: it says nothing of any other tenant, and of these no more than that.
CREATE FUNCTION suspended_tenants() RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT tenant_id FROM tenancy.tenants WHERE state = 'suspended'
$$;
REVOKE ALL ON FUNCTION suspended_tenants() FROM PUBLIC;
ALTER FUNCTION suspended_tenants() OWNER TO tenancy_subscribers;
GRANT USAGE ON SCHEMA tenancy TO gateway_sender;
GRANT EXECUTE ON FUNCTION suspended_tenants() TO gateway_sender;

-- migrate:down
SELECT 1 / 0;  -- forward only

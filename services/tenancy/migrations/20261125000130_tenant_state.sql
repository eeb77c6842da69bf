-- migrate:up

GRANT UPDATE (state) ON tenants TO tenancy_registrar;

-- No key and no member of a suspended tenant is let in. False when there is no such tenant. Needs an operator's session.
CREATE FUNCTION suspend_tenant(tenant uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM tenancy.held_scopes('operator');
  UPDATE tenancy.tenants SET state = 'suspended' WHERE tenant_id = tenant AND state = 'active';
  IF FOUND THEN
    PERFORM tenancy.record_in(tenant, (kernel.current_proof()).principal, 'tenants.suspend', 'tenants/' || tenant, '{}',
                              'succeeded');
  END IF;
  RETURN EXISTS (SELECT FROM tenancy.tenants WHERE tenant_id = tenant);
END $$;

CREATE FUNCTION resume_tenant(tenant uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM tenancy.held_scopes('operator');
  UPDATE tenancy.tenants SET state = 'active' WHERE tenant_id = tenant AND state = 'suspended';
  IF FOUND THEN
    PERFORM tenancy.record_in(tenant, (kernel.current_proof()).principal, 'tenants.resume', 'tenants/' || tenant, '{}',
                              'succeeded');
  END IF;
  RETURN EXISTS (SELECT FROM tenancy.tenants WHERE tenant_id = tenant);
END $$;

-- All that an operator sees of tenants: one of them, or those behind a slug in their order.
CREATE FUNCTION tenants_of_operator(only_id uuid, after_slug text, most integer)
RETURNS TABLE (tenant_id uuid, slug text, display_name text, state text, created_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM tenancy.held_scopes('operator');
  RETURN QUERY SELECT t.tenant_id, t.slug, t.display_name, t.state, t.created_at FROM tenancy.tenants AS t
    WHERE (only_id IS NULL OR t.tenant_id = only_id) AND t.slug COLLATE "C" > after_slug
    ORDER BY t.slug COLLATE "C" LIMIT most;
END $$;

REVOKE ALL ON FUNCTION suspend_tenant(uuid), resume_tenant(uuid), tenants_of_operator(uuid, text, integer) FROM PUBLIC;
ALTER FUNCTION suspend_tenant(uuid) OWNER TO tenancy_registrar;
ALTER FUNCTION resume_tenant(uuid) OWNER TO tenancy_registrar;
ALTER FUNCTION tenants_of_operator(uuid, text, integer) OWNER TO tenancy_registrar;
GRANT EXECUTE ON FUNCTION suspend_tenant(uuid), resume_tenant(uuid), tenants_of_operator(uuid, text, integer) TO tenancy_app;

-- migrate:down
SELECT 1 / 0;  -- forward only

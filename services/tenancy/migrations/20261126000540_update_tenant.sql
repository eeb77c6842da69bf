-- migrate:up

CREATE POLICY administrator ON tenants TO tenancy_administrator
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
GRANT SELECT, UPDATE (display_name) ON tenants TO tenancy_administrator;

-- Of the session's own tenant.
CREATE FUNCTION update_tenant(new_display_name text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  own uuid := kernel.tenant_id();
  old_display_name text;
BEGIN
  PERFORM tenancy.held_scopes('tenants.write');
  UPDATE tenancy.tenants SET display_name = new_display_name WHERE tenant_id = own
  RETURNING old.display_name INTO old_display_name;
  PERFORM tenancy.record('tenants.update', 'tenants/' || own, jsonb_build_object(
    'display_name', new_display_name, 'old_display_name', old_display_name));
END $$;
REVOKE ALL ON FUNCTION update_tenant(text) FROM PUBLIC;
ALTER FUNCTION update_tenant(text) OWNER TO tenancy_administrator;
GRANT EXECUTE ON FUNCTION update_tenant(text) TO tenancy_app;

-- migrate:down
SELECT 1 / 0;  -- forward only

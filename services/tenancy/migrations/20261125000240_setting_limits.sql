-- migrate:up

GRANT SELECT, INSERT, UPDATE ON limits TO tenancy_accountant;
GRANT SELECT, INSERT, UPDATE ON model_prices TO tenancy_registrar;
GRANT SELECT ON default_limits TO tenancy_registrar;
GRANT SELECT, INSERT, UPDATE ON limits TO tenancy_registrar;
CREATE POLICY registrar ON limits TO tenancy_registrar USING (true) WITH CHECK (true);
COMMENT ON POLICY registrar ON limits IS 'declared: an operator sets the limits of the tenant it names';
CREATE POLICY registrar ON model_prices TO tenancy_registrar USING (true) WITH CHECK (true);
COMMENT ON POLICY registrar ON model_prices IS 'declared: an operator sets prices, which belong to no tenant';
CREATE POLICY registrar ON default_limits FOR SELECT TO tenancy_registrar USING (true);
COMMENT ON POLICY registrar ON default_limits IS 'declared: the defaults belong to no tenant';
GRANT EXECUTE ON FUNCTION held_scopes(text), record(text, text, jsonb, text) TO tenancy_accountant;

-- A budget of the session's own tenant. False for a limit that a tenant does not set.
CREATE FUNCTION set_own_limit(limit_name text, new_value bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE old_value bigint;
BEGIN
  PERFORM tenancy.held_scopes('limits.write');
  IF limit_name NOT IN ('tokens_per_day', 'tokens_per_month', 'money_per_day', 'money_per_month') THEN RETURN false; END IF;
  INSERT INTO tenancy.limits AS l (tenant_id, name, tenant_value) VALUES (kernel.tenant_id(), limit_name, new_value)
  ON CONFLICT (tenant_id, name) DO UPDATE SET tenant_value = excluded.tenant_value, updated_at = now()
  RETURNING old.tenant_value INTO old_value;
  PERFORM tenancy.record('limits.set', 'limits/' || limit_name, jsonb_build_object('value', new_value, 'old_value', old_value));
  RETURN true;
END $$;

-- False for a tenant or a limit that does not exist.
CREATE FUNCTION set_operator_limit(tenant uuid, limit_name text, new_value bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE old_value bigint;
BEGIN
  PERFORM tenancy.held_scopes('operator');
  IF NOT EXISTS (SELECT FROM tenancy.tenants WHERE tenant_id = tenant)
    OR NOT EXISTS (SELECT FROM tenancy.default_limits WHERE name = limit_name) THEN RETURN false; END IF;
  INSERT INTO tenancy.limits AS l (tenant_id, name, operator_value) VALUES (tenant, limit_name, new_value)
  ON CONFLICT (tenant_id, name) DO UPDATE SET operator_value = excluded.operator_value, updated_at = now()
  RETURNING old.operator_value INTO old_value;
  PERFORM tenancy.record_in(tenant, (kernel.current_proof()).principal, 'limits.set', 'limits/' || limit_name,
                            jsonb_build_object('value', new_value, 'old_value', old_value), 'succeeded');
  RETURN true;
END $$;

CREATE TYPE limit_row AS (
  name text, description text, value bigint, operator_value bigint, tenant_value bigint
);

CREATE FUNCTION limits_of(tenant uuid) RETURNS SETOF limit_row
LANGUAGE sql STABLE AS $$
  SELECT d.name, d.description, least(coalesce(l.operator_value, d.value), l.tenant_value), l.operator_value, l.tenant_value
  FROM tenancy.default_limits AS d LEFT JOIN tenancy.limits AS l ON l.tenant_id = tenant AND l.name = d.name
  ORDER BY d.name
$$;

-- No row for a tenant that does not exist.
CREATE FUNCTION operator_limits(tenant uuid) RETURNS SETOF limit_row
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM tenancy.held_scopes('operator');
  IF EXISTS (SELECT FROM tenancy.tenants WHERE tenant_id = tenant) THEN
    RETURN QUERY SELECT * FROM tenancy.limits_of(tenant);
  END IF;
END $$;

CREATE FUNCTION set_model_price(model_name text, prompt bigint, completion bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM tenancy.held_scopes('operator');
  INSERT INTO tenancy.model_prices (model, prompt_price, completion_price) VALUES (model_name, prompt, completion)
  ON CONFLICT (model) DO UPDATE
  SET prompt_price = excluded.prompt_price, completion_price = excluded.completion_price;
END $$;

REVOKE ALL ON FUNCTION set_own_limit(text, bigint), set_operator_limit(uuid, text, bigint),
  limits_of(uuid), operator_limits(uuid), set_model_price(text, bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION limits_of(uuid) TO tenancy_registrar, tenancy_app;
ALTER FUNCTION set_own_limit(text, bigint) OWNER TO tenancy_accountant;
ALTER FUNCTION set_operator_limit(uuid, text, bigint) OWNER TO tenancy_registrar;
ALTER FUNCTION operator_limits(uuid) OWNER TO tenancy_registrar;
ALTER FUNCTION set_model_price(text, bigint, bigint) OWNER TO tenancy_registrar;
GRANT EXECUTE ON FUNCTION set_own_limit(text, bigint), set_operator_limit(uuid, text, bigint), operator_limits(uuid),
  set_model_price(text, bigint, bigint) TO tenancy_app;

-- migrate:down
SELECT 1 / 0;  -- forward only

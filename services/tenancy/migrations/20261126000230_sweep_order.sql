-- migrate:up

-- Closes at most so many expired reservations: a sent one is charged in full, one that never left is released. All rows
-- of spending are locked before the first is changed, days before months as `reserve` and `settle` do: none waits for
-- one that waits for it.
CREATE OR REPLACE FUNCTION sweep_reservations(most integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  expired tenancy.reservations[];
  r tenancy.reservations;
BEGIN
  SELECT array_agg(e.reservation) INTO expired FROM (
    SELECT reservation FROM tenancy.reservations AS reservation
    WHERE state IN ('reserved', 'sent') AND expires_at < statement_timestamp()
    ORDER BY tenant_id, day LIMIT least(most, 1000) FOR UPDATE SKIP LOCKED
  ) AS e;
  PERFORM FROM tenancy.spending
  WHERE (tenant_id, period, starts_on) IN (
    SELECT e.tenant_id, 'day', e.day FROM unnest(expired) AS e
    UNION SELECT e.tenant_id, 'month', date_trunc('month', e.day)::date FROM unnest(expired) AS e)
  ORDER BY period, tenant_id, starts_on FOR UPDATE;
  FOREACH r IN ARRAY coalesce(expired, '{}') LOOP
    IF r.state = 'sent' THEN
      PERFORM tenancy.close_reservation(r, 'settled', r.prompt_tokens, r.completion_tokens, true);
    ELSE
      PERFORM tenancy.close_reservation(r, 'released', 0, 0, false);
    END IF;
  END LOOP;
  RETURN coalesce(cardinality(expired), 0);
END $$;

-- What is computed with limits and prices fits bigint. Larger values of earlier versions become the largest.
CREATE FUNCTION largest_limit(limit_name text) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN limit_name LIKE '%\_calls\_%' THEN 1000000000 ELSE 1000000000000000 END
$$;
REVOKE ALL ON FUNCTION largest_limit(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION largest_limit(text) TO tenancy_accountant, tenancy_registrar;

ALTER TABLE default_limits NO FORCE ROW LEVEL SECURITY;
ALTER TABLE limits NO FORCE ROW LEVEL SECURITY;
ALTER TABLE model_prices NO FORCE ROW LEVEL SECURITY;
UPDATE default_limits SET value = largest_limit(name) WHERE value > largest_limit(name);
UPDATE limits SET operator_value = largest_limit(name) WHERE operator_value > largest_limit(name);
UPDATE limits SET tenant_value = largest_limit(name) WHERE tenant_value > largest_limit(name);
UPDATE model_prices
SET prompt_price = least(prompt_price, 1000000000000), completion_price = least(completion_price, 1000000000000);
ALTER TABLE default_limits FORCE ROW LEVEL SECURITY;
ALTER TABLE limits FORCE ROW LEVEL SECURITY;
ALTER TABLE model_prices FORCE ROW LEVEL SECURITY;

ALTER TABLE default_limits ADD CONSTRAINT default_limits_largest CHECK (value <= tenancy.largest_limit(name));
ALTER TABLE limits ADD CONSTRAINT limits_largest
  CHECK (operator_value <= tenancy.largest_limit(name) AND tenant_value <= tenancy.largest_limit(name));
ALTER TABLE model_prices ADD CONSTRAINT model_prices_largest
  CHECK (greatest(prompt_price, completion_price) <= 1000000000000);

-- migrate:down
SELECT 1 / 0;  -- forward only

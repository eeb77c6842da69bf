-- migrate:up

CREATE TABLE default_limits (
  name text PRIMARY KEY CHECK (name ~ '^[a-z_]+$'),
  value bigint CHECK (value >= 0),
  description text NOT NULL
);
COMMENT ON TABLE default_limits IS 'global: what holds for a tenant without a limit of its own; NULL is no limit';

CREATE TABLE limits (
  tenant_id uuid NOT NULL,
  name text NOT NULL,
  operator_value bigint CHECK (operator_value >= 0),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, name)
);
COMMENT ON COLUMN limits.operator_value IS 'in place of the default; NULL leaves it';

-- One small row per tenant and class of calls. Unlogged: a decision waits for no disk, and after a crash of the server
-- every tenant starts with a full burst.
CREATE UNLOGGED TABLE rates (
  tenant_id uuid NOT NULL,
  call_class text NOT NULL,
  arrival_microseconds bigint NOT NULL,
  PRIMARY KEY (tenant_id, call_class)
) WITH (fillfactor = 10);
COMMENT ON COLUMN rates.arrival_microseconds IS 'the theoretical arrival time of the next call, since 1970';

INSERT INTO default_limits (name, value, description) VALUES
  ('read_calls_per_minute', 12000, 'calls that read'),
  ('read_calls_burst', 600, 'calls that read, at once'),
  ('write_calls_per_minute', 3000, 'calls that change something'),
  ('write_calls_burst', 300, 'calls that change something, at once'),
  ('create_task_calls_per_minute', 600, 'tasks created'),
  ('create_task_calls_burst', 100, 'tasks created, at once'),
  ('upload_calls_per_minute', 120, 'uploads'),
  ('upload_calls_burst', 30, 'uploads, at once'),
  ('watch_calls_per_minute', 1200, 'watches opened'),
  ('watch_calls_burst', 200, 'watches opened, at once');

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['default_limits', 'limits', 'rates'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
  END LOOP;
  FOREACH name IN ARRAY ARRAY['limits', 'rates'] LOOP
    EXECUTE format('CREATE POLICY tenant ON %I TO tenancy_app USING (tenant_id = (SELECT kernel.tenant_id())) '
                   'WITH CHECK (tenant_id = (SELECT kernel.tenant_id()))', name);
    EXECUTE format('CREATE POLICY accountant ON %I TO tenancy_accountant USING (true) WITH CHECK (true)', name);
    EXECUTE format('COMMENT ON POLICY accountant ON %I IS %L', name,
                   'declared: its functions name the tenant of the proof they verified; one more check of it for each '
                   'statement would double the cost of admitting a call');
  END LOOP;
END $$;
CREATE POLICY reader ON default_limits FOR SELECT TO tenancy_app, tenancy_accountant USING (true);
COMMENT ON POLICY reader ON default_limits IS 'declared: the defaults belong to no tenant';
GRANT SELECT ON default_limits, limits TO tenancy_app, tenancy_accountant;
GRANT SELECT ON rates TO tenancy_app;
GRANT SELECT, INSERT, UPDATE ON rates TO tenancy_accountant;

-- NULL is no limit.
CREATE FUNCTION limit_of(tenant uuid, limit_name text) RETURNS bigint
LANGUAGE sql STABLE AS $$
  SELECT coalesce(l.operator_value, d.value)
  FROM tenancy.default_limits AS d LEFT JOIN tenancy.limits AS l ON l.tenant_id = tenant AND l.name = d.name
  WHERE d.name = limit_name
$$;

-- The generic cell rate algorithm (ITU-T I.371, annex A, virtual scheduling): the theoretical arrival time after a call
-- at `now`, or NULL when it comes too early. The interval is the time between two calls at the limit.
CREATE FUNCTION next_arrival(arrival bigint, now bigint, call_interval bigint, burst bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN greatest(arrival, now) + call_interval <= now + burst * call_interval
              THEN greatest(arrival, now) + call_interval END
$$;

-- Microseconds until a call of the class may be made again; 0 when this one is admitted. The conflict locks the row
-- before the condition is evaluated, so that concurrent calls are admitted one after the other.
CREATE FUNCTION admit_at(tenant uuid, class text, now bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  per_minute bigint := tenancy.limit_of(tenant, class || '_calls_per_minute');
  burst bigint := coalesce(tenancy.limit_of(tenant, class || '_calls_burst'), 1);
  call_interval bigint := 60000000 / nullif(per_minute, 0);
  earliest bigint;
BEGIN
  IF per_minute IS NULL THEN RETURN 0; END IF;
  IF per_minute = 0 OR burst = 0 THEN RETURN 60000000; END IF;
  INSERT INTO tenancy.rates AS r (tenant_id, call_class, arrival_microseconds) VALUES (tenant, class, now + call_interval)
  ON CONFLICT (tenant_id, call_class) DO UPDATE
  SET arrival_microseconds = tenancy.next_arrival(r.arrival_microseconds, now, call_interval, burst)
  WHERE tenancy.next_arrival(r.arrival_microseconds, now, call_interval, burst) IS NOT NULL;
  IF FOUND THEN RETURN 0; END IF;
  SELECT arrival_microseconds - (burst - 1) * call_interval INTO earliest
  FROM tenancy.rates WHERE tenant_id = tenant AND call_class = class;
  RETURN greatest(earliest - now, 1);
END $$;

-- A statement and transaction of its own, so that the row is locked for no longer than the decision takes.
CREATE FUNCTION admit(presented text, class text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE caller uuid;
BEGIN
  PERFORM set_config('morningai.proof', presented, true);
  caller := kernel.tenant_id();
  IF caller IS NULL THEN
    RAISE EXCEPTION 'the proof is missing, forged or expired' USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN tenancy.admit_at(caller, class, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
END $$;

DO $$
DECLARE signature text;
BEGIN
  FOREACH signature IN ARRAY ARRAY[
    'limit_of(uuid, text)', 'next_arrival(bigint, bigint, bigint, bigint)', 'admit_at(uuid, text, bigint)',
    'admit(text, text)'
  ] LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
    EXECUTE format('ALTER FUNCTION %s OWNER TO tenancy_accountant', signature);
  END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION admit(text, text) TO gateway_app;

-- migrate:down
SELECT 1 / 0;  -- forward only

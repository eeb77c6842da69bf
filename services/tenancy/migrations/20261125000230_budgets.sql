-- migrate:up

-- Money is in millionths of the one currency that the operator counts in; periods are days and months in UTC.
ALTER TABLE default_limits NO FORCE ROW LEVEL SECURITY;
INSERT INTO default_limits (name, value, description) VALUES
  ('tokens_per_day', NULL, 'tokens of model calls in a day (UTC)'),
  ('tokens_per_month', NULL, 'tokens of model calls in a month (UTC)'),
  ('money_per_day', NULL, 'millionths of the currency for model calls in a day (UTC)'),
  ('money_per_month', NULL, 'millionths of the currency for model calls in a month (UTC)');
ALTER TABLE default_limits FORCE ROW LEVEL SECURITY;

ALTER TABLE limits ADD COLUMN tenant_value bigint CHECK (tenant_value >= 0);
COMMENT ON COLUMN limits.tenant_value IS 'what the tenant set for itself; it holds where it is below the operator''s';

CREATE OR REPLACE FUNCTION limit_of(tenant uuid, limit_name text) RETURNS bigint
LANGUAGE sql STABLE AS $$
  SELECT least(coalesce(l.operator_value, d.value), l.tenant_value)
  FROM tenancy.default_limits AS d LEFT JOIN tenancy.limits AS l ON l.tenant_id = tenant AND l.name = d.name
  WHERE d.name = limit_name
$$;

CREATE TABLE model_prices (
  model text PRIMARY KEY,
  prompt_price bigint NOT NULL CHECK (prompt_price >= 0),
  completion_price bigint NOT NULL CHECK (completion_price >= 0)
);
COMMENT ON TABLE model_prices IS
  'global: what a million tokens cost, in millionths; a model that is not here costs no money, and its tokens count';

CREATE TABLE spending (
  tenant_id uuid NOT NULL,
  period text NOT NULL,
  starts_on date NOT NULL,
  reserved_tokens bigint NOT NULL DEFAULT 0 CHECK (reserved_tokens >= 0),
  spent_tokens bigint NOT NULL DEFAULT 0 CHECK (spent_tokens >= 0),
  reserved_money bigint NOT NULL DEFAULT 0 CHECK (reserved_money >= 0),
  spent_money bigint NOT NULL DEFAULT 0 CHECK (spent_money >= 0),
  PRIMARY KEY (tenant_id, period, starts_on)
);

CREATE TABLE reservations (
  tenant_id uuid NOT NULL,
  call_id uuid NOT NULL,
  task_id uuid NOT NULL,
  model text NOT NULL,
  day date NOT NULL,
  state text NOT NULL CHECK (state IN ('reserved', 'sent', 'settled', 'released')),
  prompt_tokens bigint NOT NULL CHECK (prompt_tokens >= 0),
  completion_tokens bigint NOT NULL CHECK (completion_tokens >= 0),
  prompt_price bigint NOT NULL,
  completion_price bigint NOT NULL,
  money bigint NOT NULL CHECK (money >= 0),
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, call_id)
);
CREATE INDEX reservations_open ON reservations (expires_at) WHERE state IN ('reserved', 'sent');

CREATE TABLE usage (
  tenant_id uuid NOT NULL,
  day date NOT NULL,
  task_id uuid NOT NULL,
  model text NOT NULL,
  calls bigint NOT NULL CHECK (calls > 0),
  calls_in_full bigint NOT NULL,
  prompt_tokens bigint NOT NULL,
  completion_tokens bigint NOT NULL,
  money bigint NOT NULL,
  PRIMARY KEY (tenant_id, day, task_id, model)
);
COMMENT ON COLUMN usage.calls_in_full IS 'calls whose outcome is unknown, charged with all that was reserved';

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['spending', 'reservations', 'usage'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant ON %I TO tenancy_app, tenancy_accountant '
                   'USING (tenant_id = (SELECT kernel.tenant_id())) '
                   'WITH CHECK (tenant_id = (SELECT kernel.tenant_id()))', name);
    EXECUTE format('CREATE POLICY sweeper ON %I TO tenancy_sweeper USING (true) WITH CHECK (true)', name);
    EXECUTE format('COMMENT ON POLICY sweeper ON %I IS %L', name,
                   'declared: closes what dead callers of any tenant left, each under the tenant of its own row');
    EXECUTE format('GRANT SELECT ON %I TO tenancy_app', name);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %I TO tenancy_accountant, tenancy_sweeper', name);
  END LOOP;
END $$;
ALTER TABLE model_prices ENABLE ROW LEVEL SECURITY;
ALTER TABLE model_prices FORCE ROW LEVEL SECURITY;
CREATE POLICY reader ON model_prices FOR SELECT TO tenancy_app, tenancy_accountant USING (true);
COMMENT ON POLICY reader ON model_prices IS 'declared: prices belong to no tenant';
GRANT SELECT ON model_prices TO tenancy_app, tenancy_accountant;

-- Rounded up, so that many small calls are not free.
CREATE FUNCTION money_of(prompt bigint, completion bigint, prompt_price bigint, completion_price bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
  SELECT ceil((prompt::numeric * prompt_price + completion::numeric * completion_price) / 1000000)::bigint
$$;

CREATE FUNCTION spending_tenant() RETURNS uuid
LANGUAGE plpgsql STABLE AS $$
DECLARE tenant uuid := kernel.tenant_id();
BEGIN
  IF tenant IS NULL THEN
    RAISE EXCEPTION 'no verified session' USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN tenant;
END $$;

-- NULL when the call's most is reserved, else the budget that has not so much left. The rows of day and month are locked
-- first, so that concurrent calls are decided one after the other. A call that was reserved before changes nothing.
CREATE FUNCTION reserve(call uuid, model_name text, prompt bigint, completion bigint, lifetime interval) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  tenant uuid := tenancy.spending_tenant();
  task uuid := coalesce((kernel.current_proof()).task_id, '00000000-0000-0000-0000-000000000000');
  today date := (statement_timestamp() AT TIME ZONE 'UTC')::date;
  price tenancy.model_prices;
  cost bigint;
  exhausted text;
BEGIN
  INSERT INTO tenancy.spending (tenant_id, period, starts_on)
  VALUES (tenant, 'day', today), (tenant, 'month', date_trunc('month', today))
  ON CONFLICT DO NOTHING;
  PERFORM FROM tenancy.spending
  WHERE tenant_id = tenant AND (period, starts_on) IN (('day', today), ('month', date_trunc('month', today)::date))
  ORDER BY period FOR UPDATE;
  IF EXISTS (SELECT FROM tenancy.reservations WHERE tenant_id = tenant AND call_id = call) THEN RETURN NULL; END IF;
  SELECT * INTO price FROM tenancy.model_prices WHERE model = model_name;
  cost := tenancy.money_of(prompt, completion, coalesce(price.prompt_price, 0), coalesce(price.completion_price, 0));
  SELECT b.name INTO exhausted
  FROM tenancy.spending AS s, LATERAL (VALUES
    ('tokens_per_' || s.period, s.reserved_tokens + s.spent_tokens + prompt + completion),
    ('money_per_' || s.period, s.reserved_money + s.spent_money + cost)) AS b (name, used)
  WHERE s.tenant_id = tenant
    AND (s.period, s.starts_on) IN (('day', today), ('month', date_trunc('month', today)::date))
    AND b.used > tenancy.limit_of(tenant, b.name)
  ORDER BY s.period DESC, b.name DESC LIMIT 1;
  IF FOUND THEN RETURN exhausted; END IF;
  UPDATE tenancy.spending
  SET reserved_tokens = reserved_tokens + prompt + completion, reserved_money = reserved_money + cost
  WHERE tenant_id = tenant AND (period, starts_on) IN (('day', today), ('month', date_trunc('month', today)::date));
  INSERT INTO tenancy.reservations (tenant_id, call_id, task_id, model, day, state, prompt_tokens, completion_tokens,
                                    prompt_price, completion_price, money, expires_at)
  VALUES (tenant, call, task, model_name, today, 'reserved', prompt, completion, coalesce(price.prompt_price, 0),
          coalesce(price.completion_price, 0), cost, statement_timestamp() + least(lifetime, interval '1 day'));
  RETURN NULL;
END $$;

-- Before the request leaves; false: it must not.
CREATE FUNCTION mark_sent(call uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE tenant uuid := tenancy.spending_tenant();
BEGIN
  UPDATE tenancy.reservations SET state = 'sent' WHERE tenant_id = tenant AND call_id = call AND state = 'reserved';
  RETURN FOUND;
END $$;

-- Gives back what an open reservation holds and charges what was used, under the day of the reservation.
CREATE FUNCTION close_reservation(r tenancy.reservations, new_state text, prompt bigint, completion bigint,
                                  in_full boolean) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE cost bigint := tenancy.money_of(prompt, completion, r.prompt_price, r.completion_price);
BEGIN
  PERFORM FROM tenancy.spending
  WHERE tenant_id = r.tenant_id AND (period, starts_on) IN (('day', r.day), ('month', date_trunc('month', r.day)::date))
  ORDER BY period FOR UPDATE;
  UPDATE tenancy.spending
  SET reserved_tokens = reserved_tokens - r.prompt_tokens - r.completion_tokens,
    spent_tokens = spent_tokens + prompt + completion,
    reserved_money = reserved_money - r.money, spent_money = spent_money + cost
  WHERE tenant_id = r.tenant_id AND (period, starts_on) IN (('day', r.day), ('month', date_trunc('month', r.day)::date));
  UPDATE tenancy.reservations SET state = new_state WHERE tenant_id = r.tenant_id AND call_id = r.call_id;
  IF new_state = 'released' THEN RETURN; END IF;
  INSERT INTO tenancy.usage AS u (tenant_id, day, task_id, model, calls, calls_in_full, prompt_tokens, completion_tokens, money)
  VALUES (r.tenant_id, r.day, r.task_id, r.model, 1, in_full::integer, prompt, completion, cost)
  ON CONFLICT (tenant_id, day, task_id, model) DO UPDATE
  SET calls = u.calls + 1, calls_in_full = u.calls_in_full + excluded.calls_in_full,
    prompt_tokens = u.prompt_tokens + excluded.prompt_tokens,
    completion_tokens = u.completion_tokens + excluded.completion_tokens, money = u.money + excluded.money;
END $$;

-- Charges a sent call: what it used, or without numbers all that was reserved. False when it is not open.
CREATE FUNCTION settle(call uuid, prompt bigint, completion bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  tenant uuid := tenancy.spending_tenant();
  r tenancy.reservations;
BEGIN
  SELECT * INTO r FROM tenancy.reservations
  WHERE tenant_id = tenant AND call_id = call AND state = 'sent' FOR UPDATE;
  IF NOT FOUND THEN RETURN false; END IF;
  PERFORM tenancy.close_reservation(r, 'settled', coalesce(prompt, r.prompt_tokens),
                                    coalesce(completion, r.completion_tokens), prompt IS NULL OR completion IS NULL);
  RETURN true;
END $$;

-- Gives back what a call holds that never left, or that its server did not work on. False when it is not open.
CREATE FUNCTION release(call uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  tenant uuid := tenancy.spending_tenant();
  r tenancy.reservations;
BEGIN
  SELECT * INTO r FROM tenancy.reservations
  WHERE tenant_id = tenant AND call_id = call AND state IN ('reserved', 'sent') FOR UPDATE;
  IF NOT FOUND THEN RETURN false; END IF;
  PERFORM tenancy.close_reservation(r, 'released', 0, 0, false);
  RETURN true;
END $$;

-- Closes at most so many expired reservations: a sent one is charged in full, one that never left is released.
CREATE FUNCTION sweep_reservations(most integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r tenancy.reservations;
  closed integer := 0;
BEGIN
  FOR r IN
    SELECT * FROM tenancy.reservations
    WHERE state IN ('reserved', 'sent') AND expires_at < statement_timestamp()
    ORDER BY tenant_id, day LIMIT least(most, 1000) FOR UPDATE SKIP LOCKED
  LOOP
    IF r.state = 'sent' THEN
      PERFORM tenancy.close_reservation(r, 'settled', r.prompt_tokens, r.completion_tokens, true);
    ELSE
      PERFORM tenancy.close_reservation(r, 'released', 0, 0, false);
    END IF;
    closed := closed + 1;
  END LOOP;
  RETURN closed;
END $$;

DO $$
DECLARE signature text;
BEGIN
  FOREACH signature IN ARRAY ARRAY[
    'money_of(bigint, bigint, bigint, bigint)', 'spending_tenant()', 'reserve(uuid, text, bigint, bigint, interval)',
    'mark_sent(uuid)', 'close_reservation(reservations, text, bigint, bigint, boolean)', 'settle(uuid, bigint, bigint)',
    'release(uuid)', 'sweep_reservations(integer)'
  ] LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
    EXECUTE format('ALTER FUNCTION %s OWNER TO tenancy_accountant', signature);
  END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION money_of(bigint, bigint, bigint, bigint),
  close_reservation(reservations, text, bigint, bigint, boolean) TO tenancy_sweeper;
ALTER FUNCTION sweep_reservations(integer) OWNER TO tenancy_sweeper;
GRANT EXECUTE ON FUNCTION sweep_reservations(integer) TO tenancy_app;
GRANT EXECUTE ON FUNCTION reserve(uuid, text, bigint, bigint, interval), mark_sent(uuid), settle(uuid, bigint, bigint),
  release(uuid) TO docs_app, faqgen_app, codegen_app;

-- migrate:down
SELECT 1 / 0;  -- forward only

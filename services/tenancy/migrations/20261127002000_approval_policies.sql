-- migrate:up

-- What a tenant wants a person to agree to. A tenant without a row has set nothing.
CREATE TABLE approval_policies (
  tenant_id uuid NOT NULL PRIMARY KEY,
  publishing boolean NOT NULL,
  tokens_per_task bigint CHECK (tokens_per_task > 0),
  money_per_task bigint CHECK (money_per_task > 0),
  self_approval boolean NOT NULL,
  lifetime_seconds bigint NOT NULL CHECK (lifetime_seconds BETWEEN 1 AND 1209600),
  set_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN approval_policies.tokens_per_task IS 'what a task may use before it asks; NULL: no limit';
COMMENT ON COLUMN approval_policies.money_per_task IS 'in millionths of the currency; NULL: no limit';
COMMENT ON COLUMN approval_policies.lifetime_seconds IS
  'how long a request may be decided; a task and its seals are open for thirty days';

-- The tasks of which somebody agreed that they spend more than the policy's limit.
CREATE TABLE lifted_limits (
  tenant_id uuid NOT NULL,
  task_id uuid NOT NULL,
  lifted_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, task_id)
);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['approval_policies', 'lifted_limits'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('GRANT SELECT ON %I TO tenancy_app', name);
  END LOOP;
END $$;
CREATE POLICY tenant ON approval_policies TO tenancy_app, tenancy_administrator, tenancy_accountant
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
GRANT SELECT, INSERT, UPDATE ON approval_policies TO tenancy_administrator;
GRANT SELECT ON approval_policies TO tenancy_accountant;
CREATE POLICY tenant ON lifted_limits TO tenancy_app, tenancy_accountant
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
GRANT SELECT, INSERT ON lifted_limits TO tenancy_accountant;
CREATE INDEX usage_of_task ON usage (tenant_id, task_id);
CREATE INDEX reservations_of_task ON reservations (tenant_id, task_id) WHERE state IN ('reserved', 'sent');

-- Of the session's tenant: one row, also where nothing was set.
CREATE FUNCTION approval_policy() RETURNS approval_policies
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  tenant uuid := tenancy.spending_tenant();
  found_policy tenancy.approval_policies;
BEGIN
  SELECT * INTO found_policy FROM tenancy.approval_policies WHERE tenant_id = tenant;
  IF NOT FOUND THEN found_policy := (tenant, false, NULL, NULL, false, 604800, NULL); END IF;
  RETURN found_policy;
END $$;

-- Owners alone: whoever may administer would else be free of what others have to ask for.
CREATE FUNCTION set_approval_policy(
  new_publishing boolean, new_tokens_per_task bigint, new_money_per_task bigint, new_self_approval boolean,
  new_lifetime_seconds bigint
) RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE old_policy tenancy.approval_policies;
BEGIN
  PERFORM tenancy.held_scopes('tenants.write');
  old_policy := tenancy.approval_policy();
  INSERT INTO tenancy.approval_policies AS p
    (tenant_id, publishing, tokens_per_task, money_per_task, self_approval, lifetime_seconds)
  VALUES (kernel.tenant_id(), new_publishing, new_tokens_per_task, new_money_per_task, new_self_approval,
          new_lifetime_seconds)
  ON CONFLICT (tenant_id) DO UPDATE SET publishing = excluded.publishing, tokens_per_task = excluded.tokens_per_task,
    money_per_task = excluded.money_per_task, self_approval = excluded.self_approval,
    lifetime_seconds = excluded.lifetime_seconds, set_at = now();
  PERFORM tenancy.record('policies.set', 'approvalPolicy', jsonb_build_object(
    'publishing', new_publishing, 'tokens_per_task', new_tokens_per_task, 'money_per_task', new_money_per_task,
    'self_approval', new_self_approval, 'lifetime_seconds', new_lifetime_seconds,
    'old', to_jsonb(old_policy) - 'tenant_id' - 'set_at'));
END $$;

-- Whether somebody of the session's tenant may do something at this moment: the tenant is active, and the key or the
-- member holds the scope.
CREATE FUNCTION may_now(who text, scope text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (SELECT FROM tenancy.tenants AS t WHERE t.tenant_id = here AND t.state = 'active')
    AND (EXISTS (SELECT FROM tenancy.api_keys AS k
                 WHERE k.tenant_id = here AND 'key:' || k.key_id = who AND k.revoked_at IS NULL
                   AND (k.expires_at IS NULL OR k.expires_at > statement_timestamp()) AND scope = ANY (k.scopes))
      OR EXISTS (SELECT FROM tenancy.members AS m
                 WHERE m.tenant_id = here AND 'user:' || m.member_id = who
                   AND scope = ANY (tenancy.scopes_of_role(m.role))))
  FROM kernel.tenant_id() AS here
$$;

-- Who stands behind a principal: a key acts for whoever made it, and that key for its maker.
CREATE FUNCTION stands_behind(who text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH RECURSIVE makers (principal, depth) AS (
    SELECT who, 0
    UNION ALL
    SELECT k.creator, m.depth + 1 FROM makers AS m JOIN tenancy.api_keys AS k
      ON k.tenant_id = (SELECT kernel.tenant_id()) AND 'key:' || k.key_id = m.principal
    WHERE k.creator ~ '^(key|user):' AND m.depth < 100
  )
  SELECT principal FROM makers ORDER BY depth DESC LIMIT 1
$$;

-- The session's task may spend more than the policy's limit. A seal's session alone has a task.
CREATE FUNCTION lift_task_limit() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE task uuid := (kernel.current_proof()).task_id;
BEGIN
  IF task IS NULL THEN
    RAISE EXCEPTION 'the session is of no task' USING ERRCODE = 'insufficient_privilege';
  END IF;
  INSERT INTO tenancy.lifted_limits (tenant_id, task_id) VALUES (tenancy.spending_tenant(), task)
  ON CONFLICT DO NOTHING;
END $$;

-- What a task of the session's tenant has used, and what its open calls may still use.
CREATE FUNCTION task_spending(task uuid, OUT tokens bigint, OUT money bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(sum(s.tokens), 0)::bigint, coalesce(sum(s.money), 0)::bigint
  FROM (SELECT u.prompt_tokens + u.completion_tokens, u.money FROM tenancy.usage AS u
        WHERE u.tenant_id = (SELECT kernel.tenant_id()) AND u.task_id = task
        UNION ALL
        SELECT r.prompt_tokens + r.completion_tokens, r.money FROM tenancy.reservations AS r
        WHERE r.tenant_id = (SELECT kernel.tenant_id()) AND r.task_id = task AND r.state IN ('reserved', 'sent')
       ) AS s (tokens, money)
$$;

-- The limit of the policy that a task would pass with so much more; NULL when it may, and for a call of no task.
CREATE FUNCTION task_limit_passed(task uuid, more_tokens bigint, more_money bigint) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  policy tenancy.approval_policies := tenancy.approval_policy();
  spent record;
BEGIN
  IF task IS NULL OR (policy.tokens_per_task IS NULL AND policy.money_per_task IS NULL) THEN RETURN NULL; END IF;
  IF EXISTS (SELECT FROM tenancy.lifted_limits WHERE tenant_id = policy.tenant_id AND task_id = task) THEN
    RETURN NULL;
  END IF;
  SELECT * INTO spent FROM tenancy.task_spending(task);
  IF spent.tokens + more_tokens > policy.tokens_per_task THEN RETURN 'tokens_per_task'; END IF;
  IF spent.money + more_money > policy.money_per_task THEN RETURN 'money_per_task'; END IF;
  RETURN NULL;
END $$;

-- As before, and held to what a task may spend without an approval.
CREATE OR REPLACE FUNCTION reserve(call uuid, model_name text, prompt bigint, completion bigint, lifetime interval)
RETURNS text LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
  exhausted := tenancy.task_limit_passed((kernel.current_proof()).task_id, prompt + completion, cost);
  IF exhausted IS NOT NULL THEN RETURN exhausted; END IF;
  UPDATE tenancy.spending
  SET reserved_tokens = reserved_tokens + prompt + completion, reserved_money = reserved_money + cost
  WHERE tenant_id = tenant AND (period, starts_on) IN (('day', today), ('month', date_trunc('month', today)::date));
  INSERT INTO tenancy.reservations (tenant_id, call_id, task_id, model, day, state, prompt_tokens, completion_tokens,
                                    prompt_price, completion_price, money, expires_at)
  VALUES (tenant, call, task, model_name, today, 'reserved', prompt, completion, coalesce(price.prompt_price, 0),
          coalesce(price.completion_price, 0), cost, statement_timestamp() + least(lifetime, interval '1 day'));
  RETURN NULL;
END $$;

-- The same table as in services/tenancy/domain/principals.py, where a test compares them.
CREATE OR REPLACE FUNCTION scopes_of_role(role text) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE role WHEN 'owner' THEN owner WHEN 'admin' THEN admin WHEN 'member' THEN member WHEN 'viewer' THEN viewer END
  FROM (SELECT ARRAY['answers.read', 'changes.read', 'documents.read', 'faqs.read', 'sources.read', 'subscriptions.read',
                     'tasks.read', 'tenants.read', 'usage.read'] AS viewer) AS v,
    LATERAL (SELECT viewer || ARRAY['sources.write', 'tasks.write'] AS member) AS m,
    LATERAL (SELECT member || ARRAY['approvals.write', 'audit.read', 'keys.read', 'keys.write', 'limits.write',
                                    'members.read', 'members.write', 'secrets.write', 'subscriptions.write'] AS admin) AS a,
    LATERAL (SELECT admin || ARRAY['tenants.write'] AS owner) AS o
$$;

DO $$
DECLARE signature text;
BEGIN
  FOREACH signature IN ARRAY ARRAY[
    'approval_policy()', 'set_approval_policy(boolean, bigint, bigint, boolean, bigint)', 'may_now(text, text)',
    'stands_behind(text)', 'lift_task_limit()', 'task_spending(uuid)', 'task_limit_passed(uuid, bigint, bigint)'
  ] LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
    EXECUTE format('ALTER FUNCTION %s OWNER TO tenancy_accountant', signature);
  END LOOP;
END $$;
ALTER FUNCTION set_approval_policy(boolean, bigint, bigint, boolean, bigint) OWNER TO tenancy_administrator;
ALTER FUNCTION may_now(text, text) OWNER TO tenancy_authenticator;
ALTER FUNCTION stands_behind(text) OWNER TO tenancy_authenticator;
GRANT EXECUTE ON FUNCTION approval_policy() TO tenancy_app, orchestrator_app, tenancy_administrator;
GRANT EXECUTE ON FUNCTION set_approval_policy(boolean, bigint, bigint, boolean, bigint) TO tenancy_app;
GRANT EXECUTE ON FUNCTION may_now(text, text), stands_behind(text), lift_task_limit(), task_spending(uuid)
  TO orchestrator_app;
GRANT EXECUTE ON FUNCTION record_refusal(text, text, text, jsonb, text) TO orchestrator_app;

-- The first keys of existing tenants may do what those of new ones may.
ALTER TABLE api_keys NO FORCE ROW LEVEL SECURITY;
UPDATE api_keys SET scopes = scopes_of_role('owner')
WHERE display_name = 'first key' AND scopes @> array_remove(scopes_of_role('owner'), 'approvals.write')
  AND scopes <@ scopes_of_role('owner');
ALTER TABLE api_keys FORCE ROW LEVEL SECURITY;

-- migrate:down
SELECT 1 / 0;  -- forward only

-- migrate:up

ALTER TABLE approval_policies ADD COLUMN unapproved_delivery boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN approval_policies.unapproved_delivery IS 'a verified change is pushed without an approval';

CREATE OR REPLACE FUNCTION approval_policy() RETURNS approval_policies
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  tenant uuid := tenancy.spending_tenant();
  found_policy tenancy.approval_policies;
BEGIN
  SELECT * INTO found_policy FROM tenancy.approval_policies WHERE tenant_id = tenant;
  IF NOT FOUND THEN found_policy := (tenant, false, NULL, NULL, false, 604800, NULL, false); END IF;
  RETURN found_policy;
END $$;

-- Owners alone: whoever may administer would else be free of what others have to ask for.
DROP FUNCTION set_approval_policy(boolean, bigint, bigint, boolean, bigint);
CREATE FUNCTION set_approval_policy(
  new_publishing boolean, new_tokens_per_task bigint, new_money_per_task bigint, new_self_approval boolean,
  new_lifetime_seconds bigint, new_unapproved_delivery boolean
) RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE old_policy tenancy.approval_policies;
BEGIN
  PERFORM tenancy.held_scopes('tenants.write');
  old_policy := tenancy.approval_policy();
  INSERT INTO tenancy.approval_policies AS p
    (tenant_id, publishing, tokens_per_task, money_per_task, self_approval, lifetime_seconds, unapproved_delivery)
  VALUES (kernel.tenant_id(), new_publishing, new_tokens_per_task, new_money_per_task, new_self_approval,
          new_lifetime_seconds, new_unapproved_delivery)
  ON CONFLICT (tenant_id) DO UPDATE SET publishing = excluded.publishing, tokens_per_task = excluded.tokens_per_task,
    money_per_task = excluded.money_per_task, self_approval = excluded.self_approval,
    lifetime_seconds = excluded.lifetime_seconds, unapproved_delivery = excluded.unapproved_delivery, set_at = now();
  PERFORM tenancy.record('policies.set', 'approvalPolicy', jsonb_build_object(
    'publishing', new_publishing, 'tokens_per_task', new_tokens_per_task, 'money_per_task', new_money_per_task,
    'self_approval', new_self_approval, 'lifetime_seconds', new_lifetime_seconds,
    'unapproved_delivery', new_unapproved_delivery, 'old', to_jsonb(old_policy) - 'tenant_id' - 'set_at'));
END $$;

REVOKE ALL ON FUNCTION set_approval_policy(boolean, bigint, bigint, boolean, bigint, boolean) FROM PUBLIC;
ALTER FUNCTION set_approval_policy(boolean, bigint, bigint, boolean, bigint, boolean) OWNER TO tenancy_administrator;
GRANT EXECUTE ON FUNCTION set_approval_policy(boolean, bigint, bigint, boolean, bigint, boolean) TO tenancy_app;

-- migrate:down
SELECT 1 / 0;  -- forward only

-- migrate:up

CREATE INDEX tasks_ended ON tasks (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX webhook_deliveries_ended ON webhook_deliveries (ended_at) WHERE ended_at IS NOT NULL;

CREATE POLICY janitor_read ON tasks FOR SELECT TO gateway_janitor USING (true);
CREATE POLICY janitor_read ON task_events FOR SELECT TO gateway_janitor USING (true);
CREATE POLICY janitor_read ON webhook_deliveries FOR SELECT TO gateway_janitor USING (true);
CREATE POLICY janitor ON tasks FOR DELETE TO gateway_janitor USING (ended_at < now() - interval '8 days');
CREATE POLICY janitor ON task_events FOR DELETE TO gateway_janitor USING (received_at < now() - interval '8 days');
CREATE POLICY janitor ON webhook_deliveries FOR DELETE TO gateway_janitor USING (ended_at < now() - interval '8 days');
COMMENT ON POLICY janitor_read ON tasks IS 'declared: what of all tenants is over';
COMMENT ON POLICY janitor_read ON task_events IS 'declared: what of all tenants is over';
COMMENT ON POLICY janitor_read ON webhook_deliveries IS 'declared: what of all tenants is over';
COMMENT ON POLICY janitor ON tasks IS 'declared: tasks of all tenants whose last message has left the bus';
COMMENT ON POLICY janitor ON task_events IS 'declared: the events of those tasks';
COMMENT ON POLICY janitor ON webhook_deliveries IS 'declared: deliveries of all tenants whose event has left the bus';
GRANT SELECT (tenant_id, task_id, ended_at), DELETE ON tasks TO gateway_janitor;
GRANT SELECT (tenant_id, task_id, received_at), DELETE ON task_events TO gateway_janitor;
GRANT SELECT (tenant_id, delivery_id, ended_at), DELETE ON webhook_deliveries TO gateway_janitor;

CREATE FUNCTION sweep_tasks(kept interval, most integer) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = gateway, pg_catalog, pg_temp AS $$
  WITH over AS (
    SELECT tenant_id, task_id FROM tasks WHERE ended_at < now() - kept ORDER BY ended_at LIMIT most
  ), events_over AS (
    DELETE FROM task_events AS e USING over WHERE e.tenant_id = over.tenant_id AND e.task_id = over.task_id
  ), tasks_over AS (
    DELETE FROM tasks AS t USING over WHERE t.tenant_id = over.tenant_id AND t.task_id = over.task_id RETURNING 1
  )
  SELECT count(*) FROM tasks_over
$$;

CREATE FUNCTION sweep_webhook_deliveries(kept interval, most integer) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = gateway, pg_catalog, pg_temp AS $$
  WITH over AS (
    SELECT tenant_id, delivery_id FROM webhook_deliveries WHERE ended_at < now() - kept ORDER BY ended_at LIMIT most
  ), deleted AS (
    DELETE FROM webhook_deliveries AS d USING over
    WHERE d.tenant_id = over.tenant_id AND d.delivery_id = over.delivery_id RETURNING 1
  )
  SELECT count(*) FROM deleted
$$;

REVOKE ALL ON FUNCTION sweep_tasks(interval, integer), sweep_webhook_deliveries(interval, integer) FROM PUBLIC;
ALTER FUNCTION sweep_tasks(interval, integer) OWNER TO gateway_janitor;
ALTER FUNCTION sweep_webhook_deliveries(interval, integer) OWNER TO gateway_janitor;
SET LOCAL ROLE gateway_janitor;
GRANT EXECUTE ON FUNCTION sweep_tasks(interval, integer), sweep_webhook_deliveries(interval, integer) TO gateway_relay;
SET LOCAL ROLE gateway_owner;

-- migrate:down
SELECT 1 / 0;  -- forward only

-- migrate:up

-- Where an event stands in its tenant's feed, once it is applied: the number of the transaction that applied it, after
-- those of the database's earlier lives, but never before the event of its task that it follows. It may be read when every transaction below it has ended
-- (docs/adr/0022-the-feed-is-read-behind-open-transactions.md). Events of before have no id, and no place.
ALTER TABLE task_events ADD COLUMN event_id uuid, ADD COLUMN type text, ADD COLUMN feed_position bigint;
CREATE UNIQUE INDEX task_events_feed ON task_events (tenant_id, feed_position, sequence)
  WHERE feed_position IS NOT NULL;
GRANT UPDATE (feed_position) ON task_events TO gateway_app;

-- A database that was restored counts its transactions anew. `begin_life` is called after each run of the migrations.
CREATE TABLE feed_life (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  cluster text NOT NULL,
  first_position bigint NOT NULL
);
COMMENT ON TABLE feed_life IS 'global: how the transactions of this database are counted, whosever they are';
ALTER TABLE feed_life ENABLE ROW LEVEL SECURITY;
ALTER TABLE feed_life FORCE ROW LEVEL SECURITY;
CREATE POLICY life_read ON feed_life FOR SELECT TO gateway_app USING (true);
CREATE POLICY life ON feed_life TO gateway_owner USING (true) WITH CHECK (true);
COMMENT ON POLICY life_read ON feed_life IS 'declared: events of all tenants are counted alike';
COMMENT ON POLICY life ON feed_life IS 'declared: the migrator begins a life';
GRANT SELECT ON feed_life TO gateway_app;

-- More transactions than a life has. Those that count by the life before end before the next one begins.
CREATE FUNCTION begin_life() RETURNS void LANGUAGE sql VOLATILE SET search_path = gateway, pg_catalog, pg_temp AS $$
  LOCK TABLE feed_life;
  INSERT INTO feed_life AS life (cluster, first_position)
  SELECT concat_ws('/', s.system_identifier, c.timeline_id), 0 FROM pg_control_system() AS s, pg_control_checkpoint() AS c
  ON CONFLICT (one) DO UPDATE
  SET cluster = excluded.cluster, first_position = life.first_position + (1::bigint << 40)
  WHERE life.cluster <> excluded.cluster
$$;
REVOKE ALL ON FUNCTION begin_life() FROM PUBLIC;

-- The last place from which something was deleted: who has read less has missed it.
CREATE TABLE feed_floors (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  feed_position bigint NOT NULL,
  sequence bigint NOT NULL,
  PRIMARY KEY (tenant_id)
);
ALTER TABLE feed_floors ENABLE ROW LEVEL SECURITY;
ALTER TABLE feed_floors FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON feed_floors TO gateway_app
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
CREATE POLICY janitor ON feed_floors TO gateway_janitor USING (true) WITH CHECK (true);
COMMENT ON POLICY janitor ON feed_floors IS 'declared: up to where the events of all tenants were deleted';
GRANT SELECT ON feed_floors TO gateway_app;
GRANT SELECT, INSERT, UPDATE ON feed_floors TO gateway_janitor;
GRANT SELECT (feed_position, sequence) ON task_events TO gateway_janitor;

SET LOCAL ROLE gateway_janitor;
CREATE OR REPLACE FUNCTION sweep_tasks(kept interval, most integer) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = gateway, pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_sort = off SET enable_incremental_sort = off AS $$
  WITH over AS (
    SELECT tenant_id, task_id FROM tasks WHERE ended_at < now() - kept ORDER BY ended_at LIMIT most
  ), events_over AS (
    DELETE FROM task_events AS e USING over WHERE e.tenant_id = over.tenant_id AND e.task_id = over.task_id
    RETURNING e.tenant_id, e.feed_position, e.sequence
  ), last AS (
    SELECT tenant_id, max(ARRAY[feed_position, sequence]) AS place FROM events_over
    WHERE feed_position IS NOT NULL GROUP BY tenant_id
  ), floors AS (
    INSERT INTO feed_floors AS f (tenant_id, feed_position, sequence) SELECT tenant_id, place[1], place[2] FROM last
    ON CONFLICT (tenant_id) DO UPDATE SET feed_position = excluded.feed_position, sequence = excluded.sequence
    WHERE (f.feed_position, f.sequence) < (excluded.feed_position, excluded.sequence)
  ), tasks_over AS (
    DELETE FROM tasks AS t USING over WHERE t.tenant_id = over.tenant_id AND t.task_id = over.task_id RETURNING 1
  )
  SELECT count(*) FROM tasks_over
$$;
SET LOCAL ROLE gateway_owner;

-- migrate:down
SELECT 1 / 0;  -- forward only

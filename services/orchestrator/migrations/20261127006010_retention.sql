-- migrate:up

-- Checkpoints are of no use once their task has ended; the mark keeps the tasks that have none out of the index.
ALTER TABLE tasks ADD COLUMN has_checkpoints boolean NOT NULL DEFAULT true;
CREATE INDEX tasks_with_checkpoints ON tasks (ended_at) WHERE has_checkpoints AND ended_at IS NOT NULL;
CREATE INDEX tasks_ended ON tasks (ended_at) WHERE ended_at IS NOT NULL;

-- What belongs to a task goes with it.
DO $$
DECLARE key record;
BEGIN
  FOR key IN SELECT conname, conrelid::regclass AS child FROM pg_constraint
             WHERE contype = 'f' AND confrelid = 'tasks'::regclass AND confdeltype = 'a'
  LOOP
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I, ADD CONSTRAINT %I FOREIGN KEY (tenant_id, task_id) '
                   'REFERENCES tasks (tenant_id, task_id) ON DELETE CASCADE', key.child, key.conname, key.conname);
  END LOOP;
END $$;

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['tasks', 'checkpoints', 'checkpoint_blobs', 'checkpoint_writes'] LOOP
    EXECUTE format('CREATE POLICY janitor_read ON %I FOR SELECT TO orchestrator_janitor USING (true)', name);
    EXECUTE format('COMMENT ON POLICY janitor_read ON %I IS %L', name, 'declared: what of all tenants is over');
  END LOOP;
  FOREACH name IN ARRAY ARRAY['checkpoints', 'checkpoint_blobs', 'checkpoint_writes'] LOOP
    EXECUTE format('CREATE POLICY janitor ON %I FOR DELETE TO orchestrator_janitor USING (true)', name);
    EXECUTE format('COMMENT ON POLICY janitor ON %I IS %L', name, 'declared: of tasks that ended long enough ago');
  END LOOP;
END $$;
CREATE POLICY janitor ON tasks FOR DELETE TO orchestrator_janitor USING (ended_at < now() - interval '8 days');
CREATE POLICY janitor_mark ON tasks FOR UPDATE TO orchestrator_janitor USING (ended_at < now() - interval '1 hour') WITH CHECK (true);
COMMENT ON POLICY janitor ON tasks IS 'declared: tasks of all tenants whose last message has left the bus';
COMMENT ON POLICY janitor_mark ON tasks IS 'declared: that a task has no checkpoints any more; its column grant is that alone';
GRANT SELECT (tenant_id, task_id, ended_at, has_checkpoints), UPDATE (has_checkpoints), DELETE ON tasks TO orchestrator_janitor;
GRANT SELECT (tenant_id, thread_id), DELETE ON checkpoints, checkpoint_blobs, checkpoint_writes TO orchestrator_janitor;

-- How many tasks lost their checkpoints; what UPDATE did not mark, its policy does not let go.
CREATE FUNCTION sweep_checkpoints(kept interval, most integer) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = orchestrator, pg_catalog, pg_temp AS $$
  WITH over AS (
    UPDATE tasks AS t SET has_checkpoints = false
    FROM (SELECT tenant_id, task_id FROM tasks WHERE has_checkpoints AND ended_at < now() - kept
          ORDER BY ended_at LIMIT most) AS old
    WHERE t.tenant_id = old.tenant_id AND t.task_id = old.task_id
    RETURNING t.tenant_id, t.task_id::text AS thread_id
  ), checkpoints_over AS (
    DELETE FROM checkpoints AS c USING over WHERE c.tenant_id = over.tenant_id AND c.thread_id = over.thread_id
  ), blobs_over AS (
    DELETE FROM checkpoint_blobs AS b USING over WHERE b.tenant_id = over.tenant_id AND b.thread_id = over.thread_id
  ), writes_over AS (
    DELETE FROM checkpoint_writes AS w USING over WHERE w.tenant_id = over.tenant_id AND w.thread_id = over.thread_id
  )
  SELECT count(*) FROM over
$$;

CREATE FUNCTION sweep_tasks(kept interval, most integer) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = orchestrator, pg_catalog, pg_temp AS $$
  WITH over AS (
    SELECT tenant_id, task_id FROM tasks
    WHERE ended_at < now() - kept AND NOT has_checkpoints ORDER BY ended_at LIMIT most
  ), deleted AS (
    DELETE FROM tasks AS t USING over WHERE t.tenant_id = over.tenant_id AND t.task_id = over.task_id RETURNING 1
  )
  SELECT count(*) FROM deleted
$$;

REVOKE ALL ON FUNCTION sweep_checkpoints(interval, integer), sweep_tasks(interval, integer) FROM PUBLIC;
ALTER FUNCTION sweep_checkpoints(interval, integer) OWNER TO orchestrator_janitor;
ALTER FUNCTION sweep_tasks(interval, integer) OWNER TO orchestrator_janitor;
SET LOCAL ROLE orchestrator_janitor;
GRANT EXECUTE ON FUNCTION sweep_checkpoints(interval, integer), sweep_tasks(interval, integer) TO orchestrator_relay;
SET LOCAL ROLE orchestrator_owner;

-- migrate:down
SELECT 1 / 0;  -- forward only

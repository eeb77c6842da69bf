-- migrate:up

-- A task is queued until it is admitted, and holds a slot while it is admitted or running: slots are counted from these
-- rows, so that none is lost or used twice whatever dies. A queued task has its start as a held message in the outbox.
ALTER TABLE tasks DROP CONSTRAINT tasks_state_check, ADD CONSTRAINT tasks_state_check CHECK (state IN
  ('running', 'queued', 'admitted', 'waiting_for_approval', 'succeeded', 'partly_succeeded', 'failed', 'cancelled', 'expired'));
ALTER TABLE tasks
  ADD COLUMN priority smallint NOT NULL DEFAULT 2 CHECK (priority BETWEEN 1 AND 3),
  ADD COLUMN start_id uuid,
  ADD COLUMN admitted_at timestamptz;
COMMENT ON COLUMN tasks.start_id IS 'the held message that starts it; NULL when a slot was free at once';
CREATE INDEX tasks_queued ON tasks (tenant_id, priority DESC, created_at, task_id) WHERE state = 'queued';
CREATE INDEX tasks_in_slots ON tasks (tenant_id) WHERE state IN ('admitted', 'running');
CREATE INDEX tasks_that_waited ON tasks (tenant_id, admitted_at) WHERE start_id IS NOT NULL;

CREATE TABLE admission (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  concurrency integer NOT NULL CHECK (concurrency > 0),
  virtual_time bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE admission IS 'global: how many tasks of all tenants run at a time, and how far the fair queue is';
INSERT INTO admission (concurrency) VALUES (64);

CREATE TABLE shares (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  pass bigint NOT NULL,
  PRIMARY KEY (tenant_id)
);
COMMENT ON COLUMN shares.pass IS 'the finish tag of the tenant''s last admitted task';

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['admission', 'shares'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY admission ON %I TO orchestrator_admission USING (true) WITH CHECK (true)', name);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %I TO orchestrator_admission', name);
  END LOOP;
END $$;
COMMENT ON POLICY admission ON admission IS 'declared: the slots belong to no tenant';
COMMENT ON POLICY admission ON shares IS 'declared: admission compares the shares of all tenants';
CREATE POLICY tenant ON shares TO orchestrator_app
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
GRANT SELECT ON shares TO orchestrator_app;

CREATE POLICY admission_read ON tasks FOR SELECT TO orchestrator_admission USING (true);
CREATE POLICY admission_mark ON tasks FOR UPDATE TO orchestrator_admission USING (true) WITH CHECK (true);
CREATE POLICY admission_read ON outbox FOR SELECT TO orchestrator_admission USING (true);
CREATE POLICY admission_mark ON outbox FOR UPDATE TO orchestrator_admission USING (true) WITH CHECK (true);
COMMENT ON POLICY admission_read ON tasks IS 'declared: slots are counted over all tenants; its column grant holds no content';
COMMENT ON POLICY admission_mark ON tasks IS 'declared: admits the queued tasks of all tenants; its column grant is their state alone';
COMMENT ON POLICY admission_read ON outbox IS 'declared: finds the held start of an admitted task; its column grant is the key alone';
COMMENT ON POLICY admission_mark ON outbox IS 'declared: marks the start of an admitted task due; its column grant is due_at alone';
GRANT SELECT (tenant_id, task_id, state, priority, created_at, start_id), UPDATE (state, admitted_at)
  ON tasks TO orchestrator_admission;
GRANT SELECT (tenant_id, id), UPDATE (due_at) ON outbox TO orchestrator_admission;

SET LOCAL check_function_bodies = off;  -- tenancy's functions come after these

-- Whether so many more tasks of the tenant find a slot.
CREATE FUNCTION has_room(tenant uuid, wanted integer) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT a.concurrency >= wanted + (SELECT count(*) FROM orchestrator.tasks WHERE state IN ('admitted', 'running'))
    AND coalesce(s.concurrency >= wanted + (SELECT count(*) FROM orchestrator.tasks AS t
                                            WHERE t.state IN ('admitted', 'running') AND t.tenant_id = tenant), true)
  FROM orchestrator.admission AS a, tenancy.task_shares(ARRAY[tenant]) AS s
$$;

-- Start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996): a task starts at the later of the virtual time and its
-- tenant's last finish tag, and its cost, 1, is divided by the tenant's weight. What a tenant left unused is not saved up.
CREATE FUNCTION charge(tenant uuid) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  WITH priced AS (
    SELECT a.virtual_time AS reached, 100000000 / s.weight AS cost
    FROM orchestrator.admission AS a, tenancy.task_shares(ARRAY[tenant]) AS s
  ), charged AS (
    INSERT INTO orchestrator.shares AS s (tenant_id, pass) SELECT tenant, reached + cost FROM priced
    ON CONFLICT (tenant_id) DO UPDATE SET pass = greatest(s.pass, (SELECT reached FROM priced)) + (SELECT cost FROM priced)
    RETURNING pass
  )
  UPDATE orchestrator.admission SET virtual_time = greatest(virtual_time, pass - cost) FROM charged, priced
$$;

CREATE TYPE queued_task AS (tenant_id uuid, task_id uuid, start_id uuid);

-- The queued task that gets the next free slot, or none. Whoever holds the fewest slots for its weight goes first
-- (progressive filling: Ghodsi et al., NSDI 2011, algorithm 1, of one resource); among equals, the lowest start tag.
-- Inside a tenant: by priority, then in the order of arrival.
CREATE FUNCTION next_in_queue() RETURNS SETOF queued_task
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  WITH RECURSIVE waiting (tenant_id) AS (
    (SELECT tenant_id FROM orchestrator.tasks WHERE state = 'queued' ORDER BY tenant_id LIMIT 1)
    UNION ALL
    SELECT (SELECT t.tenant_id FROM orchestrator.tasks AS t
            WHERE t.state = 'queued' AND t.tenant_id > w.tenant_id ORDER BY t.tenant_id LIMIT 1)
    FROM waiting AS w WHERE w.tenant_id IS NOT NULL
  ), holding AS (
    SELECT tenant_id, count(*) AS slots FROM orchestrator.tasks WHERE state IN ('admitted', 'running') GROUP BY tenant_id
  ), share AS (
    SELECT * FROM tenancy.task_shares(ARRAY(SELECT tenant_id FROM waiting WHERE tenant_id IS NOT NULL))
  )
  SELECT share.tenant_id, head.task_id, head.start_id
  FROM share
  LEFT JOIN holding ON holding.tenant_id = share.tenant_id
  LEFT JOIN orchestrator.shares AS s ON s.tenant_id = share.tenant_id
  CROSS JOIN orchestrator.admission AS a
  CROSS JOIN LATERAL (
    SELECT t.task_id, t.start_id, t.created_at FROM orchestrator.tasks AS t
    WHERE t.tenant_id = share.tenant_id AND t.state = 'queued'
    ORDER BY t.priority DESC, t.created_at, t.task_id LIMIT 1
  ) AS head
  WHERE coalesce(coalesce(holding.slots, 0) < share.concurrency, true)
  ORDER BY coalesce(holding.slots, 0)::numeric / share.weight, greatest(s.pass, a.virtual_time), head.created_at, 1
  LIMIT 1
$$;

-- Fills the free slots and returns how many tasks it admitted. One decision at a time: the lock is held until the commit,
-- and every statement after it sees what was decided before.
CREATE FUNCTION admit() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  free bigint;
  next orchestrator.queued_task;
  admitted integer := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('orchestrator.admission', 0));
  IF NOT EXISTS (SELECT FROM orchestrator.tasks WHERE state = 'queued') THEN RETURN 0; END IF;
  SELECT concurrency - (SELECT count(*) FROM orchestrator.tasks WHERE state IN ('admitted', 'running')) INTO free
  FROM orchestrator.admission;
  WHILE free > 0 LOOP
    SELECT * INTO next FROM orchestrator.next_in_queue();
    EXIT WHEN NOT FOUND;
    UPDATE orchestrator.tasks SET state = 'admitted', admitted_at = clock_timestamp()
    WHERE tenant_id = next.tenant_id AND task_id = next.task_id AND state = 'queued';
    CONTINUE WHEN NOT FOUND;  -- cancelled meanwhile
    UPDATE orchestrator.outbox SET due_at = now() WHERE tenant_id = next.tenant_id AND id = next.start_id;
    PERFORM orchestrator.charge(next.tenant_id);
    free := free - 1;
    admitted := admitted + 1;
  END LOOP;
  RETURN admitted;
END $$;

-- A new task starts at once where a slot seems free. No lock: that is held from the decision to the commit, and the start
-- of a task lies between them.
CREATE FUNCTION place_task() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF orchestrator.has_room(NEW.tenant_id, 1) THEN
    NEW.state := 'running';
    NEW.admitted_at := clock_timestamp();
  END IF;
  RETURN NEW;
END $$;

-- At its commit: whether the slot was free indeed. Where another took it meanwhile, the transaction is run again.
CREATE FUNCTION confirm_slot() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('orchestrator.admission', 0));
  IF NOT orchestrator.has_room(NEW.tenant_id, 0) THEN
    RAISE EXCEPTION 'another task took the slot' USING ERRCODE = 'serialization_failure';
  END IF;
  PERFORM orchestrator.charge(NEW.tenant_id);
  RETURN NULL;
END $$;

CREATE FUNCTION fill_slots() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM orchestrator.admit();
  RETURN NULL;
END $$;

CREATE FUNCTION set_concurrency(new_concurrency integer) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE orchestrator.admission SET concurrency = new_concurrency WHERE concurrency <> new_concurrency
$$;

CREATE TRIGGER place_task BEFORE INSERT ON tasks FOR EACH ROW WHEN (NEW.state = 'queued') EXECUTE FUNCTION place_task();
CREATE CONSTRAINT TRIGGER confirm_slot AFTER INSERT ON tasks DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW WHEN (NEW.state = 'running') EXECUTE FUNCTION confirm_slot();
CREATE CONSTRAINT TRIGGER fill_slots_of_the_new AFTER INSERT ON tasks DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW WHEN (NEW.state = 'queued') EXECUTE FUNCTION fill_slots();
CREATE CONSTRAINT TRIGGER fill_freed_slot AFTER UPDATE OF state ON tasks DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW WHEN (OLD.state IN ('admitted', 'running') AND NEW.state NOT IN ('admitted', 'running'))
  EXECUTE FUNCTION fill_slots();

DO $$
DECLARE signature text;
BEGIN
  FOREACH signature IN ARRAY ARRAY[
    'has_room(uuid, integer)', 'charge(uuid)', 'next_in_queue()', 'admit()', 'place_task()', 'confirm_slot()',
    'fill_slots()', 'set_concurrency(integer)'
  ] LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
    EXECUTE format('ALTER FUNCTION %s OWNER TO orchestrator_admission', signature);
  END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION admit(), set_concurrency(integer) TO orchestrator_app;
GRANT EXECUTE ON FUNCTION admit() TO tenancy_registrar;

-- migrate:down
SELECT 1 / 0;  -- forward only

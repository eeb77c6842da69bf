-- migrate:up

-- A schedule is a row here, too: its seals are good until it is closed, and a session of its timer opens the tasks that
-- it fires. Everything that looks after the messages of open tasks looks after its timer.
ALTER TABLE kernel.tasks ADD COLUMN schedule_id uuid;
COMMENT ON COLUMN kernel.tasks.schedule_id IS 'the schedule that fired the task; of a schedule its own id';

CREATE OR REPLACE FUNCTION kernel.seal_is_in_time(proof kernel.proof) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (
    SELECT FROM kernel.tasks AS t
    WHERE t.tenant_id = (proof).tenant_id AND t.task_id = (proof).task_id
      AND (t.closed_at IS NULL AND t.schedule_id = t.task_id
        OR coalesce(t.closed_at, t.opened_at) > statement_timestamp() - CASE
            WHEN t.closed_at IS NULL THEN interval '30 days'
            WHEN (proof).kind = 'f' THEN interval '8 days'
            ELSE interval '10 minutes' END))
$$;

-- A suspended tenant's schedules end at their next firing; nobody runs them as tasks.
CREATE OR REPLACE FUNCTION kernel.open_tasks(tenant uuid) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT task_id FROM kernel.tasks
  WHERE tenant_id = tenant AND closed_at IS NULL AND schedule_id IS DISTINCT FROM task_id
$$;

-- As before. In the session of a schedule's timer, messages of the schedule and of the tasks that it opened are sealed,
-- for whom the timer is sealed and while they may still ask for tasks.
CREATE OR REPLACE FUNCTION kernel.seal_outbox() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  proof kernel.proof := kernel.current_proof();
  part text[];
  schedule uuid;
  accepted boolean;
BEGIN
  IF proof.tenant_id IS NULL AND TG_OP = 'UPDATE' AND session_user = 'tenancy_app' THEN
    part := string_to_array(OLD.seal, '|');
    proof := (part[2], part[3]::uuid, part[4], string_to_array(part[5], ','), part[6]::uuid, part[7]::uuid)::kernel.proof;
    NEW.seal := kernel.mint_seal(part[2], proof, OLD.task_id, OLD.id);
    RETURN NEW;
  END IF;
  IF proof.tenant_id IS NULL THEN
    RAISE EXCEPTION 'no verified session' USING ERRCODE = 'insufficient_privilege';
  END IF;
  IF proof.kind = 'g' AND session_user = 'gateway_app' THEN
    INSERT INTO kernel.tasks (tenant_id, task_id, principal) VALUES (proof.tenant_id, NEW.task_id, proof.principal)
    ON CONFLICT DO NOTHING;
  END IF;
  SELECT schedule_id INTO schedule FROM kernel.tasks WHERE tenant_id = proof.tenant_id AND task_id = NEW.task_id;
  accepted := FOUND;
  IF proof.kind IN ('s', 'f') AND NEW.task_id IS DISTINCT FROM proof.task_id AND schedule IS DISTINCT FROM proof.task_id THEN
    RAISE EXCEPTION 'a message of task % cannot be sent in a session of task %', NEW.task_id, proof.task_id
      USING ERRCODE = 'insufficient_privilege';
  END IF;
  IF NOT accepted THEN
    RAISE EXCEPTION 'task % was never accepted', NEW.task_id USING ERRCODE = 'insufficient_privilege';
  END IF;
  IF schedule = proof.task_id AND NOT tenancy.principal_may('tasks.write') THEN
    RAISE EXCEPTION 'whom schedule % acts for may not ask for tasks', schedule USING ERRCODE = 'insufficient_privilege';
  END IF;
  NEW.tenant_id := proof.tenant_id;
  NEW.seal := kernel.mint_seal(CASE WHEN NEW.subject LIKE 'morningai.event.%' THEN 'f' ELSE 's' END, proof, NEW.task_id, NEW.id);
  RETURN NEW;
END $$;

-- Opens a schedule, or opens it again, for whoever calls; no other task becomes one.
CREATE FUNCTION kernel.open_schedule(opened uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE proof kernel.proof := kernel.current_proof();
BEGIN
  IF kernel.tenant_id() IS NULL OR proof.kind IS DISTINCT FROM 'g' OR NOT tenancy.principal_may('tasks.write') THEN
    RAISE EXCEPTION 'only a caller who may ask for tasks opens a schedule' USING ERRCODE = 'insufficient_privilege';
  END IF;
  INSERT INTO kernel.tasks AS t (tenant_id, task_id, principal, schedule_id)
  VALUES (proof.tenant_id, opened, proof.principal, opened)
  ON CONFLICT (tenant_id, task_id) DO UPDATE SET principal = excluded.principal, opened_at = now(), closed_at = NULL
  WHERE t.schedule_id = t.task_id;
  IF NOT FOUND THEN
    RAISE EXCEPTION '% is a task', opened USING ERRCODE = 'insufficient_privilege';
  END IF;
END $$;

CREATE FUNCTION kernel.close_schedule(ended uuid) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE kernel.tasks SET closed_at = statement_timestamp()
  WHERE tenant_id = kernel.tenant_id() AND task_id = ended AND schedule_id = task_id AND closed_at IS NULL
$$;

-- Opens a task in the session of a schedule's timer, for whom that is sealed: neither they nor the tenant nor the
-- schedule is an argument. The same task again is no other.
CREATE FUNCTION kernel.open_scheduled_task(fired uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE proof kernel.proof := kernel.current_proof();
BEGIN
  IF kernel.tenant_id() IS NULL OR proof.kind IS DISTINCT FROM 's' OR NOT EXISTS (
    SELECT FROM kernel.tasks AS t
    WHERE t.tenant_id = proof.tenant_id AND t.task_id = proof.task_id AND t.schedule_id = t.task_id AND t.closed_at IS NULL
  ) THEN
    RAISE EXCEPTION 'only an open schedule fires' USING ERRCODE = 'insufficient_privilege';
  END IF;
  IF NOT tenancy.principal_may('tasks.write') THEN
    RAISE EXCEPTION 'whom schedule % acts for may not ask for tasks', proof.task_id USING ERRCODE = 'insufficient_privilege';
  END IF;
  INSERT INTO kernel.tasks (tenant_id, task_id, principal, schedule_id)
  VALUES (proof.tenant_id, fired, proof.principal, proof.task_id) ON CONFLICT DO NOTHING;
END $$;

DO $$
DECLARE signature text;
BEGIN
  GRANT CREATE ON SCHEMA kernel TO kernel_prover;
  FOREACH signature IN ARRAY ARRAY[
    'kernel.open_schedule(uuid)', 'kernel.close_schedule(uuid)', 'kernel.open_scheduled_task(uuid)'
  ] LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
    EXECUTE format('ALTER FUNCTION %s OWNER TO kernel_prover', signature);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO gateway_app', signature);
  END LOOP;
  REVOKE CREATE ON SCHEMA kernel FROM kernel_prover;
  GRANT USAGE ON SCHEMA tenancy TO kernel_prover;
END $$;

-- migrate:down
SELECT 1 / 0;  -- forward only

-- migrate:up

CREATE TABLE operator_log (
  entry_id uuid NOT NULL DEFAULT uuidv7() PRIMARY KEY,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  principal text NOT NULL,
  action text NOT NULL CHECK (action ~ '^[a-z_]+\.[a-z_]+$'),
  resource text NOT NULL CHECK (length(resource) <= 500),
  details jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(details) = 'object'),
  trace_id text NOT NULL DEFAULT ''
);
COMMENT ON TABLE operator_log IS
  'global: what operators do outside all tenants; a price in the log of each tenant would name the models of the others';
CREATE INDEX operator_log_by_time ON operator_log (created_at, entry_id);

ALTER TABLE operator_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE operator_log FORCE ROW LEVEL SECURITY;
CREATE POLICY registrar_reads ON operator_log FOR SELECT TO tenancy_registrar USING (true);
CREATE POLICY registrar_adds ON operator_log FOR INSERT TO tenancy_registrar WITH CHECK (true);
COMMENT ON POLICY registrar_reads ON operator_log IS 'declared: an operator reads what operators did';
COMMENT ON POLICY registrar_adds ON operator_log IS 'declared: what an operator does is written down where it is done';
GRANT SELECT, INSERT ON operator_log TO tenancy_registrar;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON operator_log
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE operator_log ENABLE ALWAYS TRIGGER append_only;

-- As before, and with an entry.
CREATE OR REPLACE FUNCTION set_model_price(model_name text, prompt bigint, completion bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  old_prompt bigint;
  old_completion bigint;
BEGIN
  PERFORM tenancy.held_scopes('operator');
  INSERT INTO tenancy.model_prices (model, prompt_price, completion_price) VALUES (model_name, prompt, completion)
  ON CONFLICT (model) DO UPDATE
  SET prompt_price = excluded.prompt_price, completion_price = excluded.completion_price
  RETURNING old.prompt_price, old.completion_price INTO old_prompt, old_completion;
  INSERT INTO tenancy.operator_log (principal, action, resource, details, trace_id)
  VALUES ((kernel.current_proof()).principal, 'prices.set', 'models/' || model_name,
          jsonb_build_object('prompt_price', prompt, 'old_prompt_price', old_prompt,
                             'completion_price', completion, 'old_completion_price', old_completion),
          coalesce(substring(current_setting('morningai.trace_id', true) FROM '^[0-9a-f]{32}$'), ''));
END $$;

-- Newest first, behind a place; needs an operator's session.
CREATE FUNCTION operator_entries(before_time timestamptz, before_id uuid, most integer)
RETURNS TABLE (entry_id uuid, created_at timestamptz, principal text, action text, resource text, details jsonb,
               trace_id text, outcome text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM tenancy.held_scopes('operator');
  RETURN QUERY SELECT l.entry_id, l.created_at, l.principal, l.action, l.resource, l.details, l.trace_id, 'succeeded'
    FROM tenancy.operator_log AS l
    WHERE before_time IS NULL OR (l.created_at, l.entry_id) < (before_time, before_id)
    ORDER BY l.created_at DESC, l.entry_id DESC LIMIT most;
END $$;
REVOKE ALL ON FUNCTION operator_entries(timestamptz, uuid, integer) FROM PUBLIC;
ALTER FUNCTION operator_entries(timestamptz, uuid, integer) OWNER TO tenancy_registrar;
GRANT EXECUTE ON FUNCTION operator_entries(timestamptz, uuid, integer) TO tenancy_app;

-- migrate:down
SELECT 1 / 0;  -- forward only

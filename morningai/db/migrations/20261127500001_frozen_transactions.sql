-- migrate:up

-- A process that is frozen in the middle of a transaction, or whose machine is gone without a word, keeps its row locks
-- for this long at the most. No transaction waits for anything but PostgreSQL, so none is idle for long by itself.
DO $$
DECLARE
  login text;
BEGIN
  FOR login IN SELECT rolname FROM pg_roles WHERE rolname ~ '^(gateway|orchestrator|codegen|faqgen|docs|tenancy)_(app|relay|sender)$'
  LOOP
    EXECUTE format('ALTER ROLE %I SET idle_in_transaction_session_timeout = %L', login, '30s');
    EXECUTE format('ALTER ROLE %I SET tcp_keepalives_idle = 10', login);
    EXECUTE format('ALTER ROLE %I SET tcp_keepalives_interval = 5', login);
    EXECUTE format('ALTER ROLE %I SET tcp_keepalives_count = 2', login);
  END LOOP;
END
$$;

-- migrate:down
SELECT 1 / 0;  -- forward only

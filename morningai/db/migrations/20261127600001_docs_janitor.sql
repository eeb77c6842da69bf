-- migrate:up

-- Owns the sweeping of what docs alone has.
CREATE ROLE docs_janitor NOLOGIN;
GRANT docs_janitor TO docs_owner;
GRANT USAGE, CREATE ON SCHEMA docs TO docs_janitor;
GRANT USAGE ON SCHEMA kernel TO docs_janitor;
CREATE POLICY docs_janitor ON kernel.tasks FOR SELECT TO docs_janitor USING (true);
COMMENT ON POLICY docs_janitor ON kernel.tasks IS 'declared: whether the task of a patch is over';
GRANT SELECT (tenant_id, task_id, closed_at) ON kernel.tasks TO docs_janitor;

-- migrate:down
SELECT 1 / 0;  -- forward only

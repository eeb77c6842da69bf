-- migrate:up

CREATE ROLE docs_accountant NOLOGIN;  -- owns the count of stored bytes
GRANT docs_accountant TO docs_owner;
GRANT USAGE, CREATE ON SCHEMA docs TO docs_accountant;

-- migrate:down
SELECT 1 / 0;  -- forward only

-- migrate:up

-- Owns the question whether the keys of connected subscribers are still good.
CREATE ROLE tenancy_subscribers NOLOGIN;
GRANT tenancy_subscribers TO tenancy_owner;
GRANT USAGE, CREATE ON SCHEMA tenancy TO tenancy_subscribers;

-- migrate:down
SELECT 1 / 0;  -- forward only

-- migrate:up

-- Closes the reservations of callers that died, of all tenants.
CREATE ROLE tenancy_sweeper NOLOGIN;
GRANT tenancy_sweeper TO tenancy_owner;
GRANT USAGE, CREATE ON SCHEMA tenancy TO tenancy_sweeper;

-- migrate:down
SELECT 1 / 0;  -- forward only

-- migrate:up

-- A schedule fires for somebody who may still ask for tasks.
SET LOCAL ROLE tenancy_authenticator;
GRANT EXECUTE ON FUNCTION principal_may(text) TO kernel_prover;
SET LOCAL ROLE tenancy_owner;

-- migrate:down
SELECT 1 / 0;  -- forward only

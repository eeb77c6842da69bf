-- migrate:up

-- Delivers webhooks: reads what is due of all tenants and writes down what came of it; its columns are granted by the
-- gateway's migrations. It holds no proof, because a delivery is tried for longer than any seal lives.
CREATE ROLE gateway_sender LOGIN NOINHERIT;
GRANT USAGE ON SCHEMA gateway TO gateway_sender;
ALTER ROLE gateway_sender SET search_path = gateway;

-- migrate:down
SELECT 1 / 0;  -- forward only

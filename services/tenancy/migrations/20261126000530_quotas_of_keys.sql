-- migrate:up

ALTER TABLE default_limits NO FORCE ROW LEVEL SECURITY;
INSERT INTO default_limits (name, value, description) VALUES
  ('api_keys', 100, 'API keys that are neither revoked nor expired'),
  ('open_invitations', 100, 'invitations that are neither accepted, revoked nor expired');
ALTER TABLE default_limits FORCE ROW LEVEL SECURITY;
GRANT EXECUTE ON FUNCTION hold_quota(text) TO tenancy_app;

-- migrate:down
SELECT 1 / 0;  -- forward only

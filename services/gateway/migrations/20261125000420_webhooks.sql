-- migrate:up

-- Where a tenant wants to hear of its tasks. The secrets are sealed for their row and column.
CREATE TABLE webhook_endpoints (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  endpoint_id uuid NOT NULL,
  url text NOT NULL,
  event_types text[] NOT NULL DEFAULT '{}',
  description text NOT NULL DEFAULT '',
  state text NOT NULL DEFAULT 'enabled' CHECK (state IN ('enabled', 'disabled')),
  disabled_reason text NOT NULL DEFAULT '',
  consecutive_failures integer NOT NULL DEFAULT 0,
  failing_since timestamptz,
  secret bytea NOT NULL,
  previous_secret bytea,
  previous_secret_expires_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, endpoint_id)
);
CREATE INDEX webhook_endpoints_newest ON webhook_endpoints (tenant_id, created_at DESC, endpoint_id DESC);

-- One event for one endpoint. `due_at` is when it is tried next; while a try is under way it is when the try counts as
-- lost, so that the delivery of a sender that died is taken up again by itself.
CREATE TABLE webhook_deliveries (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  delivery_id uuid NOT NULL DEFAULT uuidv7(),
  endpoint_id uuid NOT NULL,
  event_id uuid NOT NULL,
  event_type text NOT NULL,
  body text NOT NULL,
  state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'succeeded', 'failed')),
  attempts integer NOT NULL DEFAULT 0,
  claim_id uuid,
  due_at timestamptz NOT NULL DEFAULT now(),
  response_status integer NOT NULL DEFAULT 0,
  response_body text NOT NULL DEFAULT '',
  error text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT now(),
  ended_at timestamptz,
  PRIMARY KEY (tenant_id, delivery_id),
  UNIQUE (tenant_id, endpoint_id, event_id),
  FOREIGN KEY (tenant_id, endpoint_id) REFERENCES webhook_endpoints (tenant_id, endpoint_id) ON DELETE CASCADE
);
CREATE INDEX webhook_deliveries_newest ON webhook_deliveries (tenant_id, endpoint_id, created_at DESC, delivery_id DESC);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (tenant_id, endpoint_id, due_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_under_way ON webhook_deliveries (tenant_id, endpoint_id) WHERE claim_id IS NOT NULL;

ALTER TABLE webhook_endpoints ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_endpoints FORCE ROW LEVEL SECURITY;
ALTER TABLE webhook_deliveries ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_deliveries FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON webhook_endpoints TO gateway_app
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
CREATE POLICY tenant ON webhook_deliveries TO gateway_app
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_endpoints TO gateway_app;
GRANT SELECT, INSERT, UPDATE ON webhook_deliveries TO gateway_app;

-- What the sender may do, and all of it: read what to deliver where, and write down what came of it.
CREATE POLICY sender_read ON webhook_endpoints FOR SELECT TO gateway_sender USING (true);
CREATE POLICY sender_mark ON webhook_endpoints FOR UPDATE TO gateway_sender USING (true) WITH CHECK (true);
CREATE POLICY sender_read ON webhook_deliveries FOR SELECT TO gateway_sender USING (true);
CREATE POLICY sender_mark ON webhook_deliveries FOR UPDATE TO gateway_sender USING (true) WITH CHECK (true);
CREATE POLICY sender_read ON data_keys FOR SELECT TO gateway_sender USING (true);
COMMENT ON POLICY sender_read ON webhook_endpoints IS 'declared: the sender delivers to the endpoints of all tenants';
COMMENT ON POLICY sender_mark ON webhook_endpoints IS 'declared: the sender disables endpoints that fail; its column grants are the state alone';
COMMENT ON POLICY sender_read ON webhook_deliveries IS 'declared: the sender delivers the events of all tenants';
COMMENT ON POLICY sender_mark ON webhook_deliveries IS 'declared: the sender claims deliveries and marks their end; its column grants are those alone';
COMMENT ON POLICY sender_read ON data_keys IS 'declared: the sender unwraps the key of the secret that it signs with';
GRANT SELECT (tenant_id, endpoint_id, url, state, consecutive_failures, failing_since, secret, previous_secret,
  previous_secret_expires_at) ON webhook_endpoints TO gateway_sender;
GRANT UPDATE (state, disabled_reason, consecutive_failures, failing_since) ON webhook_endpoints TO gateway_sender;
GRANT SELECT (tenant_id, delivery_id, endpoint_id, event_id, event_type, body, state, attempts, claim_id, due_at)
  ON webhook_deliveries TO gateway_sender;
GRANT UPDATE (state, attempts, claim_id, due_at, response_status, response_body, error, ended_at)
  ON webhook_deliveries TO gateway_sender;
GRANT SELECT (tenant_id, data_key_id, wrapped) ON data_keys TO gateway_sender;

-- migrate:down
SELECT 1 / 0;  -- forward only

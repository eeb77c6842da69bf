-- migrate:up

CREATE TABLE identities (
  identity_id uuid NOT NULL DEFAULT uuidv7() PRIMARY KEY,
  issuer text NOT NULL,
  subject text NOT NULL,
  email text NOT NULL,
  display_name text NOT NULL,
  UNIQUE (issuer, subject)
);
COMMENT ON TABLE identities IS 'global: whoever proves an identity to accept an invitation stands outside all tenants until then; no login may read it';

CREATE TABLE members (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  member_id uuid NOT NULL DEFAULT uuidv7(),
  issuer text NOT NULL,
  subject text NOT NULL,
  email text NOT NULL,
  display_name text NOT NULL,
  role text NOT NULL CHECK (role IN ('owner', 'admin', 'member', 'viewer')),
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, member_id),
  UNIQUE (tenant_id, issuer, subject),
  FOREIGN KEY (tenant_id) REFERENCES tenants (tenant_id)
);
CREATE INDEX members_by_subject ON members (issuer, subject);
CREATE INDEX members_by_time ON members (tenant_id, created_at, member_id);

CREATE TABLE invitations (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  invitation_id text NOT NULL,
  hash_key_id text NOT NULL,
  token_hash text NOT NULL,
  email text NOT NULL,
  role text NOT NULL CHECK (role IN ('owner', 'admin', 'member', 'viewer')),
  creator text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  accepted_at timestamptz,
  accepted_by uuid,
  PRIMARY KEY (tenant_id, invitation_id),
  FOREIGN KEY (tenant_id) REFERENCES tenants (tenant_id)
);
CREATE INDEX invitations_by_id ON invitations (invitation_id);

ALTER TABLE identities ENABLE ROW LEVEL SECURITY;
ALTER TABLE identities FORCE ROW LEVEL SECURITY;
ALTER TABLE members ENABLE ROW LEVEL SECURITY;
ALTER TABLE members FORCE ROW LEVEL SECURITY;
ALTER TABLE invitations ENABLE ROW LEVEL SECURITY;
ALTER TABLE invitations FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant ON members TO tenancy_app
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
CREATE POLICY tenant ON invitations TO tenancy_app
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
GRANT SELECT ON members TO tenancy_app;
GRANT SELECT (tenant_id, invitation_id, email, role, creator, created_at, expires_at, accepted_at, accepted_by)
  ON invitations TO tenancy_app;

CREATE POLICY administrator ON members TO tenancy_administrator
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
CREATE POLICY administrator ON invitations TO tenancy_administrator
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
GRANT SELECT, UPDATE, DELETE ON members TO tenancy_administrator;
GRANT INSERT ON invitations TO tenancy_administrator;

CREATE POLICY authenticator ON identities TO tenancy_authenticator USING (true) WITH CHECK (true);
CREATE POLICY authenticator ON members TO tenancy_authenticator USING (true) WITH CHECK (true);
COMMENT ON POLICY authenticator ON identities IS 'declared: an identity stands outside all tenants';
COMMENT ON POLICY authenticator ON members IS 'declared: a member is looked up before the tenant is known';
GRANT SELECT, INSERT, UPDATE ON identities TO tenancy_authenticator;
GRANT SELECT, UPDATE (email, display_name) ON members TO tenancy_authenticator;

CREATE POLICY registrar ON identities FOR SELECT TO tenancy_registrar USING (true);
CREATE POLICY registrar ON members TO tenancy_registrar USING (true) WITH CHECK (true);
CREATE POLICY registrar ON invitations TO tenancy_registrar USING (true) WITH CHECK (true);
COMMENT ON POLICY registrar ON identities IS 'declared: who accepts an invitation';
COMMENT ON POLICY registrar ON members IS 'declared: who accepts an invitation becomes a member of a tenant they could not see';
COMMENT ON POLICY registrar ON invitations IS 'declared: an invitation is looked up before its tenant is known';
GRANT SELECT ON identities TO tenancy_registrar;
GRANT SELECT, INSERT ON members TO tenancy_registrar;
GRANT SELECT, UPDATE (accepted_at, accepted_by) ON invitations TO tenancy_registrar;

-- A member's grant: one row for each active tenant of the identity, and a grant in it if it is the only one. No slug: all.
CREATE FUNCTION exchange_identity(
  proven_issuer text, proven_subject text, proven_email text, proven_name text, wanted_slug text, lifetime interval
) RETURNS TABLE (slug text, minted text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE tenancy.members AS m SET email = proven_email, display_name = proven_name
  WHERE m.issuer = proven_issuer AND m.subject = proven_subject
    AND (m.email, m.display_name) IS DISTINCT FROM (proven_email, proven_name);
  RETURN QUERY
    SELECT t.slug, CASE WHEN count(*) OVER () = 1 THEN kernel.mint_grant(
      m.tenant_id, 'user:' || m.member_id, tenancy.scopes_of_role(m.role), least(interval '5 minutes', lifetime)) END
    FROM tenancy.members AS m JOIN tenancy.tenants AS t USING (tenant_id)
    WHERE m.issuer = proven_issuer AND m.subject = proven_subject AND t.state = 'active'
      AND (wanted_slug IS NULL OR t.slug = wanted_slug)
    ORDER BY t.slug LIMIT 50;
END $$;

-- A grant outside all tenants, good for accepting an invitation and for nothing else. Its tenant is one that no row has.
CREATE FUNCTION prove_identity(
  proven_issuer text, proven_subject text, proven_email text, proven_name text, lifetime interval
) RETURNS text LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE proven uuid;
BEGIN
  INSERT INTO tenancy.identities AS i (issuer, subject, email, display_name)
  VALUES (proven_issuer, proven_subject, proven_email, proven_name)
  ON CONFLICT (issuer, subject) DO UPDATE SET email = excluded.email, display_name = excluded.display_name
  RETURNING i.identity_id INTO proven;
  RETURN kernel.mint_grant('ffffffff-ffff-ffff-ffff-ffffffffffff', 'identity:' || proven, ARRAY['invitations.accept'],
                           least(interval '5 minutes', lifetime));
END $$;

CREATE FUNCTION invite_member(new_id text, secret text, new_email text, new_role text, new_expires_at timestamptz)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE hash_key text := split_part(kernel.sign('hash'), '|', 1);
BEGIN
  IF NOT coalesce(tenancy.scopes_of_role(new_role) <@ tenancy.held_scopes('members.write'), false) THEN
    RAISE EXCEPTION 'nobody gives a role above their own' USING ERRCODE = 'insufficient_privilege';
  END IF;
  INSERT INTO tenancy.invitations (tenant_id, invitation_id, hash_key_id, token_hash, email, role, creator, expires_at)
  VALUES (kernel.tenant_id(), new_id, hash_key, kernel.mac(hash_key, 'invitation|' || new_id || '|' || secret),
          new_email, new_role, (kernel.current_proof()).principal, new_expires_at);
  PERFORM tenancy.record('members.invite', 'invitations/' || new_id, jsonb_build_object(
    'email', new_email, 'role', new_role, 'expire_time', new_expires_at));
END $$;

-- The identity of the session becomes a member. NULL when the token is not valid for it; raises unique_violation for a
-- member. The lock makes an invitation good for one.
CREATE FUNCTION accept_invitation(presented text) RETURNS TABLE (slug text, member_id uuid, role text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  id text := split_part(presented, '.', 1);
  secret text := substr(presented, length(id) + 2);
  identity record;
  invited record;
  made uuid;
BEGIN
  PERFORM tenancy.held_scopes('invitations.accept');
  SELECT * INTO STRICT identity FROM tenancy.identities AS i
  WHERE i.identity_id = substr((kernel.current_proof()).principal, length('identity:') + 1)::uuid;
  SELECT i.*, t.slug INTO invited FROM tenancy.invitations AS i JOIN tenancy.tenants AS t USING (tenant_id)
  WHERE i.invitation_id = id AND t.state = 'active' AND i.accepted_at IS NULL AND i.expires_at > statement_timestamp()
  FOR UPDATE OF i;
  IF NOT FOUND OR invited.token_hash <> kernel.mac(invited.hash_key_id, 'invitation|' || id || '|' || secret)
    OR (invited.email <> '' AND lower(invited.email) <> lower(identity.email)) THEN
    RETURN;
  END IF;
  INSERT INTO tenancy.members AS m (tenant_id, issuer, subject, email, display_name, role)
  VALUES (invited.tenant_id, identity.issuer, identity.subject, identity.email, identity.display_name, invited.role)
  RETURNING m.member_id INTO made;
  UPDATE tenancy.invitations AS i SET accepted_at = statement_timestamp(), accepted_by = made
  WHERE i.tenant_id = invited.tenant_id AND i.invitation_id = id;
  PERFORM tenancy.record_in(invited.tenant_id, 'user:' || made, 'members.accept', 'members/' || made,
    jsonb_build_object('invitation', 'invitations/' || id, 'role', invited.role), 'succeeded');
  RETURN QUERY SELECT invited.slug, made, invited.role;
END $$;

-- Gives a member another role, or removes them when it is NULL. False when there is no such member. The owners' rows are
-- locked first and counted afterwards, so that of two who take away the last two owners one is refused (restrict_violation).
CREATE FUNCTION change_member(id uuid, new_role text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  held text[] := tenancy.held_scopes('members.write');
  own uuid := kernel.tenant_id();
  old_role text;
BEGIN
  PERFORM FROM tenancy.members AS m WHERE m.tenant_id = own AND m.role = 'owner' ORDER BY m.member_id FOR UPDATE;
  SELECT m.role INTO old_role FROM tenancy.members AS m WHERE m.tenant_id = own AND m.member_id = id FOR UPDATE;
  IF NOT FOUND THEN RETURN false; END IF;
  IF NOT (tenancy.scopes_of_role(old_role) <@ held
          AND (new_role IS NULL OR coalesce(tenancy.scopes_of_role(new_role) <@ held, false))) THEN
    RAISE EXCEPTION 'nobody gives or takes a role above their own' USING ERRCODE = 'insufficient_privilege';
  END IF;
  IF old_role = 'owner' AND new_role IS DISTINCT FROM 'owner'
    AND (SELECT count(*) FROM tenancy.members AS m WHERE m.tenant_id = own AND m.role = 'owner') < 2 THEN
    RAISE EXCEPTION 'the last owner stays' USING ERRCODE = 'restrict_violation';
  END IF;
  IF new_role IS NULL THEN
    DELETE FROM tenancy.members AS m WHERE m.tenant_id = own AND m.member_id = id;
    PERFORM tenancy.record('members.remove', 'members/' || id, jsonb_build_object('role', old_role));
  ELSE
    UPDATE tenancy.members AS m SET role = new_role WHERE m.tenant_id = own AND m.member_id = id;
    PERFORM tenancy.record('members.update', 'members/' || id, jsonb_build_object('role', new_role, 'old_role', old_role));
  END IF;
  RETURN true;
END $$;

-- Whether the principal of the current proof still may: the tenant is active, and the key or the member still holds it.
CREATE FUNCTION principal_may(scope text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(scope = ANY (p.scopes), false)
    AND EXISTS (SELECT FROM tenancy.tenants AS t WHERE t.tenant_id = p.tenant_id AND t.state = 'active')
    AND (EXISTS (SELECT FROM tenancy.api_keys AS k
                 WHERE k.tenant_id = p.tenant_id AND 'key:' || k.key_id = p.principal AND k.revoked_at IS NULL
                   AND (k.expires_at IS NULL OR k.expires_at > statement_timestamp()) AND scope = ANY (k.scopes))
      OR EXISTS (SELECT FROM tenancy.members AS m
                 WHERE m.tenant_id = p.tenant_id AND 'user:' || m.member_id = p.principal
                   AND scope = ANY (tenancy.scopes_of_role(m.role))))
  FROM kernel.current_proof() AS p
$$;

REVOKE ALL ON FUNCTION exchange_identity(text, text, text, text, text, interval),
  prove_identity(text, text, text, text, interval), invite_member(text, text, text, text, timestamptz),
  accept_invitation(text), change_member(uuid, text), principal_may(text) FROM PUBLIC;
ALTER FUNCTION exchange_identity(text, text, text, text, text, interval) OWNER TO tenancy_authenticator;
ALTER FUNCTION prove_identity(text, text, text, text, interval) OWNER TO tenancy_authenticator;
ALTER FUNCTION principal_may(text) OWNER TO tenancy_authenticator;
ALTER FUNCTION invite_member(text, text, text, text, timestamptz) OWNER TO tenancy_administrator;
ALTER FUNCTION change_member(uuid, text) OWNER TO tenancy_administrator;
ALTER FUNCTION accept_invitation(text) OWNER TO tenancy_registrar;
GRANT EXECUTE ON FUNCTION exchange_identity(text, text, text, text, text, interval),
  prove_identity(text, text, text, text, interval), invite_member(text, text, text, text, timestamptz),
  accept_invitation(text), change_member(uuid, text) TO tenancy_app;
GRANT EXECUTE ON FUNCTION principal_may(text) TO
  gateway_app, orchestrator_app, docs_app, faqgen_app, codegen_app, tenancy_app;

-- migrate:down
SELECT 1 / 0;  -- forward only

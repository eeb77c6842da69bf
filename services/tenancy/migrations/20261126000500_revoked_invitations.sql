-- migrate:up

ALTER TABLE invitations ADD COLUMN revoked_at timestamptz;
CREATE INDEX invitations_by_time ON invitations (tenant_id, created_at, invitation_id);
GRANT SELECT (revoked_at) ON invitations TO tenancy_app;
GRANT SELECT, UPDATE (revoked_at) ON invitations TO tenancy_administrator;

-- An invitation that was revoked stays revoked since then. False when there is no such invitation; raises for one that
-- was accepted (object_not_in_prerequisite_state), and for one to a role above the caller's. The lock makes it end in one
-- way, with whoever accepts it at the same time.
CREATE FUNCTION revoke_invitation(id text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  held text[] := tenancy.held_scopes('members.write');
  invited tenancy.invitations;
BEGIN
  SELECT * INTO invited FROM tenancy.invitations AS i
  WHERE i.tenant_id = kernel.tenant_id() AND i.invitation_id = id FOR UPDATE;
  IF NOT FOUND THEN RETURN false; END IF;
  IF NOT tenancy.scopes_of_role(invited.role) <@ held THEN
    RAISE EXCEPTION 'nobody takes a role above their own' USING ERRCODE = 'insufficient_privilege';
  END IF;
  IF invited.accepted_at IS NOT NULL THEN
    RAISE EXCEPTION 'the invitation was accepted' USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
  IF invited.revoked_at IS NULL THEN
    UPDATE tenancy.invitations AS i SET revoked_at = statement_timestamp()
    WHERE i.tenant_id = invited.tenant_id AND i.invitation_id = id;
    PERFORM tenancy.record('invitations.revoke', 'invitations/' || id, jsonb_build_object(
      'email', invited.email, 'role', invited.role));
  END IF;
  RETURN true;
END $$;
REVOKE ALL ON FUNCTION revoke_invitation(text) FROM PUBLIC;
ALTER FUNCTION revoke_invitation(text) OWNER TO tenancy_administrator;
GRANT EXECUTE ON FUNCTION revoke_invitation(text) TO tenancy_app;

-- As before, and not once the invitation was revoked.
CREATE OR REPLACE FUNCTION accept_invitation(presented text) RETURNS TABLE (slug text, member_id uuid, role text)
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
  WHERE i.invitation_id = id AND t.state = 'active' AND i.accepted_at IS NULL AND i.revoked_at IS NULL
    AND i.expires_at > statement_timestamp()
  FOR UPDATE OF i;
  IF NOT FOUND
    OR invited.token_hash IS DISTINCT FROM kernel.mac(invited.hash_key_id, 'invitation|' || id || '|' || secret)
    OR (invited.email <> '' AND lower(invited.email) <> lower(identity.email))
    OR NOT tenancy.still_holds(invited.tenant_id, invited.creator, tenancy.scopes_of_role(invited.role) || ARRAY['members.write'])
  THEN
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

-- migrate:down
SELECT 1 / 0;  -- forward only

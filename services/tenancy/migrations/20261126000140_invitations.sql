-- migrate:up

-- Whether a principal of a tenant, a key or a member, holds all these scopes today.
CREATE FUNCTION still_holds(tenant uuid, principal text, wanted text[]) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (SELECT FROM tenancy.api_keys AS k
                 WHERE k.tenant_id = tenant AND 'key:' || k.key_id = principal AND k.revoked_at IS NULL
                   AND (k.expires_at IS NULL OR k.expires_at > statement_timestamp()) AND wanted <@ k.scopes)
      OR EXISTS (SELECT FROM tenancy.members AS m
                 WHERE m.tenant_id = tenant AND 'user:' || m.member_id = principal
                   AND wanted <@ tenancy.scopes_of_role(m.role))
$$;
REVOKE ALL ON FUNCTION still_holds(uuid, text, text[]) FROM PUBLIC;
ALTER FUNCTION still_holds(uuid, text, text[]) OWNER TO tenancy_authenticator;
GRANT EXECUTE ON FUNCTION still_holds(uuid, text, text[]) TO tenancy_registrar;

-- As before, and only while whoever invited could invite today: a removed member does not come back by an invitation of
-- their own.
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
  WHERE i.invitation_id = id AND t.state = 'active' AND i.accepted_at IS NULL AND i.expires_at > statement_timestamp()
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

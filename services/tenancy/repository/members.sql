-- name: invite_member
SELECT invite_member(%(invitation_id)s, %(secret)s, %(email)s, %(role)s, %(expires_at)s)

-- name: count_open_invitations
SELECT count(*) AS used FROM invitations
WHERE accepted_at IS NULL AND revoked_at IS NULL AND expires_at > statement_timestamp()

-- name: get_invitation
SELECT invitation_id, email, role, creator, created_at, expires_at, accepted_at, accepted_by, revoked_at
FROM invitations WHERE invitation_id = %(invitation_id)s

-- name: list_invitations
SELECT invitation_id, email, role, creator, created_at, expires_at, accepted_at, accepted_by, revoked_at
FROM invitations
WHERE %(before_time)s::timestamptz IS NULL OR (created_at, invitation_id) < (%(before_time)s, %(before_id)s)
ORDER BY created_at DESC, invitation_id DESC
LIMIT %(limit)s

-- name: revoke_invitation
SELECT revoke_invitation(%(invitation_id)s) AS found

-- name: accept_invitation
SELECT slug, member_id, role FROM accept_invitation(%(token)s)

-- name: change_member
SELECT change_member(%(member_id)s, %(role)s) AS found

-- name: get_member
SELECT member_id, issuer, subject, email, display_name, role, created_at FROM members WHERE member_id = %(member_id)s

-- name: list_members
SELECT member_id, issuer, subject, email, display_name, role, created_at FROM members
WHERE %(before_time)s::timestamptz IS NULL OR (created_at, member_id) < (%(before_time)s, %(before_id)s::uuid)
ORDER BY created_at DESC, member_id DESC
LIMIT %(limit)s

-- name: exchange_identity
SELECT slug, minted FROM exchange_identity(
  %(issuer)s, %(subject)s, %(email)s, %(display_name)s, %(slug)s, %(lifetime)s)

-- name: prove_identity
SELECT prove_identity(%(issuer)s, %(subject)s, %(email)s, %(display_name)s, %(lifetime)s) AS minted

-- name: get_approval_policy
SELECT p.publishing, p.tokens_per_task, p.money_per_task, p.self_approval, p.lifetime_seconds, p.unapproved_delivery,
       p.set_at
FROM approval_policy() AS p

-- name: set_approval_policy
SELECT set_approval_policy(%(publishing)s, %(tokens_per_task)s, %(money_per_task)s, %(self_approval)s,
                           %(lifetime_seconds)s, %(unapproved_delivery)s)

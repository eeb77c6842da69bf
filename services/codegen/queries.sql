-- name: get_step
SELECT record::text AS record FROM steps WHERE work_id = %(work_id)s AND step = %(step)s AND attempt = %(attempt)s

-- name: insert_step
INSERT INTO steps (work_id, step, attempt, record) VALUES (%(work_id)s, %(step)s, %(attempt)s, %(record)s::jsonb)
ON CONFLICT DO NOTHING

-- name: insert_change
INSERT INTO changes (task_id, instruction, source, state, reason, patch, tests, attempts, evidence, provenance)
VALUES (%(task_id)s, %(instruction)s, %(source)s, %(state)s, %(reason)s, %(patch)s, %(tests)s, %(attempts)s,
        %(evidence)s::jsonb, %(provenance)s)
RETURNING change_id

-- name: get_change
SELECT change_id, task_id, instruction, source, state, reason, patch, tests, attempts, evidence::text AS evidence,
       provenance, created_at
FROM changes WHERE change_id = %(change_id)s

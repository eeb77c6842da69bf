-- name: get_step
-- Of this work, else of the work that it resumes; but its time begins anew.
SELECT record::text AS record FROM steps
WHERE (work_id = %(work_id)s OR (work_id = %(resumed_id)s::uuid AND step <> 'start'))
  AND step = %(step)s AND attempt = %(attempt)s
ORDER BY work_id = %(work_id)s DESC
LIMIT 1

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

-- name: insert_answer
INSERT INTO answers (task_id, question, found, claims, searched, markdown, provenance)
VALUES (%(task_id)s, %(question)s, %(found)s, %(claims)s, %(searched)s, %(markdown)s, %(provenance)s)
RETURNING answer_id

-- name: get_answer
SELECT * FROM answers WHERE answer_id = %(answer_id)s

-- name: insert_faq
INSERT INTO faqs (task_id, source, markdown, provenance)
VALUES (%(task_id)s, %(source)s, %(markdown)s, %(provenance)s)
RETURNING faq_id

-- name: insert_faq_item
INSERT INTO faq_items (faq_id, ordinal, question, claims) VALUES (%(faq_id)s, %(ordinal)s, %(question)s, %(claims)s)

-- name: get_faq
SELECT * FROM faqs WHERE faq_id = %(faq_id)s

-- name: list_faq_items
SELECT * FROM faq_items WHERE faq_id = %(faq_id)s ORDER BY ordinal

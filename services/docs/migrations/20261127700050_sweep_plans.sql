-- migrate:up

-- A batch costs what it deletes: the planner may not go through a whole table for it.
DO $$
DECLARE
  signature text;
  choice text;
BEGIN
  FOREACH signature IN ARRAY ARRAY['sweep_patches(interval, integer)'] LOOP
    FOREACH choice IN ARRAY ARRAY['seqscan', 'bitmapscan', 'hashjoin', 'mergejoin', 'sort', 'incremental_sort'] LOOP
      EXECUTE format('ALTER FUNCTION %s SET %I = off', signature, 'enable_' || choice);
    END LOOP;
  END LOOP;
END $$;

-- migrate:down
SELECT 1 / 0;  -- forward only

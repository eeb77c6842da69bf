-- migrate:up

-- Opens the sessions of messages, one after the other, and writes the receipt of each under its own proof, in the inbox
-- of the service that asks, with its rights: which of them came for the first time.
CREATE FUNCTION kernel.receive(presented text[], message_ids uuid[], received_by text, types text[]) RETURNS boolean[]
LANGUAGE plpgsql VOLATILE AS $$
DECLARE are_new boolean[] := '{}';
BEGIN
  FOR place IN 1 .. cardinality(presented) LOOP
    PERFORM kernel.open_session(presented[place]);
    INSERT INTO inbox (message_id, consumer, type) VALUES (message_ids[place], received_by, types[place])
    ON CONFLICT DO NOTHING;
    are_new := are_new || FOUND;
  END LOOP;
  RETURN are_new;
END $$;

DO $$
BEGIN
  EXECUTE 'ALTER FUNCTION kernel.receive(text[], uuid[], text, text[]) OWNER TO kernel_owner';
  EXECUTE 'REVOKE ALL ON FUNCTION kernel.receive(text[], uuid[], text, text[]) FROM PUBLIC';
END $$;
GRANT EXECUTE ON FUNCTION kernel.receive(text[], uuid[], text, text[]) TO
  gateway_app, orchestrator_app, docs_app, faqgen_app, codegen_app, tenancy_app;

-- migrate:down
SELECT 1 / 0;  -- forward only

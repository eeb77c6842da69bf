-- migrate:up

CREATE TABLE answers (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  answer_id uuid NOT NULL DEFAULT uuidv7(),
  task_id uuid NOT NULL,
  question text NOT NULL,
  found boolean NOT NULL,
  claims jsonb NOT NULL,
  searched text[] NOT NULL,
  markdown text NOT NULL,
  provenance jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, answer_id)
);

CREATE TABLE faqs (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  faq_id uuid NOT NULL DEFAULT uuidv7(),
  task_id uuid NOT NULL,
  source text NOT NULL,
  markdown text NOT NULL,
  provenance jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, faq_id)
);

CREATE TABLE faq_items (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  faq_id uuid NOT NULL,
  ordinal integer NOT NULL CHECK (ordinal >= 0),
  question text NOT NULL,
  claims jsonb NOT NULL,
  PRIMARY KEY (tenant_id, faq_id, ordinal),
  FOREIGN KEY (tenant_id, faq_id) REFERENCES faqs (tenant_id, faq_id)
);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['answers', 'faqs', 'faq_items'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant ON %I TO faqgen_app USING (tenant_id = (SELECT kernel.tenant_id())) '
                   'WITH CHECK (tenant_id = (SELECT kernel.tenant_id()))', name);
    EXECUTE format('GRANT SELECT, INSERT ON %I TO faqgen_app', name);
  END LOOP;
END $$;

-- migrate:down
SELECT 1 / 0;  -- forward only

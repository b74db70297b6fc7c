-- When a checkpoint was last stored, by this database's clock: how long ago the log last published.
ALTER TABLE head ADD COLUMN stored timestamptz NOT NULL DEFAULT now();

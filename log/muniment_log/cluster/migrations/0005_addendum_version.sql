-- What the store called the object of an addendum when it was stored: an erasure then replaces it by
-- one request. Null of what was stored before this, and of what has no object.
ALTER TABLE addendum ADD COLUMN e_tag text, ADD COLUMN version text;

-- Whether somebody looks what became of an arrival, because it is old. Its request is not ordered any
-- more then: its addenda may be deleted, since no record named them.
ALTER TABLE arriving ADD COLUMN swept boolean NOT NULL DEFAULT false;

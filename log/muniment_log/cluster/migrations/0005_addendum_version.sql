-- What the store called the object of an addendum when it was stored: an erasure then replaces it by
-- one request. Null of what was stored before this, and of what has no object.
ALTER TABLE addendum ADD COLUMN e_tag text, ADD COLUMN version text;

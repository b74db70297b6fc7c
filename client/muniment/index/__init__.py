"""The index: finds records by id, run, lineage and more, at a known size.

A follower of a log, in a SQLite file of its own that can be deleted and built again. The log keeps
one beside its tree; `muniment follow` keeps one with the records in it, a verified replica.

- `keys`: what a record is found by; `summary`: what a bundle is about; `schema` and `store`: the
  file; `reader`, `bundles`, `known`: reading it;
- `chunk` (pure) and `follower`: from a log's bundles into the file; `httpsource`: a log over HTTP;
- `query`, `search`: answers about a decision, a run, lineage; decisions by subject and time;
- `replicafacts`: the port of `lineage.facts`.
"""

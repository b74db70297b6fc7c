"""A report on a log's decisions in a time window: one file that stands alone, and can be repeated.

It is made of a verified replica alone: the same leaves, checkpoint and options give the same bytes.

- `scope`: what is asked for; `seed`: what a repeat of a report needs, carried within it;
- `reading`: one pass over all leaves, hashed up to the checkpoint; `tally`, `decisions`,
  `silences`, `relating`, `revocations`: what is counted on the way;
- `build`: the report as JSON values; `document`, `pictures`: the same as sections, tables and
  drawings, which `html` and `pdf` write;
- `checking`: makes a report again, and says what differs.
"""

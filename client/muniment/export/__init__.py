"""Records of a verified replica in the forms that other systems take, delivered at least once.

`source` reads and verifies, `forms` and its neighbours say how a record is written (pure),
`destination` and `endpoint` hand requests over until they are acknowledged, `cursor` keeps how far
that is, and `exporter` puts these together.
"""

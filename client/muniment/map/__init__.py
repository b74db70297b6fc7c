"""The map of a log on disk: the list of each key, one root, proofs; see `records.touched`."""

"""Several processes that take the requests of one log, and the one that orders and commits."""

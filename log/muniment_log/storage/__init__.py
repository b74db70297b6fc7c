"""Where the log keeps its tree: the ports, and the embedded implementation on SQLite."""

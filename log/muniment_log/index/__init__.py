"""The index of a log: a child process that writes it, and how the log reads it."""

"""This machine: files, key files, SQLite, logs, and the process itself."""

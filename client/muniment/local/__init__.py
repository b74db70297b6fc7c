"""What belongs to one machine: files, key files, SQLite, logs, and the process itself."""

"""HTTP for every party that asks another: sessions, access, and the client of a log."""

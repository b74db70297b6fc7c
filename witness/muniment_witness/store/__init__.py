"""The database of a witness: every cosigned head, what else it saw, and the evidence."""

"""Muniment within frameworks of others; each module needs the framework, and nothing else does."""

"""Permits (design section 6): a logged decision, and every check before it is acted upon."""

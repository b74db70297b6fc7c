"""Muniment's gateway as a service: policy engines decide, the log has it, then it answers."""

"""The gateway: from a decision to a permit, exactly once; governed calls; the spool."""

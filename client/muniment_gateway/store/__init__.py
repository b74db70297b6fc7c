"""What the gateway keeps on disk besides the SDK's spool; all of its SQL."""

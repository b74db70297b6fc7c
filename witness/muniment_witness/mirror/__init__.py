"""C2SP tlog-mirror: what is received of a log, held, cosigned once it is held, and read."""

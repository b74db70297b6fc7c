"""From a request to an answer that is on record: engines, quorum, signatures, the log."""

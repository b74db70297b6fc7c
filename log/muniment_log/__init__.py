"""The log service: one sequencer, two heads, C2SP reads and the /v1 API."""

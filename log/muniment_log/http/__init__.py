"""The log over HTTP: C2SP reads at the root, the service API under /v1."""

"""Records: canonical JSON, their kinds and checks, batches and manifests. Pure, without I/O."""

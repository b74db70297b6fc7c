"""The witness service: cosigns what it has checked to be append-only, and nothing else."""

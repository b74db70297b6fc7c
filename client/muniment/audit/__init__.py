"""The auditor: it believes nothing that it has not recomputed from a quorum-cosigned checkpoint.

``trust`` (when a checkpoint may replace the one trusted so far),
``check`` (one entry bundle), ``streams`` (manifests and their order) and ``statefile`` are pure;
``reader`` fetches, ``auditor`` puts it together, ``report`` says what came of it.
"""

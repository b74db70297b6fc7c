"""Lineage (design sections 3.1 and 6): who allowed what, through every delegation.

Pure: all that is known of a log comes in through `facts.Facts`.
"""

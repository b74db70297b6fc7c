"""The monitor, for people without a witness: does the log show what the witnesses hold?

``heads`` (what a party showed, verified) and ``core`` (what follows from it, and since when) are
pure; ``watch`` asks and waits, ``webhook`` tells others, ``report`` is what is told.
"""

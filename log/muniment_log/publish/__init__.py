"""Publishing: signed heads, rounds with the witnesses, and who waits for a published head."""

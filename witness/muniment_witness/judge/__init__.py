"""C2SP tlog-witness, the verdict: what a witness cosigns, and why it refuses."""

"""C2SP tlog-witness, where heads move: requests in order, and what holds an origin back."""

"""What the gateway computes without a clock, I/O or HTTP: AuthZEN's forms, answers, the quorum."""

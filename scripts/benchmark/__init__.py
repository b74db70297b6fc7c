"""The benchmark of Muniment: real processes, checked results, figures next to physical limits."""

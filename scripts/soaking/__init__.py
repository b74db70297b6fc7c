"""The soak run behind `scripts/soak`: load and trouble for a while, and then a verdict."""

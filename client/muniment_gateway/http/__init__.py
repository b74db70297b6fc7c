"""What the gateway serves: AuthZEN, OPA's Data API, and its own operations."""

"""The policy engines that the gateway asks, one module for each kind."""

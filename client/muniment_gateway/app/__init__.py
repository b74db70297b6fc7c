"""Puts the gateway together: the only place that builds its objects."""

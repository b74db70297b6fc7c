"""Pure formats: no clock, no I/O, no asyncio. Hostile input raises one declared error."""

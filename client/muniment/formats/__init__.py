"""Pure formats: no clock, no I/O, no logging, no asyncio. Hostile input raises one declared error."""

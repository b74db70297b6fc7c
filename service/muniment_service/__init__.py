"""What both services stand on: configuration, HTTP, processes. The SDK does not import it."""

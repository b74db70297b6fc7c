"""The MCP gate: what clients ask of a server is decided, logged and only then passed on."""

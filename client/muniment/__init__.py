"""The formats, keys and tools of Muniment, a transparency log for authorization decisions."""

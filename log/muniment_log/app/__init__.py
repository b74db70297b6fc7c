"""Assembly: the only package that builds the objects of a log."""

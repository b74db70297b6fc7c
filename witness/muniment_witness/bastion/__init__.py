"""Serving through bastions (C2SP https-bastion): a witness without an open port connects out."""

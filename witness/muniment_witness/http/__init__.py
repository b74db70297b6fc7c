"""The witness over HTTP: C2SP tlog-witness, gossip, evidence and its status."""

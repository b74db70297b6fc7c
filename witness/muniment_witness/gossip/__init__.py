"""How a witness learns of heads that nobody brings it: pull, gossip, push, comparison."""

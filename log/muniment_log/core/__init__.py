"""The one writer: streams, the queue, the sequencer, and the tree that grows."""

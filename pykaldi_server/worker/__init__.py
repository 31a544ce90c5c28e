"""A worker: connects to a master and recognises for its clients."""

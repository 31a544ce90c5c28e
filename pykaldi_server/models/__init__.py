"""Models by name: those that can be downloaded, and those that this machine has."""

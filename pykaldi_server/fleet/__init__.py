"""As many workers as their masters need, as actors on the machines of a Ray cluster."""

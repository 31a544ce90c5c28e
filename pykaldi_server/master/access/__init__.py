"""Who may use a master, and for what: callers, their tokens and limits."""

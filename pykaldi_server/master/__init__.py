"""The master: accepts clients and workers, and relays each client's request to a worker."""

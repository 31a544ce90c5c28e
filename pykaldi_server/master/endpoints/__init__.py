"""What a master serves: one module for each client protocol, health and status."""

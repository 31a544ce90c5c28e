"""A master and supervised workers on one machine."""

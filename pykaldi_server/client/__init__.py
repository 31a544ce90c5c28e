"""A client of our own servers, for the command line and for tests."""

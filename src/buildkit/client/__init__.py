"""A client of any engine: the one in this process, and those behind an address."""

"""``buildctl debug``: what a daemon is, does and remembers, and what a definition says."""

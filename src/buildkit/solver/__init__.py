"""What to do: a graph of content-addressed vertices, their cache keys, and one execution per key."""

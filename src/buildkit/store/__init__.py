"""Where results live: blobs by digest, snapshots by name, refs that tie them together, and what removes them."""

"""Trees of files: mounting, walking, matching, hashing, copying and packing them."""

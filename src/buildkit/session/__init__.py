"""What a client lends to its build: directories, keys, secrets, stores, and places for the results."""

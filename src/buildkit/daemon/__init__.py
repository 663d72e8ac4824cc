"""``buildkitd``: the engine plus listeners, configuration and draining."""

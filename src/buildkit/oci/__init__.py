"""Images: names, manifests, registries, layouts and layer compression."""

"""Where results go: images, image archives, files."""

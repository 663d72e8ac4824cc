"""Frontends: they turn what people write into definitions, seeing nothing but a `Bridge`."""

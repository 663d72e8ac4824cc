"""The ground floor: standard library only, imported by every other layer."""

"""Signatures of files and of git's objects: OpenPGP and SSH, checked by the rules of BuildKit."""

"""BuildKit in Python: an embedded build engine, a client and server of its protocol, and an SDK for LLB."""

__version__ = "0.1.0"

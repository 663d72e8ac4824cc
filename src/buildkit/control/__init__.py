"""The gRPC face of the engine: every call is a conversion around one call below."""

"""gRPC over HTTP/2 on any byte stream, in both roles; nothing above knows frames."""

"""The gateway: frontends that run elsewhere and reach their build through ``LLBBridge``."""

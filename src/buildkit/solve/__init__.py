"""One solve, from request to response: the frontend asks, the solver builds, the exporters write."""

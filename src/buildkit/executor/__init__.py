"""Running one process in one container: what to run as values, an OCI runtime (crun or runc) doing it."""

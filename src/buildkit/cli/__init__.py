"""The command line: flags in, exit status and progress out."""

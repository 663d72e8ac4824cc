"""Progress drawn for people (plain, tty) and for programs (rawjson)."""

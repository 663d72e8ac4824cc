"""Dockerfiles in a line: parse them, and say what went wrong and where."""

from __future__ import annotations

from buildkit.frontend.dockerfile.grammar import parse_program
from buildkit.frontend.dockerfile.instructions import Command, Program
from buildkit.frontend.dockerfile.linter import CheckOptions, Finding, Linter
from buildkit.frontend.dockerfile.location import DockerfileError
from buildkit.frontend.dockerfile.parser import parse


def program(text: str) -> Program:
    """The instructions of a whole file."""
    return parse_program(parse(text), Linter())


def instruction(line: str) -> Command:
    """The one instruction of a stage."""
    return program(f"FROM scratch\n{line}\n").stages[0].commands[0]


def fault(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Message, and first and last line of each place."""
    try:
        program(text)
    except DockerfileError as error:
        return str(error), [(place[0].start_line, place[-1].end_line) for place in error.locations]
    raise AssertionError("the file is accepted")


def findings(text: str, options: CheckOptions | None = None) -> list[Finding]:
    """What the checks that need no build say."""
    found: list[Finding] = []
    parse_program(parse(text), Linter(options or CheckOptions(), found.append))
    return found

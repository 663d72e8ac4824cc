"""Many inputs, made by a seeded generator: refused or read, never a crash."""

import os
import random

import pytest

from buildkit.frontend.dockerfile.grammar import parse_program
from buildkit.frontend.dockerfile.linter import Linter
from buildkit.frontend.dockerfile.location import DockerfileError
from buildkit.frontend.dockerfile.mount import parse_mount
from buildkit.frontend.dockerfile.parser import decode, parse
from buildkit.frontend.dockerfile.shell import ExpansionError, Lexer

COUNT = int(os.environ.get("FUZZ", "100000"))
KEYWORDS = (
    "ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL ONBUILD RUN SHELL USER VOLUME WORKDIR x".split()
)
TOKENS = [f"{keyword} " for keyword in KEYWORDS]
TOKENS += ["a", "b=c", "--from=x ", "--mount=type=cache,target=/x ", "--link ", "-- ", "<<E", "<<-'E' ", "\nE\n"]
TOKENS += ["\n", "\r\n", "\\\n", "`\n", " ", "\t", "#", "# escape=`\n", "# check=skip=all\n", "[", "]", '"', "'", "$"]
TOKENS += ["${", "}", ":-", "/", "*", "?", "\\", ",", "=", "\ufeff", "\x00", "é", "\u00a0", "AS ", "as b", "CMD "]
BYTES = [token.encode() for token in TOKENS] + [b"\xff", b"\x85", b"\xc3", b"\xed\xa0\x80"]
WORDS = [
    "$",
    "${",
    "}",
    ":-",
    ":+",
    "?",
    "#",
    "##",
    "%",
    "/",
    "//",
    "*",
    "\\",
    "'",
    '"',
    "<<",
    "a",
    "b",
    " ",
    "\n",
    "é",
    "{",
]


@pytest.mark.slow
def test_many_files_are_read_or_refused_with_a_place():
    source = random.Random(1)
    for _ in range(COUNT):
        content = b"".join(source.choices(BYTES, k=source.randrange(24)))
        try:
            parse_program(parse(decode(content)), Linter())
        except DockerfileError as error:
            assert error.locations, content


@pytest.mark.slow
def test_many_words_are_read_or_refused():
    source = random.Random(2)
    variables = {"a": "x y", "b": ""}
    for _ in range(COUNT):
        word = "".join(source.choices(WORDS, k=source.randrange(16)))
        try:
            Lexer(source.choice("\\`"), *(source.random() < 0.3 for _ in range(4))).read(word, variables)
        except ExpansionError:
            pass


@pytest.mark.slow
def test_many_mounts_are_read_or_refused():
    source = random.Random(3)
    parts = [
        "type=",
        "cache",
        "tmpfs",
        "secret",
        ",",
        "size=",
        "1m",
        "mode=",
        "0755",
        "target=",
        "/x",
        '"',
        "ro",
        "=",
        "é",
    ]
    for _ in range(COUNT // 5):
        try:
            parse_mount("".join(source.choices(parts, k=source.randrange(12))), str)
        except DockerfileError:
            pass

"""Runs the checks of ``rules`` as ``# check=…`` and its build argument configure them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from buildkit.core.goquote import quote
from buildkit.core.values import dataclass, field, replace
from buildkit.frontend.dockerfile.directives import DirectiveReader
from buildkit.frontend.dockerfile.gotext import parse_bool, trim_space
from buildkit.frontend.dockerfile.location import DockerfileError, Location
from buildkit.frontend.dockerfile.rules import Rule


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule broken somewhere."""

    rule: Rule
    message: str
    location: Location

    @property
    def summary(self) -> str:
        """One line as clients print it: ``RuleName: message (line N)``."""
        line = self.location[0].start_line if self.location else 0
        return f"{self.rule.name}: {self.message}" + (f" (line {line})" if line > 0 else "")


Report = Callable[[Finding], None]


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """``skip=A,B|all;error=bool;experimental=A,B|all``."""

    skipped: frozenset[str] = frozenset()
    skip_all: bool = False
    experimental: frozenset[str] = frozenset()
    experimental_all: bool = False
    fail: bool = False


def parse_check_options(text: str) -> CheckOptions:
    """Parse the value of ``# check=``; raises `DockerfileError`."""
    options = CheckOptions()
    text = trim_space(text)
    for part in text.split(";", 2) if text else ():
        key, equals, value = part.partition("=")
        if not equals:
            raise DockerfileError(f"invalid check option {quote(part)}")
        key, value = trim_space(key), trim_space(value)
        names = frozenset(map(trim_space, value.split(",")))
        if key == "skip":
            options = replace(options, skip_all=True) if value == "all" else replace(options, skipped=names)
        elif key == "experimental":
            everything = value == "all"
            options = replace(options, experimental_all=True) if everything else replace(options, experimental=names)
        elif key == "error":
            try:
                options = replace(options, fail=parse_bool(value))
            except ValueError as error:
                raise DockerfileError(f"failed to parse check option {quote(part)}: {error}") from None
        else:
            raise DockerfileError(f"invalid check option {quote(key)}")
    return options


@dataclass(frozen=True, slots=True)
class Linter:
    """Reports findings that the options let through, and remembers their rules; silent when ``report`` is None."""

    options: CheckOptions = CheckOptions()
    report: Report | None = None
    _broken: list[str] = field(default_factory=list[str])

    def run(self, rule: Rule, location: Location, message: str) -> None:
        """Report that a rule is broken, unless it is switched off."""
        if self.report is None or not self._runs(rule):
            return
        if rule.name not in self._broken:
            self._broken.append(rule.name)
        self.report(Finding(rule, message, location))

    def _runs(self, rule: Rule) -> bool:
        options = self.options
        if rule.experimental:
            return options.experimental_all or rule.name in options.experimental
        return not options.skip_all and rule.name not in options.skipped

    def for_comments(self, comments: Iterable[str]) -> Linter:
        """The linter for one instruction, given the comments above it: ``# check=`` there adds to the options."""
        for comment in comments:
            directive = DirectiveReader("").read(comment)
            if directive is None or directive.name != "check":
                continue
            try:
                return self._with(parse_check_options(directive.first_word))
            except DockerfileError:
                return self
        return self

    def _with(self, more: CheckOptions) -> Linter:
        mine = self.options
        options = replace(
            mine,
            skipped=mine.skipped | more.skipped,
            skip_all=mine.skip_all or more.skip_all,
            experimental=mine.experimental | more.experimental,
            experimental_all=mine.experimental_all or more.experimental_all,
        )
        return replace(self, options=options)

    def check(self) -> None:
        """Raise `DockerfileError` if findings are to fail the build (``error=true``) and there were some."""
        if self.options.fail and self._broken:
            raise DockerfileError(f"lint violation found for rules: {', '.join(self._broken)}")

"""Names of signals that STOPSIGNAL knows."""

from __future__ import annotations

from buildkit.frontend.dockerfile.gotext import parse_int, upper
from buildkit.frontend.dockerfile.location import DockerfileError

_NAMES = frozenset(
    "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP "
    "TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMAX".split()
    + [f"RTMIN+{n}" for n in range(1, 16)]
    + [f"RTMAX-{n}" for n in range(1, 15)]
)


def check_signal(text: str) -> None:
    """Accept a number other than 0, or a name with or without ``SIG``; raises `DockerfileError`."""
    try:
        known = parse_int(text) != 0
    except ValueError:
        known = upper(text).removeprefix("SIG") in _NAMES
    if not known:
        raise DockerfileError(f"invalid signal: {text}")

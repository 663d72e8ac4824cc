"""What opens doors: values of ``Authorization`` from the secrets that sessions lend. They are never shown."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from buildkit.core.errors import BuildkitError, FailedPrecondition, InvalidInput, NotFound
from buildkit.session.registry import Sessions
from buildkit.session.session import Session


async def web_authorization(sessions: Sessions, ids: Sequence[str], url: str, secret: str) -> str:
    """For a file of the web; ``""`` when there is nothing to show.

    ``secret`` is the id that the definition names: then it must be there. Else ``HTTP_AUTH_TOKEN_<host>`` (a bearer
    token), ``HTTP_AUTH_HEADER_<host>``, and a user in the URL are tried in this order.
    """
    if secret:
        try:
            return header_value(secret, await sessions.any(ids, lambda one: _get(one, secret)))
        except BuildkitError as error:
            raise error.prefixed(f"failed to retrieve HTTP auth secret {secret}: ") from None
    parts = urlsplit(url)
    for prefix, scheme in (("HTTP_AUTH_TOKEN_", "Bearer "), ("HTTP_AUTH_HEADER_", "")):
        name = prefix + (parts.hostname or "")
        found = await find_secret(sessions, ids, name)
        if found is not None:
            return scheme + header_value(name, found)
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return "Basic " + b64encode(user.encode()).decode()
    return ""


async def git_authorization(sessions: Sessions, ids: Sequence[str], host: str, header: str, token: str) -> str:
    """For a git remote on ``host`` (with its port): the secrets ``header`` and ``token``, those of the host first."""
    names = [
        (header and f"{header}.{host}", False),
        (token and f"{token}.{host}", True),
        (header, False),
        (token, True),
    ]
    for name, is_token in names:
        found = await find_secret(sessions, ids, name) if name else None
        if found is not None:
            value = header_value(name, found)
            return "basic " + b64encode(f"x-access-token:{value}".encode()).decode() if is_token else value
    return ""


async def find_secret(sessions: Sessions, ids: Sequence[str], name: str) -> bytes | None:
    """The secret of the first session that has it."""
    try:
        return await sessions.any(ids, lambda one: _get(one, name))
    except (NotFound, FailedPrecondition):
        return None


async def _get(session: Session, name: str) -> bytes:
    try:
        if session.secrets is not None:
            return await session.secrets.get(name)
    except NotFound:
        pass
    raise NotFound(f"secret {name}: not found")


def header_value(name: str, content: bytes) -> str:
    """A secret as the value of a header; raises `InvalidInput` naming it if it is none."""
    try:
        text = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        text = "\0"
    if not text.isprintable() or not text.isascii():
        raise InvalidInput(f"secret {name}: not the value of a header")
    return text

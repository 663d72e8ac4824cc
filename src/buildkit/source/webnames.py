"""Names and dates of the web, as they stand in URLs and headers."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote, urlsplit, urlunsplit

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def public_url(url: str) -> str:
    """The URL without the user and password that may stand in it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def path_name(url: str) -> str:
    """The last part of the URL's path, or ``""``."""
    return unquote(posixpath.basename(urlsplit(url).path.rstrip("/")))


def disposition_name(header: str) -> str:
    """The file name that ``Content-Disposition`` suggests, or ``""``."""
    if not header:
        return ""
    from email.message import Message

    message = Message()
    message["Content-Disposition"] = header
    name = message.get_filename("")
    return "" if name.endswith("/") else posixpath.basename(name)


def http_date(seconds: int) -> str:
    """Seconds since 1970 as headers write them, always in English."""
    import time

    when = time.gmtime(seconds)
    return (
        f"{_DAYS[when.tm_wday]}, {when.tm_mday:02} {_MONTHS[when.tm_mon - 1]} {when.tm_year:04} "
        f"{when.tm_hour:02}:{when.tm_min:02}:{when.tm_sec:02} GMT"
    )


def parse_http_date(text: str) -> int | None:
    """Seconds since 1970; None for what is no date."""
    if not text:
        return None
    from email.utils import parsedate_tz

    found = parsedate_tz(text)
    if found is None:
        return None
    import calendar

    try:
        return calendar.timegm((*found[:6], 0, 0, 0)) - (found[9] or 0)
    except (ValueError, OverflowError):
        return None

"""Modules of which some attributes are there before they are imported."""

import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"


def python(code):
    done = subprocess.run([sys.executable, "-I", "-c", f"import sys\nsys.path.insert(0, {str(SOURCE)!r})\n{code}"])
    return done.returncode


def test_what_is_given_needs_no_import_and_the_rest_imports_the_module():
    assert not python("""
from buildkit.core.lean import lean_imports
with lean_imports(given={"textwrap": {"dedent": 5}}):
    import textwrap
assert textwrap.dedent == 5
assert "textwrap" not in sys.modules
assert textwrap.indent("a", "b") == "ba"
import textwrap as real
assert real is not textwrap
assert real.dedent("a") == "a"
""")


def test_a_module_of_a_package_that_is_there_is_found_in_it():
    assert not python("""
import concurrent
from buildkit.core.lean import lean_imports
with lean_imports(given={"concurrent.futures": {"FIRST_COMPLETED": 1}}):
    import concurrent.futures
assert concurrent.futures.FIRST_COMPLETED == 1
assert issubclass(concurrent.futures.ThreadPoolExecutor, object)
import concurrent.futures
assert concurrent.futures.FIRST_COMPLETED == "FIRST_COMPLETED"
""")


def test_a_logger_for_later_is_the_one_that_logging_has():
    assert not python("""
from buildkit.core.lean import LaterLogger
logger = LaterLogger("x")
logger.debug("nobody hears %s", 1)
assert "logging" not in sys.modules
logger.setLevel("DEBUG")
import logging
assert logging.getLogger("x").level == logging.DEBUG
heard = []
logging.getLogger("x").addHandler(type("H", (logging.Handler,), {"emit": lambda self, r: heard.append(r)})())
logger.debug("somebody hears")
assert [record.msg for record in heard] == ["somebody hears"]
""")


@pytest.mark.parametrize("tls", [False, True])
def test_asyncio_works_with_what_commands_leave_out_of_it(tls):
    assert not python(
        f"TLS = {tls}"
        + """
from buildkit.core.lean import import_loop
import_loop(tls=TLS)
import asyncio
for name in ("logging", "subprocess", "concurrent.futures", "asyncio.sslproto", "_ssl"):
    assert name not in sys.modules, name

async def main():
    assert await asyncio.to_thread(str, 5) == "5"
    process = await asyncio.create_subprocess_exec("echo", "hello", stdout=asyncio.subprocess.PIPE)
    assert (await process.communicate())[0] == b"hello\\n"
    done, _ = await asyncio.wait([asyncio.ensure_future(asyncio.sleep(0))], return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 1
    if TLS:
        import ssl
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server = await asyncio.start_server(print, "127.0.0.1", 0, ssl=context)
        server.close()

asyncio.run(main())
"""
    )

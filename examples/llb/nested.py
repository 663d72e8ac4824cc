"""A step writes the program of another: what is built is decided while it is built."""

import sys

from buildkit import llb

inner = llb.scratch().file(llb.mkfile("/written", "by a program that was found in a file\n"))
found = llb.scratch().file(llb.mkfile("/next.llb", inner.marshal().to_bytes()))
result = llb.nested(found, "next.llb").file(llb.mkfile("/after", "and gone on with\n"))

sys.stdout.buffer.write(result.marshal(python_lines=True).to_bytes())

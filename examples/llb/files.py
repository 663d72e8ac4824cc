"""A web site made of nothing: no image, no container, no network."""

import sys

from buildkit import llb

site = llb.scratch().file(
    llb.mkdir("/srv/www", parents=True, owner=llb.Owner(33, 33))
    .mkfile("/srv/www/index.html", "<h1>Hello</h1>\n", 0o640)
    .symlink("index.html", "/srv/www/home.html")
    .mkdir("/srv/drafts")
    .rm("/srv/drafts")
)

sys.stdout.buffer.write(site.marshal(python_lines=True).to_bytes())

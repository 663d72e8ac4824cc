"""What every test shares: unpacked Debian parts on the path; property tests that do not depend on speed or luck."""

import os
from pathlib import Path

from hypothesis import HealthCheck, settings

PARTS = Path(__file__).parent.parent / ".work/parts"

os.environ["PATH"] = os.pathsep.join(
    [os.environ["PATH"], "/usr/sbin", "/sbin", *(str(part / "usr/bin") for part in sorted(PARTS.glob("*")))]
)

settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.load_profile("steady")

from __future__ import annotations

import calendar

from hypothesis import given
from hypothesis import strategies as st

from buildkit.core.clock import seconds_at


@given(st.datetimes())
def test_moments_are_those_of_the_calendar(moment):
    parts = (moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second)
    assert seconds_at(*parts) == calendar.timegm(parts)


def test_a_day_past_its_month_is_in_the_next():
    assert seconds_at(2023, 2, 30) == seconds_at(2023, 3, 2)

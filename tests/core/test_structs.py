import pickle
from typing import Generic, TypeVar

import pytest

from buildkit.core.values import asdict, dataclass, field, fields, replace

T = TypeVar("T")


@dataclass(frozen=True)
class Point:
    """A point."""

    x: int
    y: int = 0
    tags: list = field(default_factory=list)
    secret: str = field(default="", repr=False)

    def moved(self, by):
        return replace(self, x=self.x + by)


@dataclass(frozen=True)
class Box(Generic[T]):
    content: T


@dataclass(frozen=True, eq=False)
class Identity:
    name: str


def test_it_behaves_as_a_frozen_dataclass():
    point = Point(1, secret="s3cret")
    assert point == Point(1, 0, [], "s3cret")
    assert point.moved(2) == Point(3, secret="s3cret")
    assert Point.__doc__ == "A point."
    with pytest.raises(AttributeError):
        point.x = 5
    with pytest.raises(TypeError):
        Point()
    assert Point(1).tags is not Point(1).tags
    assert [one.name for one in fields(Point)] == ["x", "y", "tags", "secret"]
    assert asdict(Box(3)) == {"content": 3}
    assert pickle.loads(pickle.dumps(point)) == point


def test_a_hidden_field_is_not_printed():
    assert "s3cret" not in repr(Point(1, secret="s3cret"))
    assert repr(Box("a")) == "Box(content='a')"


def test_without_eq_objects_are_their_own_keys():
    one, two = Identity("a"), Identity("a")
    assert one != two
    assert len({one, two}) == 2


def test_a_match_statement_takes_it_apart():
    match Point(1, 2):
        case Point(x, y):
            assert (x, y) == (1, 2)

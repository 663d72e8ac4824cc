import pytest

from buildkit.api import ops as pb
from buildkit.api.ops_pb2 import SourceOp
from buildkit.api.policysession_pb2 import CheckPolicyResponse, DecisionResponse, DenyMessage
from buildkit.api.sourcepolicy_pb2 import ALLOW, CONVERT, DENY
from buildkit.core.errors import FailedPrecondition, InvalidInput, PermissionDenied
from buildkit.frontend.frontend import SourceMetadata
from buildkit.solve.verdicts import Verdicts
from buildkit.source.policy import Action, Policy, Rule
from buildkit.source.source import Known

FILE = "https://example.org/x"
DENIED = DecisionResponse(action=DENY, denyMessages=[DenyMessage(message="not today")])


class Client:
    """Answers in turn, the last answer for ever."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self.asked = []

    async def check(self, request):
        self.asked.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        kind = "decision" if isinstance(answer, DecisionResponse) else "request"
        return CheckPolicyResponse(**{kind: answer})


class Resolving:
    async def resolve_source(self, identifier, attrs, *, inquiry, log_name=""):
        return SourceMetadata(identifier, attrs, Known("sha256:" + "ab" * 32, filename="x"))


def convert(identifier, **attrs):
    return DecisionResponse(action=CONVERT, update=SourceOp(identifier=identifier, attrs=attrs))


def question(identifier=FILE):
    from buildkit.api.gateway_pb2 import ResolveSourceMetaRequest

    return ResolveSourceMetaRequest(Source=SourceOp(identifier=identifier))


def verdicts(*answers, policies=()):
    client = Client(*answers)

    async def find():
        return client

    judge = Verdicts(policies, Resolving(), find if answers else None)
    return judge, client


@pytest.mark.row("A171", "L186")
async def test_a_client_allows_denies_or_changes_a_source():
    assert await verdicts(DecisionResponse(action=ALLOW))[0].judge(FILE, {}) == (FILE, {})
    with pytest.raises(PermissionDenied, match="not allowed by policy: action DENY\nnot today"):
        await verdicts(DENIED)[0].judge(FILE, {})
    changing, _ = verdicts(convert("https://other/y", a="b"), DecisionResponse(action=ALLOW))
    assert await changing.judge(FILE, {}) == ("https://other/y", {"a": "b"})


@pytest.mark.row("A171")
async def test_a_client_may_ask_about_the_source_before_it_decides():
    judge, client = verdicts(question(), DecisionResponse(action=ALLOW))
    await judge.judge(FILE, {})
    assert [one.Source.HTTP.Filename for one in client.asked] == ["", "x"]


@pytest.mark.row("A171")
@pytest.mark.parametrize("answer", [question(), convert("https://other/y")])
async def test_a_client_that_never_decides_is_left(answer):
    judge, client = verdicts(answer)
    with pytest.raises(FailedPrecondition, match="too many policy requests"):
        await judge.judge(answer.update.identifier if isinstance(answer, DecisionResponse) else FILE, {})
    assert len(client.asked) <= 10


@pytest.mark.row("A171")
async def test_answers_that_make_no_sense_are_refused():
    with pytest.raises(InvalidInput, match="different source identifier"):
        await verdicts(question("https://elsewhere/"))[0].judge(FILE, {})
    with pytest.raises(InvalidInput, match="convert action requires updated source"):
        await verdicts(DecisionResponse(action=CONVERT))[0].judge(FILE, {})


async def test_policies_of_the_build_come_first_also_for_what_a_client_puts_in():
    rule = Rule(Action.DENY, "https://other/*")
    with pytest.raises(PermissionDenied, match="source denied by policy"):
        await verdicts(convert("https://other/y"), policies=[Policy((rule,))])[0].judge(FILE, {})


async def test_an_op_is_changed_in_place():
    op = pb.Op()
    op.source.identifier = "docker-image://busybox"
    whole = "docker-image://docker.io/library/busybox:latest"
    rule = Rule(Action.CONVERT, whole, to="docker-image://other:1", attrs={"a": "b"})
    judge, _ = verdicts(policies=[Policy((rule,))])
    assert await judge(op)
    assert (op.source.identifier, dict(op.source.attrs)) == ("docker-image://other:1", {"a": "b"})

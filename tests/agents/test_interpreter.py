import socket

import anyio
import anyio.lowlevel
import dspy
import pytest
from dspy.primitives.code_interpreter import CodeExecutionError, CodeInterpreter, CodeInterpreterError, FinalOutput

from corral.agents import Interpreter, run_in_background
from corral.agents.testing import scripted_lm
from corral.sandbox import DockerProvider, MontyProvider, SandboxProvider


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.docker), "monty"])
def provider(request: pytest.FixtureRequest) -> SandboxProvider:
    if request.param == "monty":
        return MontyProvider()
    request.getfixturevalue("docker_image")
    return DockerProvider()


@pytest.fixture
def interpreter(provider: SandboxProvider) -> object:
    with Interpreter(provider=provider) as made:
        yield made
    run_in_background(provider.close)


def test_it_keeps_dspys_contract(interpreter: Interpreter) -> None:
    assert isinstance(interpreter, CodeInterpreter)
    assert interpreter.execute("x = 20\nx + 1") == 21
    assert interpreter.execute("print(x * 2)") == "40\n"
    assert interpreter.execute("y = 1") is None
    assert interpreter.execute("n + x", {"n": 5}) == 25
    assert interpreter.execute("SUBMIT(7)") == FinalOutput({"output": 7})


def test_tools_are_read_again_at_every_execution(interpreter: Interpreter) -> None:
    interpreter.tools["double"] = lambda n: n * 2
    assert interpreter.execute("double(21)") == 42

    async def later(n: int) -> int:
        await anyio.lowlevel.checkpoint()
        return n + 1

    interpreter.tools["later"] = later
    assert interpreter.execute("later(n=41)") == 42


def test_output_fields_are_submits_parameters(interpreter: Interpreter) -> None:
    interpreter.output_fields = [{"name": "answer"}, {"name": "score"}]
    assert interpreter.execute("SUBMIT('a', score=1)") == FinalOutput({"answer": "a", "score": 1})


def test_failures_are_the_kinds_that_dspy_knows(interpreter: Interpreter) -> None:
    with pytest.raises(SyntaxError):
        interpreter.execute("def (")
    with pytest.raises(CodeExecutionError, match="ZeroDivisionError"):
        interpreter.execute("print('before')\n1 / 0")
    assert interpreter.execute("1 + 1") == 2
    interpreter.shutdown()
    with pytest.raises(CodeInterpreterError, match="shut down"):
        interpreter.execute("1 + 1")


def turn(reasoning: str, code: str) -> str:
    """What a model says to `dspy.RLM`."""
    return f"[[ ## reasoning ## ]]\n{reasoning}\n\n[[ ## code ## ]]\n```python\n{code}\n```\n\n[[ ## completed ## ]]"


@pytest.mark.docker
def test_rlm_runs_its_code_in_a_container(docker_image: None) -> None:
    provider = DockerProvider()
    replies = [
        turn("look", "import socket\nprint(socket.gethostname(), len(text))"),
        turn("answer", "SUBMIT(text.count('a'))"),
    ]
    lm, engine = scripted_lm(replies)
    try:
        with dspy.context(lm=lm, interpreter_factory=Interpreter.factory(provider)):
            prediction = dspy.RLM("text -> count: int", max_iters=4)(text="banana")
    finally:
        run_in_background(provider.close)
    assert prediction.count == 3
    assert len(engine.requests) == 2


@pytest.mark.docker
@pytest.mark.filterwarnings("ignore:.*lm15:DeprecationWarning")  # DSPy's own sub-agents call its LM in its own old way
def test_sub_agents_of_rlm_have_sessions_of_their_own(docker_image: None) -> None:
    provider = DockerProvider()
    inner = "import dspy\nparts = 1\nfound = dspy.RLM('context, query -> answer')(context=text, query='how many a?')"
    replies = [
        turn("ask", f"{inner}\nprint(found.answer, llm_query('which fruit?'))"),
        turn("count", "parts = 2\nSUBMIT(answer=str(context.count('a')))"),
        "a banana",
        turn("answer", "SUBMIT(int(found.answer) + parts)"),
    ]
    lm, engine = scripted_lm(replies)
    try:
        with dspy.context(lm=lm, interpreter_factory=Interpreter.factory(provider)):
            prediction = dspy.RLM("text -> count: int", max_iters=4)(text="banana")
    finally:
        run_in_background(provider.close)
    assert prediction.count == 3 + 1
    assert "a banana" in str(engine.requests[3].messages)


@pytest.mark.docker
def test_program_of_thought_runs_its_programs_in_a_container(docker_image: None) -> None:
    provider = DockerProvider()
    program = "import socket\nSUBMIT({'answer': 6 * 7, 'where': socket.gethostname()})"
    replies = [turn("Multiply.", code).replace("## code ##", "## generated_code ##") for code in ("1 / 0", program)]
    last = "[[ ## reasoning ## ]]\nIt says so.\n\n[[ ## answer ## ]]\n42\n\n[[ ## completed ## ]]"
    lm, engine = scripted_lm([*replies, last])
    try:
        with dspy.context(lm=lm, interpreter_factory=Interpreter.factory(provider)):
            prediction = dspy.ProgramOfThought("question -> answer: int")(question="six times seven?")
    finally:
        run_in_background(provider.close)
    assert prediction.answer == 42
    assert "ZeroDivisionError" in str(engine.requests[1].messages)
    assert socket.gethostname() not in str(engine.requests[2].messages)
    assert '"where"' in str(engine.requests[2].messages).replace("\\", "").replace("'", '"')

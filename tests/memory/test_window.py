"""What of a conversation stays before the model."""

import pytest

from corral.memory import Message, Window, WindowTooSmall, estimate_tokens, fit_window


def conversation(turns: int, result: int = 200) -> list[Message]:
    """A goal, then `turns` times a call, its result and an answer."""
    messages = [Message("system", "be brief"), Message("user", "find the cheapest flight to Porto")]
    for number in range(turns):
        messages.append(Message("assistant", f"looking at offer {number}", calls=(f"c{number}",)))
        messages.append(Message("tool", f"offer {number}: " + "x" * result, answers=f"c{number}"))
        messages.append(Message("assistant", f"Offer {number} costs {100 + number} EUR."))
    return messages


def assert_calls_are_whole(window: Window) -> None:
    calls = [call for message in window.messages for call in message.calls]
    answers = [message.answers for message in window.messages if message.answers is not None]
    assert calls == answers


def test_what_fits_is_left_alone() -> None:
    messages = conversation(3)
    window = fit_window(messages, 10_000)
    assert window.messages == tuple(messages)
    assert window.sources == tuple(range(len(messages)))
    assert window.dropped == 0


@pytest.mark.parametrize("budget", [150, 300, 700, 1500])
def test_a_window_never_exceeds_its_budget(budget: int) -> None:
    window = fit_window(conversation(40, result=2_000), budget)
    assert window.tokens <= budget
    assert window.tokens == sum(estimate_tokens(message.text) for message in window.messages)
    assert_calls_are_whole(window)


@pytest.mark.parametrize("budget", range(120, 900, 13))
def test_a_call_is_never_split_from_its_result(budget: int) -> None:
    assert_calls_are_whole(fit_window(conversation(12), budget))


def test_the_system_message_the_goal_and_pinned_messages_stay_whole() -> None:
    messages = conversation(40)
    messages.insert(5, Message("assistant", "DECISION: fly on Friday", pinned=True))
    texts = [message.text for message in fit_window(messages, 400).messages]
    assert texts[:3] == ["be brief", "find the cheapest flight to Porto", "DECISION: fly on Friday"]


def test_the_newest_message_stays_whole() -> None:
    messages = [*conversation(40), Message("user", "and back on Sunday? " * 10)]
    assert fit_window(messages, 400).messages[-1] == messages[-1]


def test_old_tool_results_are_clipped_before_anything_goes() -> None:
    messages = conversation(4, result=4_000)
    window = fit_window(messages, 2_600)
    assert window.dropped == 0
    assert "characters cut" in window.messages[3].text
    assert window.messages[3].text.startswith("offer 0")


def test_what_goes_is_summarised_in_its_own_sentences() -> None:
    messages = conversation(40)
    messages.insert(3, Message("user", "We decided to pay at most 250 EUR."))
    window = fit_window(messages, 500)
    (summary,) = [m for m, source in zip(window.messages, window.sources, strict=True) if source is None]
    assert "user: We decided to pay at most 250 EUR." in summary.text
    assert window.dropped > 50
    assert window.messages.index(summary) == 2


def test_a_huge_newest_result_is_cut_rather_than_refused() -> None:
    messages = [
        *conversation(1),
        Message("assistant", "", calls=("big",)),
        Message("tool", "y" * 100_000, answers="big"),
    ]
    window = fit_window(messages, 1_000)
    assert window.tokens <= 1_000
    assert window.messages[-1].answers == "big"
    assert "characters cut" in window.messages[-1].text


def test_a_result_without_its_call_is_left_out() -> None:
    window = fit_window([Message("user", "hi"), Message("tool", "lost", answers="nobody")], 100)
    assert [message.text for message in window.messages] == ["hi"]
    assert window.dropped == 1


def test_parallel_calls_stay_together_in_the_order_of_their_calls() -> None:
    messages = [
        Message("user", "go"),
        Message("assistant", "", calls=("a", "b")),
        Message("tool", "second", answers="b"),
        Message("tool", "first", answers="a"),
    ]
    assert [m.text for m in fit_window(messages, 100).messages] == ["go", "", "first", "second"]


def test_what_must_stay_and_does_not_fit_is_an_error_that_says_how_much() -> None:
    with pytest.raises(WindowTooSmall) as caught:
        fit_window([Message("system", "long " * 1_000), Message("user", "hi")], 100)
    assert (caught.value.budget, caught.value.needed > 1_000) == (100, True)


def test_tokens_are_counted_by_who_knows() -> None:
    window = fit_window(conversation(10), 120, count=lambda text: len(text.split()))
    assert sum(len(message.text.split()) for message in window.messages) <= 120


def test_overhead_counts() -> None:
    messages = [Message("user", "go"), *(Message("assistant", "a", overhead=100) for _ in range(10))]
    assert len(fit_window(messages, 350).messages) < 6


def test_nothing_is_an_empty_window() -> None:
    assert fit_window([], 10) == Window((), (), 0, 0)

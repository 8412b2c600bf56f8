from __future__ import annotations

import random

from corral.policy import Confidentiality, Integrity, Label


def draw(rng: random.Random) -> Label:
    sources = frozenset(rng.sample(["tool:a/b", "tool:c/d", "file:x"], rng.randrange(4)))
    readers = None if rng.random() < 0.5 else frozenset(rng.sample(["user:a", "user:b", "user:c"], rng.randrange(4)))
    return Label(rng.choice(list(Integrity)), rng.choice(list(Confidentiality)), sources, readers)


def at_most(one: Label, other: Label) -> bool:
    """Whether `other` is at least as untrusted, as confidential and as derived as `one`."""
    return one.join(other) == other


def test_join_is_a_semilattice(rng: random.Random) -> None:
    for _ in range(2000):
        a, b, c = draw(rng), draw(rng), draw(rng)
        assert a.join(a) == a
        assert a.join(b) == b.join(a)
        assert a.join(b).join(c) == a.join(b.join(c))
        assert at_most(a, a.join(b))
        if at_most(a, b):
            assert at_most(a.join(c), b.join(c))


def test_joining_never_raises_integrity_nor_admits_more_readers(rng: random.Random) -> None:
    for _ in range(2000):
        a, b = draw(rng), draw(rng)
        joined = a.join(b)
        assert joined.integrity == min(a.integrity, b.integrity)
        assert joined.confidentiality == max(a.confidentiality, b.confidentiality)
        if a.readers is not None:
            assert joined.readers is not None
            assert joined.readers <= a.readers


def test_the_users_own_text_adds_nothing_and_what_derives_from_nothing_is_the_users() -> None:
    label = Label.untrusted("tool:web/get")
    assert Label.user().join(label) == label
    assert Label.join_all([]) == Label.user()

"""A rule, not a model, says who answers."""

import os

from corral.agents import ReAct, Router
from corral.agents.testing import scripted_lm

real = os.environ.get("CORRAL_MODEL")
german = ReAct("text -> answer", lm=real or scripted_lm(["Guten Tag!"])[0], name="german")
english = ReAct("text -> answer", lm=real or scripted_lm(["Hello!"])[0], name="english")
rule = lambda inputs: "de" if "ü" in inputs["text"] else "en"  # noqa: E731
desk = Router(rule, {"de": german, "en": english}, default="en")
print(desk.run_sync("Grüß Gott").outputs, desk.run_sync("Good day").outputs)
# {'answer': 'Guten Tag!'} {'answer': 'Hello!'}

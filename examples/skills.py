"""A skill: its name and description are in the prompt, its text is read when it is needed."""

import os
import tempfile
from pathlib import Path

from corral.agents import ReAct
from corral.agents.testing import Call, Reply, scripted_lm

real = os.environ.get("CORRAL_MODEL")
folder = Path(tempfile.mkdtemp()) / "hay"
folder.mkdir()
(folder / "SKILL.md").write_text("---\nname: hay\ndescription: How hay is made.\n---\nDry it for three days.\n")
lm = real or scripted_lm([Reply(calls=[Call("read_skill", {"skill": "hay"})]), "Three days."])[0]
print(ReAct("question -> answer", lm=lm, skills=[folder]).run_sync("How long does hay dry?").outputs)
# {'answer': 'Three days.'}

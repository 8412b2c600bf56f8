"""A hook that lets nothing be ordered on a Sunday; a package offers such a class as a plugin, by an entry point."""

from corral.agents import Hook, ReAct, Veto
from corral.agents.testing import Call, Reply, scripted_lm
from corral.tools import tool


class Sundays(Hook):
    def before_tool(self, run, arguments, call):
        return Veto("nothing is ordered on a Sunday") if arguments["day"] == "Sunday" else None


order = tool(lambda item, day: f"ordered {item}", name="order", effect="read")
lm = scripted_lm([Reply(calls=[Call("order", {"item": "hay", "day": "Sunday"})]), "Nothing was ordered."])[0]
result = ReAct("task -> answer", [order], lm=lm, plugins=[Sundays()]).run_sync("Order hay, today.")
print(result.outputs, "nothing is ordered on a Sunday" in str(result.messages))
# {'answer': 'Nothing was ordered.'} True

"""Agents: one loop, models, events kept and streamed, and DSPy on both sides."""

from corral.agents.agent import Agent, CodeAct, ReAct
from corral.agents.door import run_in_background
from corral.agents.errors import AgentError, DefinitionError, JournalError, ModelError
from corral.agents.interpreter import Interpreter
from corral.agents.journal import Journal
from corral.agents.model import Model, ModelSpec
from corral.agents.price import Price
from corral.agents.prompt import Actions
from corral.agents.result import Result, StopReason
from corral.agents.session import Session
from corral.agents.steps import InlineSteps, Steps

__all__ = [
    "Actions",
    "Agent",
    "AgentError",
    "CodeAct",
    "DefinitionError",
    "InlineSteps",
    "Interpreter",
    "Journal",
    "JournalError",
    "Model",
    "ModelError",
    "ModelSpec",
    "Price",
    "ReAct",
    "Result",
    "Session",
    "Steps",
    "StopReason",
    "run_in_background",
]

"""Agents: one loop, models, events kept and streamed, and DSPy on both sides."""

from corral.agents.agent import Agent, CodeAct, ReAct
from corral.agents.agentfile import AgentFile
from corral.agents.cache import AnswerCache
from corral.agents.delegation import HandOff, Member, delegate, hand_off
from corral.agents.door import run_in_background
from corral.agents.errors import (
    AgentError,
    CallsUnreadable,
    ContextOverflow,
    DefinitionError,
    JournalError,
    ModelError,
    ReplayDiverged,
    ToolsUnsupported,
    UnknownOutcome,
)
from corral.agents.fallback import FallbackModel
from corral.agents.interpreter import Interpreter
from corral.agents.journal import Journal
from corral.agents.memorytools import memory_tools
from corral.agents.model import Model, ModelSpec
from corral.agents.price import Price
from corral.agents.prompt import Actions
from corral.agents.quoting import quote
from corral.agents.recorded import RecordedSteps
from corral.agents.result import Result, StopReason
from corral.agents.rlm import RLM
from corral.agents.session import Session
from corral.agents.steps import InlineSteps, Steps
from corral.agents.teams import BestOf, Cascade, Fallback, FanOut, Judged, Majority, Part, Router, fan_out

__all__ = [
    "Actions",
    "Agent",
    "AgentError",
    "AgentFile",
    "AnswerCache",
    "BestOf",
    "CallsUnreadable",
    "Cascade",
    "CodeAct",
    "ContextOverflow",
    "DefinitionError",
    "Fallback",
    "FallbackModel",
    "FanOut",
    "HandOff",
    "InlineSteps",
    "Interpreter",
    "Journal",
    "JournalError",
    "Judged",
    "Majority",
    "Member",
    "Model",
    "ModelError",
    "ModelSpec",
    "Part",
    "Price",
    "RLM",
    "ReAct",
    "RecordedSteps",
    "ReplayDiverged",
    "Result",
    "Router",
    "Session",
    "Steps",
    "StopReason",
    "ToolsUnsupported",
    "UnknownOutcome",
    "delegate",
    "fan_out",
    "hand_off",
    "memory_tools",
    "quote",
    "run_in_background",
]

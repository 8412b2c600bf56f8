"""Agents: one loop, models, events kept and streamed, and DSPy on both sides."""

from typing import TYPE_CHECKING

from corral.policy.lazy import lazily

if TYPE_CHECKING:
    from corral.agents.agent import Agent, CodeAct, ReAct
    from corral.agents.agentfile import AgentFile
    from corral.agents.cache import AnswerCache
    from corral.agents.consolidating import Consolidation
    from corral.agents.delegation import HandOff, delegate, hand_off
    from corral.agents.door import run_in_background
    from corral.agents.errors import (
        AgentChanged,
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
    from corral.agents.feed import Feed
    from corral.agents.guards import (
        Canary,
        Found,
        Grounded,
        Guard,
        GuardMetric,
        Length,
        Moderation,
        Pattern,
        Redact,
        Refused,
        Schema,
    )
    from corral.agents.hooks import CellView, Hook, ModelView, Replace, RunView, ToolView, Veto
    from corral.agents.interpreter import Interpreter
    from corral.agents.journal import Journal
    from corral.agents.member import Member
    from corral.agents.memorymodel import memory_model
    from corral.agents.memorytools import memory_tools
    from corral.agents.model import Model, ModelSpec
    from corral.agents.modules import module_tool
    from corral.agents.price import Price
    from corral.agents.prompt import Actions
    from corral.agents.quoting import quote
    from corral.agents.recorded import RecordedSteps
    from corral.agents.result import Refusal, Result, StopReason
    from corral.agents.rlm import RLM
    from corral.agents.session import Session
    from corral.agents.skills import Skills, lock_skills
    from corral.agents.steps import InlineSteps, Steps
    from corral.agents.teams import BestOf, Cascade, Fallback, FanOut, Judged, Majority, Part, Router, fan_out
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "agent": "Agent CodeAct ReAct",
            "agentfile": "AgentFile",
            "cache": "AnswerCache",
            "consolidating": "Consolidation",
            "delegation": "HandOff delegate hand_off",
            "door": "run_in_background",
            "errors": (
                "AgentChanged AgentError CallsUnreadable ContextOverflow DefinitionError JournalError ModelError "
                "ReplayDiverged ToolsUnsupported UnknownOutcome"
            ),
            "fallback": "FallbackModel",
            "feed": "Feed",
            "guards": "Canary Found Grounded Guard GuardMetric Length Moderation Pattern Redact Refused Schema",
            "hooks": "CellView Hook ModelView Replace RunView ToolView Veto",
            "interpreter": "Interpreter",
            "journal": "Journal",
            "member": "Member",
            "memorymodel": "memory_model",
            "memorytools": "memory_tools",
            "model": "Model ModelSpec",
            "modules": "module_tool",
            "price": "Price",
            "prompt": "Actions",
            "quoting": "quote",
            "recorded": "RecordedSteps",
            "result": "Refusal Result StopReason",
            "rlm": "RLM",
            "session": "Session",
            "skills": "Skills lock_skills",
            "steps": "InlineSteps Steps",
            "teams": "BestOf Cascade Fallback FanOut Judged Majority Part Router fan_out",
        },
    )

__all__ = [
    "Actions",
    "Agent",
    "AgentChanged",
    "AgentError",
    "AgentFile",
    "AnswerCache",
    "BestOf",
    "CallsUnreadable",
    "Canary",
    "Cascade",
    "CellView",
    "CodeAct",
    "Consolidation",
    "ContextOverflow",
    "DefinitionError",
    "Fallback",
    "FallbackModel",
    "FanOut",
    "Feed",
    "Found",
    "Grounded",
    "Guard",
    "GuardMetric",
    "HandOff",
    "Hook",
    "InlineSteps",
    "Interpreter",
    "Journal",
    "JournalError",
    "Judged",
    "Length",
    "Majority",
    "Member",
    "Model",
    "ModelError",
    "ModelSpec",
    "ModelView",
    "Moderation",
    "Part",
    "Pattern",
    "Price",
    "RLM",
    "ReAct",
    "RecordedSteps",
    "Redact",
    "Refused",
    "Replace",
    "ReplayDiverged",
    "Refusal",
    "Result",
    "Router",
    "RunView",
    "Schema",
    "Session",
    "Skills",
    "Steps",
    "StopReason",
    "ToolView",
    "ToolsUnsupported",
    "UnknownOutcome",
    "Veto",
    "delegate",
    "fan_out",
    "hand_off",
    "lock_skills",
    "memory_model",
    "memory_tools",
    "module_tool",
    "quote",
    "run_in_background",
]

"""What may happen: rules, labels, the gate, approvals, budgets, the audit, and the vocabulary of events."""

from corral.policy.action import Action, ActionKind
from corral.policy.approvals import Approval, ApprovalRequest, Approver
from corral.policy.audit import Audit, AuditRecord, FileAudit, MemoryAudit
from corral.policy.budget import Budget, Limits, Reservation, Spend
from corral.policy.errors import BudgetExceeded, Denied, NotAdmitted, PolicyError, PolicyFileError
from corral.policy.events import (
    ApprovalAsked,
    ApprovalGiven,
    BudgetWarned,
    CellFinished,
    CellOutput,
    CellStarted,
    Compacted,
    Emitter,
    Event,
    MessageAdded,
    ModelCalled,
    Recalled,
    Remembered,
    RunFinished,
    RunStarted,
    Sink,
    StepStarted,
    TextDelta,
    ToolCalled,
    ToolReturned,
    Usage,
)
from corral.policy.gate import Admission, Gate
from corral.policy.judgement import Judgement, Verdict
from corral.policy.label import Confidentiality, Integrity, Label
from corral.policy.policy import Policy
from corral.policy.rule import SecurityPolicy, compile_pattern

__all__ = [
    "Action",
    "ActionKind",
    "Admission",
    "Approval",
    "ApprovalAsked",
    "ApprovalGiven",
    "ApprovalRequest",
    "Approver",
    "Audit",
    "AuditRecord",
    "Budget",
    "BudgetExceeded",
    "BudgetWarned",
    "CellFinished",
    "CellOutput",
    "CellStarted",
    "Compacted",
    "Confidentiality",
    "Denied",
    "Emitter",
    "Event",
    "FileAudit",
    "Gate",
    "Integrity",
    "Judgement",
    "Label",
    "Limits",
    "MemoryAudit",
    "MessageAdded",
    "ModelCalled",
    "NotAdmitted",
    "Policy",
    "PolicyError",
    "PolicyFileError",
    "Recalled",
    "Remembered",
    "Reservation",
    "RunFinished",
    "RunStarted",
    "SecurityPolicy",
    "Sink",
    "Spend",
    "StepStarted",
    "TextDelta",
    "ToolCalled",
    "ToolReturned",
    "Usage",
    "Verdict",
    "compile_pattern",
]

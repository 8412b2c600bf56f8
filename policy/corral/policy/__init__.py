"""What may happen: rules, labels, the gate, approvals, budgets, the audit, and the vocabulary of events."""

from corral.policy.action import Action, ActionKind
from corral.policy.approvals import Approval, ApprovalRequest, Approver
from corral.policy.audit import Audit, AuditRecord, FileAudit, MemoryAudit
from corral.policy.budget import Budget, Limits, Reservation, Spend
from corral.policy.chain import AuditBroken, ChainedAudit, Checkpoint, load_key, verify
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
from corral.policy.facts import Facts
from corral.policy.gate import Admission, Gate, Throttle
from corral.policy.grants import Grant, Grants
from corral.policy.judgement import GrantScope, Judgement, Verdict
from corral.policy.label import Confidentiality, Integrity, Label
from corral.policy.layers import Layers, Opinion
from corral.policy.manifest import EffectClass, Manifest, Manifests, Role, ToolManifest, schema_hash
from corral.policy.mode import Mode
from corral.policy.policy import Judge, Policy
from corral.policy.provenance import Endorsement, Provenance
from corral.policy.rule import SecurityPolicy, compile_pattern
from corral.policy.sinks import FLOORS, Sinks

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
    "AuditBroken",
    "AuditRecord",
    "Budget",
    "BudgetExceeded",
    "BudgetWarned",
    "CellFinished",
    "CellOutput",
    "CellStarted",
    "ChainedAudit",
    "Checkpoint",
    "Compacted",
    "Confidentiality",
    "Denied",
    "EffectClass",
    "Emitter",
    "Endorsement",
    "Event",
    "FLOORS",
    "Facts",
    "FileAudit",
    "Gate",
    "Grant",
    "GrantScope",
    "Grants",
    "Integrity",
    "Judge",
    "Judgement",
    "Label",
    "Layers",
    "Limits",
    "Manifest",
    "Manifests",
    "MemoryAudit",
    "MessageAdded",
    "Mode",
    "ModelCalled",
    "NotAdmitted",
    "Opinion",
    "Policy",
    "PolicyError",
    "PolicyFileError",
    "Provenance",
    "Recalled",
    "Remembered",
    "Reservation",
    "Role",
    "RunFinished",
    "RunStarted",
    "SecurityPolicy",
    "Sink",
    "Sinks",
    "Spend",
    "StepStarted",
    "TextDelta",
    "Throttle",
    "ToolCalled",
    "ToolManifest",
    "ToolReturned",
    "Usage",
    "Verdict",
    "compile_pattern",
    "load_key",
    "schema_hash",
    "verify",
]

"""Forgetting: rows leave a bundle for good, in one recoverable transaction.

    plan = plan_forget(Bundle.open("bundle"), ["3"])           # what would happen
    outcome = forget("bundle", ["3"])                          # it happened; outcome.receipt proves it

May import: `engines`, `receipts`, `bundle`, `device`, `bank`, `signing`, `files`, `errors`.
"""

from pfedge_runtime.forgetting.adoption import adopt, write_keys
from pfedge_runtime.forgetting.transaction import Forgetting, forget, plan_forget, recover

__all__ = [
    "Forgetting",
    "adopt",
    "forget",
    "plan_forget",
    "recover",
    "write_keys",
]

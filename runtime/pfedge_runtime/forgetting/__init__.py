"""Forgetting: rows leave a bundle for good, in one recoverable transaction.

    plan = plan_forget(Bundle.open("bundle"), ["3"])           # what would happen
    outcome = forget("bundle", ["3"])                          # it happened; outcome.receipt proves it
    recover()                                                  # a forget that was killed is finished

May import: `engines`, `receipts`, `bundle`, `device`, `bank`, `signing`, `files`, `errors`.
"""

from pfedge_runtime.forgetting.adoption import adopt, write_keys
from pfedge_runtime.forgetting.plan import ForgetRequest, Forgetting, plan_forget
from pfedge_runtime.forgetting.recovery import recover, recover_or_say
from pfedge_runtime.forgetting.transaction import forget

__all__ = [
    "ForgetRequest",
    "Forgetting",
    "adopt",
    "forget",
    "plan_forget",
    "recover",
    "recover_or_say",
    "write_keys",
]

"""What an attacker tries on a model that has forgotten a class: one attack a module.

Black boxes (`utility`, `membership`, `neighbour`) work on what deployed graphs say, `OutputsByModel`; white boxes
(`representation`, `relearning`, `inversion`) on `Subjects`, models opened in torch; `reach` counts. Each returns an
`Attack` without a verdict. A new attack is one module here and one line in `pfedge.auditing.registry`. This room
imports `statistics` and nothing else of the audit.
"""

from pfedge.auditing.attacks.inversion import inversion
from pfedge.auditing.attacks.membership import membership
from pfedge.auditing.attacks.neighbour import neighbour, singled_out
from pfedge.auditing.attacks.outputs import ONE_ROW, ModelOutputs, OutputsByModel, inputs_to_ask, run_model
from pfedge.auditing.attacks.reach import reach
from pfedge.auditing.attacks.relearning import relearning
from pfedge.auditing.attacks.representation import SHOTS, f1, probe, representation
from pfedge.auditing.attacks.subjects import MIN_INPUTS, OTHERS, Subjects
from pfedge.auditing.attacks.utility import utility

__all__ = [
    "MIN_INPUTS",
    "ONE_ROW",
    "OTHERS",
    "SHOTS",
    "ModelOutputs",
    "OutputsByModel",
    "Subjects",
    "f1",
    "inputs_to_ask",
    "inversion",
    "membership",
    "neighbour",
    "probe",
    "reach",
    "relearning",
    "representation",
    "run_model",
    "singled_out",
    "utility",
]

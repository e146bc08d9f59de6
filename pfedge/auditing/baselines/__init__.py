"""Other ways to forget, and the ordinary network that they start from: `pfedge audit --compare`.

`unlearning` has the steps of published methods, `baselines` trains the network and carries the methods out,
`contenders` attacks what each leaves. It may import `attacks`, `report` and `statistics`.
"""

from pfedge.auditing.baselines.contenders import contend

__all__ = ["contend"]

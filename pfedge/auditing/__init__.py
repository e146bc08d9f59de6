"""Attacking a model that has forgotten a class, and comparing it with one that never knew the class.

    pfedge audit RUN --forget 3 --out report

Three models meet the same attacks on the same inputs: *before* forgetting, *after* it, and the *reference*, the same
recipe trained without the class. Nothing is judged by a number of its own: what counts is the distance between after
and reference, in either direction.

`audit_run` makes the attacks of `registry` on a `Case` and returns an `AuditReport`, which `page` renders. What reads a
report (`report`, `statistics`, `page`) needs no torch, so this room imports nothing here: import
`pfedge.auditing.audit` to make an audit, `pfedge.auditing.report` to read one.
"""

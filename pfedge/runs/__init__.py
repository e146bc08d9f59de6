"""Run folders: what `pfedge train` leaves and every later verb reads.

`pfedge.runs.run` writes and opens them, with torch; `pfedge.runs.config` and `pfedge.runs.metrics` are what stands in
them, typed. `pfedge.runs.sweep` takes rows out of them on a machine without torch, for `pfedge forget --sweep`: that
is why this room re-exports nothing, and its modules are imported by name.

It may import `pfedge.backbone`, `pfedge.data` and what lies below; it knows nothing of guarantees.
"""

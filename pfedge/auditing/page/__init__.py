"""The report of an audit as a page for people.

`render` makes one HTML page of an `AuditReport`: the words are Jinja templates, the plots matplotlib's. It may import
`report` and `statistics`, and no torch: pages are made anew from committed reports where nothing is trained.
"""

from pfedge.auditing.page.findings import widest
from pfedge.auditing.page.render import render

__all__ = ["render", "widest"]

"""The command line `pfedge`: one thin module a verb, in the rooms `training`, `device` and `proof`.

A verb reads its options, calls what does the work, and prints. What several verbs share stands beside this: options,
JSON output, advice on a missing extra, finishing what was killed.
"""

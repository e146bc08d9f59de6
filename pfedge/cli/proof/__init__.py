"""The verbs about proof: receipt, ledger, fleet, and keygen, authorize, restore. One module a verb.

What a device gave is checked here, also where there is no device and no network; nothing here opens a graph.
"""

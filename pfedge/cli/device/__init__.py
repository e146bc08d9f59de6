"""The verbs that use a bundle on a device: predict, forget, inspect, verify, bench, adopt, device. One module a verb.

They import the runtime inside their functions, never torch, so that help comes at once and a device needs no more.
"""

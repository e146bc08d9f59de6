"""Attacking a model that has forgotten a class, and comparing it with one that never knew the class.

pfedge audit RUN --forget 3 --out report

Three models meet the same attacks on the same inputs: *before* forgetting, *after* it, and the *reference*, the same
recipe trained without the class. Nothing is judged by a number of its own: what counts is the distance between after
and reference, in either direction.
"""

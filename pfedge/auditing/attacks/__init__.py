"""What an attacker tries on a model that has forgotten, one attack a module."""

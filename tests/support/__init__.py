"""What tests share beside fixtures: toys, stand-ins, and where things lie. No test module imports another."""

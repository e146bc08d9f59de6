"""The verbs of the trainer, one module each: torch is imported when one is called."""

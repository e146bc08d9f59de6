"""Other ways to forget, and an ordinary network that they start from."""

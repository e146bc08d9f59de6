"""What the attacks' numbers mean: membership scores, ROC curves, distances and their errors."""

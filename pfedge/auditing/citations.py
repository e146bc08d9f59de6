"""What the audit's methods are taken from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Citation:
    """Where a method was published.

    Attributes:
        what: what the audit takes from it.
        source: authors, title, year and, where there is one, the arXiv number.
    """

    what: str
    source: str


CITATIONS = (
    Citation("loss threshold", "Yeom et al., Privacy Risk in Machine Learning, 2018, arXiv 1709.01604"),
    Citation(
        "LiRA, and true-positive rates at low false-positive rates",
        "Carlini et al., Membership Inference Attacks From First Principles, 2022, arXiv 2112.03570",
    ),
    Citation("RMIA", "Zarifzadeh et al., Low-Cost High-Power Membership Inference Attacks, 2024, arXiv 2312.03262"),
    Citation("energy", "Liu et al., Energy-based Out-of-distribution Detection, 2020, arXiv 2010.03759"),
    Citation("CKA", "Kornblith et al., Similarity of Neural Network Representations Revisited, 2019, arXiv 1905.00414"),
    Citation("silhouette", "Rousseeuw, Silhouettes, J. Comput. Appl. Math. 20, 1987"),
    Citation("bootstrap", "Efron and Tibshirani, An Introduction to the Bootstrap, 1993"),
    Citation("traces in shared representations", "Mirage, arXiv 2605.20282"),
    Citation("the method audited", "Hendrix et al., Pre-Forgettable Models, 2025, arXiv 2509.15230"),
)

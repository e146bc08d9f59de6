"""What the audit's methods are taken from."""

from __future__ import annotations

CITATIONS = [
    {"what": "loss threshold", "source": "Yeom et al., Privacy Risk in Machine Learning, 2018, arXiv 1709.01604"},
    {
        "what": "LiRA, and true-positive rates at low false-positive rates",
        "source": "Carlini et al., Membership Inference Attacks From First Principles, 2022, arXiv 2112.03570",
    },
    {
        "what": "RMIA",
        "source": "Zarifzadeh et al., Low-Cost High-Power Membership Inference Attacks, 2024, arXiv 2312.03262",
    },
    {
        "what": "energy",
        "source": "Liu et al., Energy-based Out-of-distribution Detection, 2020, arXiv 2010.03759",
    },
    {
        "what": "CKA",
        "source": "Kornblith et al., Similarity of Neural Network Representations Revisited, 2019, arXiv 1905.00414",
    },
    {"what": "silhouette", "source": "Rousseeuw, Silhouettes, J. Comput. Appl. Math. 20, 1987"},
    {"what": "bootstrap", "source": "Efron and Tibshirani, An Introduction to the Bootstrap, 1993"},
    {"what": "traces in shared representations", "source": "Mirage, arXiv 2605.20282"},
    {"what": "the method audited", "source": "Hendrix et al., Pre-Forgettable Models, 2025, arXiv 2509.15230"},
]

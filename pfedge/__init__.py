"""Train, export and run vision models that can forget a class by dropping one row.

    pfedge train --dataset bloodmnist       # frozen backbone, one removable row per class
    pfedge export RUN                       # an ONNX graph that takes the rows as an input
    pfedge predict cell.png                 # on the device, without PyTorch
    pfedge forget --class 3                 # drops the row: no data, no training, no re-export

The method is "Pre-Forgettable Models" (Hendrix et al., ACM MM 2025, arXiv 2509.15230).
"""

__version__ = "0.1.0"

__all__ = ["__version__"]

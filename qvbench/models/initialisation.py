"""Initial weights as in the recipe: Glorot uniform for every matrix."""

from __future__ import annotations

from torch import nn

from qvbench.positions import Position


def initialise(module: nn.Module) -> None:
    """Glorot-uniform (Glorot & Bengio 2010, equation 16) for every matrix, zero for biases.

    Embeddings included, as OpenNMT-py does. A stack of matrices (n, rows, columns) is initialised
    matrix by matrix: PyTorch would take its first axis for a fan. Norms keep one and zero;
    position schemes initialise themselves, their parameters are no matrices.
    """
    if isinstance(module, Position | nn.LayerNorm | nn.RMSNorm):
        return
    for parameter in module.parameters(recurse=False):
        if parameter.dim() == 2:
            nn.init.xavier_uniform_(parameter)
        elif parameter.dim() == 3 and parameter.shape[1] > 1:
            for matrix in parameter:
                nn.init.xavier_uniform_(matrix)
        else:
            nn.init.zeros_(parameter)
    for child in module.children():
        initialise(child)

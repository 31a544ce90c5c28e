"""Vectors and matrices for PyKaldi's scripts: thin views of NumPy arrays (``kaldi.matrix``)."""

from pykaldi_server.kaldi.matrix.matrix import DoubleMatrix, DoubleVector, Matrix, Vector

__all__ = ["DoubleMatrix", "DoubleVector", "Matrix", "Vector"]

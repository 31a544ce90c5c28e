"""Vectors and matrices as PyKaldi's scripts expect them: thin views of NumPy arrays (``kaldi.matrix``)."""

from pykaldi_server.kaldi.matrix.matrix import DoubleMatrix, DoubleVector, Matrix, Vector

__all__ = ["DoubleMatrix", "DoubleVector", "Matrix", "Vector"]

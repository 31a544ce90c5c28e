"""A Kaldi runtime under PyKaldi's module and class names; Kaldi itself is its specification."""

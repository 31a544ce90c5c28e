"""Wire formats, without I/O: bytes and text in, messages out, and back."""

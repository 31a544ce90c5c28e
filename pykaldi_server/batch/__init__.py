"""Many recordings at once, on all cores: files found, long ones cut, processes kept, transcripts written.

sources --> parts --> pool of processes, each a recognizer --> parts joined --> outputs
"""

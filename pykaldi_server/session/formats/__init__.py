"""Who reads a model: Vosk's directories, Kaldi's online directories, kaldi-gstreamer-server's YAML files."""

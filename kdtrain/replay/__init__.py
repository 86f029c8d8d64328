"""Record once, replay in every trial: the stream of samples, and what a frozen teacher says about it, on disk."""

from kdtrain.replay.recording import ensure
from kdtrain.replay.shelf import Shelf
from kdtrain.replay.stream import Layout, Stream, View, stream_key
from kdtrain.replay.track import Form, Track, bytes_of

__all__ = ["Form", "Layout", "Shelf", "Stream", "Track", "View", "bytes_of", "ensure", "stream_key"]

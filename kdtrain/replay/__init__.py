"""Record once, replay in every trial: the stream of samples and a frozen teacher's maps of them, on disk."""

from kdtrain.replay.array_file import ArrayFile, TensorSpec, bytes_of
from kdtrain.replay.recording import ensure
from kdtrain.replay.store import ReplayStore
from kdtrain.replay.stream import Layout, Stream, View, stream_key

__all__ = ["ArrayFile", "Layout", "ReplayStore", "Stream", "TensorSpec", "View", "bytes_of", "ensure", "stream_key"]

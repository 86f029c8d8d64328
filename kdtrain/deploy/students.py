"""Students as users name them: a folder of a network, or that of a training with the student in it."""

from pathlib import Path

from kdtrain.errors import MissingError
from kdtrain.loop.run_files import STUDENT
from kdtrain.models import TappedNetwork
from kdtrain.teacher import CARD, WEIGHTS, ModelCard, holds_network, load_model, require_classes


def load_student(place: Path) -> tuple[Path, ModelCard, TappedNetwork]:
    """Load a network for use.

    Args:
        place: A folder with ``model.json``, or the folder of a training, which has one in ``student/``.

    Returns:
        The folder of the network, its card, and the network in evaluation mode.

    Raises:
        InputError: If there is none, it is damaged, or it knows no classes.
    """
    folder = student_folder(place)
    if not holds_network(folder):
        raise MissingError(
            f"{place} holds no network: name a folder with {CARD} and {WEIGHTS}, as `kdsweep best D --student FOLDER` "
            "writes it, or the folder of a training"
        )
    card, network = load_model(folder)
    require_classes(card, folder)
    return folder, card, network


def student_folder(place: Path) -> Path:
    """The folder of a network that a place names, see `load_student`; whether one is there is not looked at."""
    inside = place / STUDENT
    return inside if not (place / CARD).is_file() and inside.is_dir() else place

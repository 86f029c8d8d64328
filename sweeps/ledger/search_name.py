"""The name of a search: keys of the state, streams of random numbers, and messages use it."""


def search_name(study: str, search: int) -> str:
    """The name of a study's search: the study's name, and from the second search on its number behind a slash.

    No study has a slash in its name, so all names differ; that of the first search is what it was before a study could
    have several.
    """
    return study if search == 1 else f"{study}/{search}"

"""The one error a user is meant to read."""


class InputError(Exception):
    """Something the user gave is wrong: one line saying what, where, and how to mend it.

    The command line prints the message without a traceback and exits with code 2. Library code raises it for bad
    input only; a bug in rdmf keeps its traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))

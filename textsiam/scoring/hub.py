"""To the Hugging Face Hub, by huggingface_hub's own calls; loading by a Hub name is `textsiam.encoding.embedded.find_model`."""

import tempfile
from collections.abc import Callable
from pathlib import Path


def push(save: Callable[[Path], None], name: str, *, private: bool = False, token: str | None = None) -> str:
    """Upload the folder that `save` writes as the model ``owner/model``; its address.

    Raises
    ------
    OSError
        What the Hub or the network says (huggingface_hub's errors are OSErrors).
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / name.rpartition("/")[2]
        save(target)
        address = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(repo_id=address.repo_id, folder_path=target, commit_message="Model saved by textsiam")
    return str(address)

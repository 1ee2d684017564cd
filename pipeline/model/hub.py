"""An exported folder onto the Hugging Face hub."""

import logging
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import PipelineError, first_line

logger = logging.getLogger(__name__)


def push(folder: Path, files: Sequence[str], repo: str, *, private: bool) -> str:
    """Creates a repository and uploads a folder into it; gives the address of the commit.

    A repository that exists is refused: it may be public, and nothing is overwritten.

    Args:
        folder: what to upload.
        files: names of the files in it that are meant; what else lies there stays.
        repo: the new repository, as ORG/NAME.
        private: whether only its owner can see it.

    Raises:
        PipelineError: there is no token, no network, no permission, or a repository of that name.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    by_hand = f"the export is finished and can be uploaded by hand: hf upload {repo} {folder}"
    try:
        api.create_repo(repo, repo_type="model", private=private, exist_ok=False)
    except Exception as error:  # besides its own, the client raises errors of the HTTP library of its version
        status = getattr(getattr(error, "response", None), "status_code", None)
        what = "there is a repository of that name already" if status == 409 else first_line(error)
        raise PipelineError(
            f"--repo {repo}: cannot be created: {what}; log in with hf auth login, or choose another --repo; {by_hand}"
        ) from error
    try:
        done = api.upload_folder(
            repo_id=repo,
            repo_type="model",
            folder_path=str(folder),
            allow_patterns=list(files),
            commit_message="Model, as exported by sentiment-tuner",
        )
    except Exception as error:
        raise PipelineError(
            f"--repo {repo}: was created, but the upload failed: {first_line(error)}; {by_hand}"
        ) from error
    return str(done.commit_url)

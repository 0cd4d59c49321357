"""Publishing checkpoint folders: model cards from records, and uploads to the Hugging Face hub."""

from .card import model_card, write_card
from .names import check_name
from .push import copy_files, files_to_push, push

__all__ = ["check_name", "copy_files", "files_to_push", "model_card", "push", "write_card"]

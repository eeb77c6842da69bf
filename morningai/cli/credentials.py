"""Tenant keys that `tenant create` kept, by the address they are for: a key is never sent anywhere else.

The file is readable by its owner alone. The newest key of an address is its default; the others stay in the file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from morningai.errors import FailedPrecondition

FILE_NAME = "credentials.json"


class Entry(TypedDict):
    default: str
    keys: dict[str, str]


@dataclass(frozen=True)
class CredentialsFile:
    path: Path

    def default_key(self, address: str) -> str | None:
        entry = self._read().get(address)
        return entry["keys"].get(entry["default"]) if entry else None

    def store(self, address: str, *, tenant: str, key: str) -> None:
        """Keeps the key as the default of the address."""
        from morningai.embedded.data_dir import make_private_folder, write_private_json

        known = self._read()
        keys = known[address]["keys"] if address in known else {}
        entry = Entry(default=tenant, keys={**keys, tenant: key})
        if not self.path.parent.is_dir():
            make_private_folder(self.path.parent)
        write_private_json(self.path, {**known, address: entry})

    def _read(self) -> dict[str, Entry]:
        try:
            content: dict[str, Entry] = json.loads(self.path.read_text(encoding="utf-8"))
            return {
                address: Entry(default=entry["default"], keys={**entry["keys"]}) for address, entry in content.items()
            }
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FailedPrecondition(
                f"{self.path} is damaged.", remedy="Correct or remove it, and give the key with MORNINGAI_API_KEY."
            ) from error

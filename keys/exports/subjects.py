"""Names of keys, teams and owners in exports, and the metadata of keys."""

from typing import Any

from django.contrib.auth import get_user_model

from keys.models import APIKey, Team

MAX_METADATA_COLUMNS = 30
METADATA = "metadata."


class Subjects:
    """All keys, teams and users, read once: three queries."""

    def __init__(self, *, teams: frozenset[int] | None = None) -> None:
        """Read them. `teams` is the scope of a user, who must not see the metadata of other keys; None: all."""
        self._keys = {
            pk: (public_id, name, metadata if teams is None or team_id in teams else {})
            for pk, public_id, name, metadata, team_id in APIKey.objects.values_list(
                "pk", "public_id", "name", "metadata", "team_id"
            )
        }
        self._ids = {public_id: pk for pk, (public_id, *_) in self._keys.items()}
        self._teams = dict(Team.objects.values_list("pk", "name"))
        self._owners = {user.pk: str(user) for user in get_user_model().objects.all()}
        names = sorted({name for *_, metadata in self._keys.values() for name in metadata})
        self._metadata_names = names[:MAX_METADATA_COLUMNS]

    @property
    def metadata_columns(self) -> list[str]:
        """The names of keys' metadata as columns, such as `metadata.cost_center`: the first thirty in order."""
        return [METADATA + name for name in self._metadata_names]

    def names(self, key_id: int, team_id: int | None, owner_id: int | None) -> tuple[str, str, str, str]:
        """Return the public ID and the name of a key, and the names of its team and its owner then; "" for none."""
        public_id, name, _ = self._keys.get(key_id, ("", "", {}))
        return public_id, name, self._name_of(self._teams, team_id), self._name_of(self._owners, owner_id)

    def metadata(self, key_id: int) -> list[str]:
        """Return the values of the metadata columns as they are now; "" for none."""
        metadata = self.all_metadata(key_id)
        return [metadata.get(name, "") for name in self._metadata_names]

    def metadata_of(self, public_id: str) -> list[str]:
        """Return the values of the metadata columns of a key, by its public ID; "" for none."""
        return self.metadata(self._ids.get(public_id, 0))

    def all_metadata(self, key_id: int) -> dict[str, str]:
        """Return the metadata of a key as it is now."""
        _, _, metadata = self._keys.get(key_id, ("", "", {}))
        return metadata

    @staticmethod
    def _name_of(names: dict[Any, str], id: int | None) -> str:
        return names.get(id) or f"deleted ({id})" if id else ""

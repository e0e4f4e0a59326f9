"""A plugin of beets that keeps the tags of taggram in its library, and in the field TAGGRAM of files.

`beet taggram [QUERY]` tags what the query finds; with `auto: yes`, imports are tagged too. Then `beet ls
taggram:guitar` finds it. The field in files is the one that `taggram tag --write` has.
"""

from __future__ import annotations

import optparse
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import confuse
import mediafile
from beets import ui, util
from beets.dbcore import types
from beets.exceptions import UserError
from beets.plugins import BeetsPlugin

if TYPE_CHECKING:
    from beets.importer import ImportSession, ImportTask
    from beets.library import Item, Library

FIELD = "TAGGRAM"
DEFAULT_TOP = 3  # tags of an item, unless told otherwise
ATTRIBUTE = "taggram"


class TaggramPlugin(BeetsPlugin):
    """Tags items with taggram.

    Settings are those of `taggram tag` (`model`, `kit`, `top`, `threshold`, `workers`), `auto`: whether imports are
    tagged, and `force`: whether items that have tags are tagged again.
    """

    item_types = {ATTRIBUTE: types.SEMICOLON_SPACE_DSV}  # noqa: RUF012 (beets takes it like this)

    def __init__(self) -> None:
        super().__init__()
        self.config.add(
            {"auto": True, "force": False, "model": "musicnn.mtt", "kit": None, "top": None, "threshold": 0.0,
             "workers": None}
        )  # fmt: skip
        field = mediafile.ListMediaField(
            mediafile.MP3ListDescStorageStyle(FIELD),
            mediafile.MP4ListStorageStyle(f"----:com.apple.iTunes:{FIELD}"),
            mediafile.ListStorageStyle(FIELD),
        )
        if not hasattr(mediafile.MediaFile, ATTRIBUTE):  # the class outlives a plugin that is loaded again
            self.add_media_field(ATTRIBUTE, field)
        if self.config["auto"].get(bool):
            self.import_stages = [self.imported]

    def commands(self) -> list[ui.Subcommand]:
        """Give the command `beet taggram`."""
        command = ui.Subcommand(ATTRIBUTE, help="tag music by what is heard in it")
        command.parser.add_option("-f", "--force", action="store_true", help="tag items again that have tags")
        command.parser.add_option("-p", "--pretend", action="store_true", help="say the tags and keep nothing")
        command.parser.add_option("-w", "--write", action="store_true", default=None, help="write tags to files")
        command.parser.add_option("-W", "--nowrite", action="store_false", dest="write", help="leave files as they are")
        command.func = self.command
        return [command]

    def command(self, lib: Library, opts: optparse.Values, args: list[str]) -> None:
        """Tag what a query finds.

        Args:
            lib: the library.
            opts: options of the command.
            args: the query.
        """
        force = bool(opts.force) or self.config["force"].get(bool)
        for item, tags in self._tagged(lib.items(args), force):
            if opts.pretend:
                ui.print_(f"{item}: {'; '.join(tags)}")
                continue
            self._keep(item, tags)
            if ui.should_write(opts.write):
                item.try_write()

    def imported(self, session: ImportSession, task: ImportTask) -> None:  # noqa: ARG002
        """Tag what is imported; the importer writes files itself, where it is told to and does not import as it is.

        Args:
            session: of the import.
            task: what is imported.
        """
        for item, tags in self._tagged(task.imported_items(), self.config["force"].get(bool)):
            self._keep(item, tags)

    def _keep(self, item: Item, tags: list[str]) -> None:
        item[ATTRIBUTE] = tags
        item.store()
        self._log.info("{}: {}", item, "; ".join(tags))

    def _tagged(self, items: Iterable[Item], force: bool) -> Iterator[tuple[Item, list[str]]]:
        """Tag items, several at once.

        Args:
            items: of the library.
            force: whether those that have tags are tagged again.

        Yields:
            An item and its tags, the best first.
        """
        wanted = [item for item in items if force or not item.get(ATTRIBUTE)]
        if not wanted:
            return
        import taggram
        from taggram.apps.file_tags import tags_for_files

        top, n_workers = self._count("top"), self._count("workers")
        threshold = self.config["threshold"].get(float)
        if not 0 <= threshold <= 1:
            raise UserError(f"taggram: threshold is {threshold}; it must be from 0 to 1.")
        kit = self.config["kit"].get(confuse.Optional(confuse.Filename()))
        paths = [os.fsdecode(util.syspath(item.path)) for item in wanted]
        try:
            with taggram.Tagger(self.config["model"].get(str), kit=kit) as tagger:
                if top is None:
                    top = 1 if kit is not None and tagger.task == "one" else DEFAULT_TOP
                for item, result in zip(wanted, tagger.tag_many(paths, n_workers=n_workers)):
                    if isinstance(result, taggram.Failure):
                        self._log.error("{}: {}", item, result.message)
                    else:
                        yield item, tags_for_files(result, top, threshold)
        except taggram.TaggramError as error:
            raise UserError(f"taggram: {error}") from error

    def _count(self, name: str) -> int | None:
        """Read a setting that is a number from 1 on, or nothing."""
        value: int | None = self.config[name].get(confuse.Optional(confuse.Integer()))
        if value is not None and value < 1:
            raise UserError(f"taggram: {name} is {value}; it must be 1 at least.")
        return value

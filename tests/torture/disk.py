"""A disk that can lose power, without privileges: `disk.c` keeps apart what programs have forced to it."""

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("disk.c")


def compiled(folder: Path, source: Path = SOURCE) -> Path:
    """Compile a library into ``folder``; the absence of a compiler is a failure, never a reason to skip."""
    compiler = shutil.which("cc")
    assert compiler, "there is no C compiler, and a power cut needs one: apt-get install gcc libc6-dev"
    library = folder / f"{source.stem}.so"
    command = [compiler, "-Wall", "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    return library


class Disk:
    """The folder ``contents`` as on a disk of its own. Only files directly in it are looked after."""

    def __init__(self, folder: Path, library: Path) -> None:
        self.contents = folder.resolve() / "disk"
        self._platter = folder.resolve() / "platter"
        self._library = library
        for made in (self.contents, self._platter):
            made.mkdir(parents=True)

    @property
    def environment(self) -> dict[str, str]:
        """What the program that writes to this disk needs in its environment."""
        return {"LD_PRELOAD": str(self._library), "DISK": str(self.contents), "PLATTER": str(self._platter)}

    def cut(self) -> None:
        """Leave what a power cut leaves; to be called when the program has been killed.

        Files stay the files they are: a ledger whose inode has changed is taken for a copy.
        """
        kept = {file.name: file.read_bytes() for file in self._platter.iterdir() if not file.name.endswith("~")}
        for file in self.contents.iterdir():
            if not file.is_dir() and file.name not in kept:
                file.unlink()
        for name, content in kept.items():
            file = self.contents / name
            file.touch(0o640)
            with file.open("r+b") as handle:
                handle.truncate()
                handle.write(content)

"""Runs the plugins of a folder in Docker and calls one of them: `python program.py PLUGINS STATE`."""

import asyncio
import sys
from importlib.resources import files
from pathlib import Path

from sandbox_image.tag import image_tag
from xcore.embedded import Embedded
from xcore.runtimes.docker import DockerEngine


async def main(plugins: Path, state: Path) -> None:
    seccomp = files("sandbox_image").joinpath("seccomp.json").read_text("utf-8")
    engine = DockerEngine(owner="embedding", image=image_tag(), seccomp=seccomp, state_dir=state)
    async with Embedded(plugins, engine, state=state) as xcore:
        print(await xcore.call("hello", "greet", name="Ada"))


asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))

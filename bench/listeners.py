"""Listens to many streams until SIGTERM, then prints how many items came: `python -m bench.listeners PORT KEY COUNT`."""

from __future__ import annotations

import asyncio
import signal
import sys


async def main(port: int, key: str, count: int) -> int:
    heard = [0] * count
    listening = [asyncio.create_task(_listen(port, key, heard, number)) for number in range(count)]
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    await over.wait()
    lost = sum(task.done() for task in listening)
    for task in listening:
        task.cancel()
    await asyncio.gather(*listening, return_exceptions=True)
    print(0 if lost else sum(heard))
    return 0


async def _listen(port: int, key: str, heard: list[int], number: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = f"POST /app/ticker/tick HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\nContent-Length: 0\r\n\r\n"
    writer.write(request.encode())
    while line := await reader.readline():
        heard[number] += line.strip().isdigit()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))

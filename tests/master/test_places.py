"""What a client hears of its place in line that reads slowly, or not at all."""

import asyncio

from pykaldi_server.master.places import PlaceTeller


class SlowClient:
    """Takes a place when the test lets it."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.may_read = asyncio.Event()

    async def tell(self, place: int) -> None:
        self.told.append(place)
        await self.may_read.wait()


async def until_told(client: SlowClient, count: int) -> None:
    async with asyncio.timeout(200):
        while len(client.told) < count:
            await asyncio.sleep(0)


def test_only_the_newest_place_is_told_to_who_reads_slowly() -> None:
    async def scenario() -> None:
        client = SlowClient()
        teller = PlaceTeller(client.tell)
        teller(5)
        await until_told(client, 1)
        for place in (4, 3, 2):
            teller(place)
        assert client.told == [5]
        client.may_read.set()
        await until_told(client, 2)
        assert client.told == [5, 2]
        await teller.served()
        assert client.told == [5, 2, 0]

    asyncio.run(scenario())


def test_who_was_told_no_place_is_not_told_that_it_is_served() -> None:
    async def scenario() -> None:
        client = SlowClient()
        teller = PlaceTeller(client.tell)
        await teller.served()
        teller(1)
        await teller.served()  # before it was told
        assert client.told == []

    asyncio.run(scenario())


def test_nothing_is_told_after_the_end() -> None:
    async def scenario() -> None:
        client = SlowClient()
        teller = PlaceTeller(client.tell)
        teller.stop()
        teller(5)
        await until_told(client, 1)
        teller(4)
        teller.stop()
        client.may_read.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert client.told == [5]

    asyncio.run(scenario())

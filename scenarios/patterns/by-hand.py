"""What the documents' own clients do, where no scenario can show it. Prints one line for each finding of README.md.

    pip install pika aio-pika
    docker run --rm -d -p 127.0.0.1:5672:5672 rabbitmq:4-management
    python by-hand.py amqp://guest:guest@127.0.0.1:5672/
"""

import asyncio
import json
import sys

import aio_pika
import pika

URL = sys.argv[1]


def channel(confirms=False):
    opened = pika.BlockingConnection(pika.URLParameters(URL)).channel()
    if confirms:
        opened.confirm_delivery()
    return opened


def told(what, action):
    try:
        answer = action()
    except Exception as error:
        answer = f"{type(error).__name__} {error}"
    print(f"{what}: {answer}")


def with_pika():
    arguments = {"x-dead-letter-exchange": "dlx.events", "x-message-ttl": 3600000}
    twice = channel()
    with_key = arguments | {"x-dead-letter-routing-key": "catalog.events.dead"}
    twice.queue_declare("catalog.events", durable=True, arguments=with_key)
    told("000, the two declarations", lambda: twice.queue_declare("catalog.events", durable=True, arguments=arguments))

    no_exchange = channel(confirms=True)
    no_exchange.queue_declare("no-dlx", durable=True, arguments={"x-dead-letter-exchange": "nobody.declared.it"})
    no_exchange.basic_publish("", "no-dlx", b"{}")
    no_exchange.basic_nack(no_exchange.basic_get("no-dlx")[0].delivery_tag, requeue=False)
    left = no_exchange.queue_declare("no-dlx", passive=True).method.message_count
    print(f"000, dead letter to an exchange that is not there: confirmed, and {left} left")

    durable = channel()
    durable.queue_declare("mensajes")
    told("001, durable=True for a queue that is there", lambda: durable.queue_declare("mensajes", durable=True))
    told("001, mandatory", lambda: channel().basic_publish("", "nowhere", b"{}", mandatory=True))
    told("001, mandatory and confirms", lambda: channel(True).basic_publish("", "nowhere", b"{}", mandatory=True))


async def with_aio_pika():
    connection = await aio_pika.connect_robust(URL)
    opened = await connection.channel()
    print(f"000, confirms of a channel by default: {opened.publisher_confirms}")
    events = await opened.declare_exchange("erp.events", aio_pika.ExchangeType.TOPIC, durable=True)
    answer = await events.publish(aio_pika.Message(b"{}"), routing_key="nobody.binds.it")
    print(f"000, publish of an unroutable event: no exception, {type(answer.delivery).__name__}")

    await opened.set_qos(prefetch_count=10)
    parallel = await opened.declare_queue("parallel")
    for _ in range(30):
        await opened.default_exchange.publish(aio_pika.Message(b"{}"), routing_key="parallel")
    running, most = 0, 0

    async def slow(message):
        nonlocal running, most
        async with message.process():
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.05)
            running -= 1

    await parallel.consume(slow)
    await asyncio.sleep(1)
    print(f"000, handlers at once with a prefetch of 10: {most}")

    await opened.declare_queue("dead")
    orders = await opened.declare_queue(
        "orders", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    )
    await opened.default_exchange.publish(aio_pika.Message(b"not JSON"), routing_key="orders")

    async def on_message_callback(message):
        async with message.process(requeue=False, ignore_processed=True):
            try:
                json.loads(message.body.decode("utf-8"))
            except json.JSONDecodeError:
                pass

    await orders.consume(on_message_callback)
    await asyncio.sleep(1)
    left, dead_letters = [
        (await opened.declare_queue(name, passive=True)).declaration_result.message_count for name in ("orders", "dead")
    ]
    print(f"003, an error caught inside of process(): {left} left, {dead_letters} dead letters")
    await connection.close()

    try:
        async with aio_pika.connect_robust(URL):
            pass
    except TypeError as error:
        print(f"000, async with connect_robust: {error}")


with_pika()
asyncio.run(with_aio_pika())

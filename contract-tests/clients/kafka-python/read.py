"""Prints the values of a topic's first records, a line each."""

import os
import sys

from kafka import KafkaConsumer

wanted = int(os.environ["MERCH_EVENTS"])
consumer = KafkaConsumer(
    os.environ["MERCH_TOPIC"],
    bootstrap_servers=os.environ["MERCH_KAFKA"],
    auto_offset_reset="earliest",
    enable_auto_commit=False,
    group_id=None,
    consumer_timeout_ms=30_000,
)
seen = 0
for record in consumer:
    print(record.value.decode())
    seen += 1
    if seen == wanted:
        break
consumer.close()
if seen < wanted:
    sys.exit(f"expected {wanted} records, got {seen}")

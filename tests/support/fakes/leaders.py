"""Brokers that may not agree on who leads: what stands for `AdminClient` where their words are compared."""

import random
from types import SimpleNamespace

from confluent_kafka import KafkaError, KafkaException


class Brokers:
    """`names` has each broker's own idea of who leads: a broker for the one partition, or one for each of several; None if
    it does not answer. `ends` are those of each leader. Clients meet the brokers in turn and leave one that is down; with
    `by_chance` each meets one by chance and stays with it."""

    def __init__(self, names, ends, replicas=(1, 2, 3), *, by_chance=False):
        self.names, self.ends, self.replicas = names, ends, replicas
        self.clients, self.chance = 0, random.Random(25) if by_chance else None
        self.error = None
        self.connects_in = 0  # questions that a new client does not answer
        self.ready_in = 0  # questions that the new leader refuses
        self.broken = set()  # clients, by the order in which they were made, that can no longer ask for ends
        self.unnamed = set()  # brokers that are met by an address that none of them advertises

    def client(self, _options):
        self.clients += 1
        brokers = sorted(self.names)
        met = self.chance.choice(brokers) if self.chance else brokers[self.clients % len(brokers)]
        return Client(self, met, self.clients)


class Client:
    def __init__(self, brokers, broker, nth):
        self.brokers, self.broker, self.nth = brokers, broker, nth
        self.connecting = brokers.connects_in

    def __len__(self):
        return 0  # as of the real one, while nothing is queued in it

    def list_topics(self, topic, timeout):
        there = self.brokers
        up = [broker for broker, named in there.names.items() if named is not None]
        self.connecting -= 1
        if not there.chance and up and self.broker not in up:
            self.broker = up[0]
        if self.broker not in up or self.connecting >= 0:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        named = there.names[self.broker]
        self.named = named if isinstance(named, tuple) else (named,)
        partitions = {
            at: SimpleNamespace(leader=leader, replicas=there.replicas)
            for at, leader in enumerate(self.named)
        }
        described = SimpleNamespace(error=there.error, partitions=partitions)
        answered_by = -1 if self.broker in there.unnamed else self.broker
        brokers = dict.fromkeys(there.names)
        return SimpleNamespace(topics={topic: described}, orig_broker_id=answered_by, brokers=brokers)

    def list_offsets(self, asked, isolation_level, request_timeout):
        if self.nth in self.brokers.broken:
            raise KafkaException(KafkaError(KafkaError._FATAL))
        self.brokers.ready_in -= 1
        is_refused = self.brokers.ready_in >= 0

        def answer(place):
            if is_refused:
                raise KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION))
            return SimpleNamespace(offset=self.brokers.ends[self.named[place.partition]], leader_epoch=1)

        return {place: SimpleNamespace(result=lambda place=place: answer(place)) for place in asked}

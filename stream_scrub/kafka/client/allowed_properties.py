"""The client properties that a user may set, and why. It is a list of what is allowed, because a list of what does
harm is never complete.

A client property can load code (`plugin.library.paths`, `ssl.engine.location`, `ssl.providers`), run a command
(`sasl.kerberos.kinit.cmd`), write a file, or change what our promises rest on. The next librdkafka may have more.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Each group for its reason: what an operator needs it for, and why it can do no more than that.
GROUPS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "who the client is": _words(
            "security.protocol sasl.mechanisms sasl.username sasl.password"
            " sasl.kerberos.service.name sasl.kerberos.principal sasl.kerberos.keytab"
            " sasl.kerberos.min.time.before.relogin"
        ),
        "tokens": _words(
            "sasl.oauthbearer.method sasl.oauthbearer.client.id sasl.oauthbearer.client.secret"
            " sasl.oauthbearer.config sasl.oauthbearer.scope sasl.oauthbearer.extensions sasl.oauthbearer.grant.type"
            " sasl.oauthbearer.token.endpoint.url sasl.oauthbearer.sub.claim.name"
            " sasl.oauthbearer.metadata.authentication.type sasl.oauthbearer.assertion.algorithm"
            " sasl.oauthbearer.assertion.file sasl.oauthbearer.assertion.jwt.template.file"
            " sasl.oauthbearer.assertion.private.key.file sasl.oauthbearer.assertion.private.key.passphrase"
            " sasl.oauthbearer.assertion.private.key.pem sasl.oauthbearer.assertion.claim.aud"
            " sasl.oauthbearer.assertion.claim.iss sasl.oauthbearer.assertion.claim.sub"
            " sasl.oauthbearer.assertion.claim.exp.seconds sasl.oauthbearer.assertion.claim.nbf.seconds"
            " sasl.oauthbearer.assertion.claim.jti.include https.ca.location https.ca.pem"
        ),
        "certificates and ciphers": _words(
            "ssl.ca.location ssl.ca.pem ssl.crl.location ssl.certificate.location ssl.certificate.pem"
            " ssl.key.location ssl.key.pem ssl.key.password ssl.keystore.location ssl.keystore.password"
            " ssl.cipher.suites ssl.curves.list ssl.sigalgs.list ssl.endpoint.identification.algorithm"
            " enable.ssl.certificate.verification"
        ),
        "names that brokers log": _words("client.id client.rack group.instance.id"),
        "connections": _words(
            "broker.address.family broker.address.ttl client.dns.lookup connections.max.idle.ms"
            " reconnect.backoff.ms reconnect.backoff.max.ms reconnect.backoff.jitter.ms socket.timeout.ms"
            " socket.connection.setup.timeout.ms socket.keepalive.enable socket.max.fails socket.nagle.disable"
            " socket.receive.buffer.bytes socket.send.buffer.bytes request.timeout.ms log.connection.close"
        ),
        "what is known of topics": _words(
            "metadata.max.age.ms metadata.recovery.strategy metadata.recovery.rebootstrap.trigger.ms"
            " topic.metadata.refresh.interval.ms topic.metadata.refresh.fast.interval.ms"
            " topic.metadata.propagation.max.ms coordinator.query.interval.ms"
        ),
        "membership": _words(
            "session.timeout.ms heartbeat.interval.ms max.poll.interval.ms group.remote.assignor"
        ),
        "fetching": _words(
            "fetch.wait.max.ms fetch.min.bytes fetch.max.bytes fetch.message.max.bytes fetch.error.backoff.ms"
            " fetch.queue.backoff.ms queued.min.messages queued.max.messages.kbytes receive.message.max.bytes check.crcs"
        ),
        "sending": _words(
            "queue.buffering.max.ms queue.buffering.max.messages queue.buffering.max.kbytes"
            " queue.buffering.backpressure.threshold batch.size batch.num.messages compression.codec"
            " compression.level partitioner sticky.partitioning.linger.ms"
        ),
        "looking into the client": _words("debug log_level statistics.interval.ms enable.metrics.push"),
    }
)
_ALIASES: Final = _words(
    "sasl.mechanism sasl.oauthbearer.client.credentials.client.id sasl.oauthbearer.client.credentials.client.secret"
    " max.partition.fetch.bytes linger.ms compression.type"
)
ALLOWED: Final = _ALIASES.union(*GROUPS.values())
# Properties that do something in one kind of client only.
SIDES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "consumer": GROUPS["membership"]
        | (GROUPS["fetching"] - _words("receive.message.max.bytes"))
        | _words("group.instance.id coordinator.query.interval.ms max.partition.fetch.bytes"),
        "producer": GROUPS["sending"] | _words("linger.ms compression.type request.timeout.ms"),
    }
)
_SECRETS: Final = _words(
    "sasl.password sasl.oauthbearer.client.secret sasl.oauthbearer.config sasl.oauthbearer.extensions"
    " sasl.oauthbearer.token.endpoint.url sasl.oauthbearer.assertion.private.key.passphrase"
    " sasl.oauthbearer.assertion.private.key.pem sasl.oauthbearer.assertion.claim.aud"
    " sasl.oauthbearer.assertion.claim.iss sasl.oauthbearer.assertion.claim.sub https.ca.pem ssl.ca.pem"
    " ssl.certificate.pem ssl.key.pem ssl.key.password ssl.keystore.password"
    " sasl.oauthbearer.client.credentials.client.secret"
)
# Properties whose values `stream-scrub config` shows.
HARMLESS: Final = ALLOWED - _SECRETS
_COMMAND = "with Kerberos the client puts it into a command line"
# Values that do more than go to a broker.
_SHAPES: Final = MappingProxyType(
    {
        "sasl.kerberos.principal": (re.compile(r"[A-Za-z0-9._@/-]{1,255}+"), _COMMAND),
        "sasl.kerberos.keytab": (re.compile(r"[A-Za-z0-9._/:-]{1,1023}+"), _COMMAND),
    }
)


def objection(name: str, value: str) -> str:
    """Why this property may not have this value, given that it is on the list; empty if it may."""
    shape, why = _SHAPES.get(name, (None, ""))
    if shape is not None and shape.fullmatch(value) is None:
        return f"{name} cannot be set to that: {why}, so it may hold letters, digits, dots, slashes and hyphens only"
    return ""

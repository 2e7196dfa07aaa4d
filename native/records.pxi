# Records as the client fetched them, without a Python object for each: taken, read, and emitted. Included by
# stream_scrub_native.pyx. Only the public C interface of librdkafka is used (client.h).
#
# Bounds. A fetched message's key and payload are read for the sizes that it states, and not after it is destroyed. A
# copy is read by its Entry alone: `key_size` bytes, and `value_size` bytes with the NUL behind them. An Entry's place is
# below `Records._count`. Templates and stamps are `bytes` objects, read for their own sizes. A header's name ends with
# a NUL (librdkafka adds it), its value has the size that is given with it.

from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport malloc

cdef extern from "client.h" nogil:
    ctypedef struct client_message:
        int err
        void* rkt
        int32_t partition
        void* payload
        size_t len
        void* key
        size_t key_len
        int64_t offset
    enum:
        CLIENT_OK
        CLIENT_NONE
    void* rd_kafka_queue_new(void*)
    void* rd_kafka_queue_get_partition(void*, const char*, int32_t)
    void rd_kafka_queue_forward(void*, void*)
    void rd_kafka_queue_destroy(void*)
    ssize_t rd_kafka_consume_batch_queue(void*, int, client_message**, size_t)
    void rd_kafka_message_destroy(client_message*)
    int64_t rd_kafka_message_timestamp(const client_message*, int*)
    int32_t rd_kafka_message_leader_epoch(const client_message*)
    int rd_kafka_header_get_all(const void*, size_t, const char**, const void**, size_t*)
    void* rd_kafka_headers_new(size_t)
    void rd_kafka_headers_destroy(void*)
    int rd_kafka_header_add(void*, const char*, ssize_t, const void*, ssize_t)
    void* rd_kafka_topic_new(void*, const char*, void*)
    const char* rd_kafka_topic_name(const void*)
    int rd_kafka_message_detach_headers(client_message*, void**)
    void rd_kafka_topic_destroy(void*)
    int client_produce(void*, void*, int32_t, const void*, size_t, const void*, size_t, int64_t, void*)
    void* scrub_client(long)

cdef extern from "string.h" nogil:
    size_t strlen(const char*)
    int strcmp(const char*, const char*)

cdef extern from "strings.h" nogil:
    int strcasecmp(const char*, const char*)
    int strncasecmp(const char*, const char*, size_t)

cdef extern from "stdio.h" nogil:
    int snprintf(char*, size_t, const char*, ...)


cdef struct Entry:
    const char* topic
    int32_t partition
    int32_t epoch  # of the leader that wrote it; -1 if the broker does not tell
    int64_t offset
    int64_t timestamp_ms
    At key  # NULL without one
    Py_ssize_t key_size
    At value  # NULL without one; the byte behind it is a NUL
    Py_ssize_t value_size
    void* headers  # NULL without any, or if they are lost
    bint lost  # the client cannot read its headers
    Py_ssize_t nbytes  # of key, value and headers


cdef class _Fetched:
    """What one call took: the owner of its keys and values, and of its headers."""

    cdef uint8_t* content
    cdef void** headers
    cdef Py_ssize_t count
    cdef dict topics

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.count):  # as many as were detached so far
            rd_kafka_headers_destroy(self.headers[i])
        free(self.headers)
        free(self.content)


cdef class Records:
    """Some records, in the order in which they were fetched. Immutable. They are copies: the client may go."""

    cdef list _owners  # (owner, how many of the records), in the order of the records
    cdef Entry* _at
    cdef Py_ssize_t _count

    def __cinit__(self):
        self._owners = []

    def __dealloc__(self):
        free(self._at)

    def __len__(self):
        return self._count

    cdef int _room(self, Py_ssize_t count) except -1:
        self._at = <Entry*>malloc((count + 1) * sizeof(Entry))
        if self._at == NULL:
            raise MemoryError
        self._count = count
        return 0

    cdef Entry* _entry(self, Py_ssize_t place) except NULL:
        if not 0 <= place < self._count:
            raise IndexError("no record at that place")
        return &self._at[place]

    def part(self, Py_ssize_t begin, Py_ssize_t end):
        """The records from one place up to another."""
        begin, end = max(0, begin), min(end, self._count)
        cdef Records made = Records()
        cdef Py_ssize_t at = 0, count, kept
        made._room(max(0, end - begin))
        for owner, count in self._owners:  # the counts add up to `_count`
            kept = min(end, at + count) - max(begin, at)
            if kept > 0:  # what is put back would else keep all that was ever fetched
                made._owners.append((owner, kept))
            at += count
        memcpy(made._at, &self._at[begin], made._count * sizeof(Entry))  # up to `end`, which is at most `_count`
        return made

    def then(self, Records more):
        """These records, followed by others."""
        cdef Records made = Records()
        made._room(self._count + more._count)
        made._owners = self._owners + more._owners
        memcpy(made._at, self._at, self._count * sizeof(Entry))
        memcpy(&made._at[self._count], more._at, more._count * sizeof(Entry))
        return made

    def value(self, Py_ssize_t place):
        """The value of a record; None without one."""
        cdef Entry* at = self._entry(place)
        return None if at.value == NULL else at.value[: at.value_size]

    def key(self, Py_ssize_t place):
        """The key of a record; None without one."""
        cdef Entry* at = self._entry(place)
        return None if at.key == NULL else at.key[: at.key_size]

    def offset(self, Py_ssize_t place):
        """The offset of a record."""
        return self._entry(place).offset

    def epoch(self, Py_ssize_t place):
        """The leader epoch of a record; -1 if unknown."""
        return self._entry(place).epoch

    def partition(self, Py_ssize_t place):
        """The partition of a record."""
        return self._entry(place).partition

    def topic(self, Py_ssize_t place):
        """The topic of a record."""
        return self._entry(place).topic.decode()

    def timestamp_ms(self, Py_ssize_t place):
        """The timestamp of a record in milliseconds since 1970; -1 without one."""
        return self._entry(place).timestamp_ms

    def headers(self, Py_ssize_t place):
        """The names (bytes) and values of a record's headers; None without headers. Raises ValueError if they are lost."""
        cdef Entry* at = self._entry(place)
        cdef const char* name
        cdef const void* value
        cdef size_t size, i = 0
        if at.lost:
            raise ValueError("the client cannot read the headers")
        if at.headers == NULL:
            return None
        made = []
        while rd_kafka_header_get_all(at.headers, i, &name, &value, &size) == CLIENT_OK:
            made.append((<bytes>name, None if value == NULL else (<At>value)[:size]))
            i += 1
        return made

    def has_odd_header(self):
        """Whether some header has a name that is no ASCII, or some record's headers are lost."""
        cdef Py_ssize_t place
        cdef const char* name
        cdef const void* value
        cdef size_t size, i
        for place in range(self._count):
            if self._at[place].lost:
                return True
            i = 0
            while (
                self._at[place].headers != NULL
                and rd_kafka_header_get_all(self._at[place].headers, i, &name, &value, &size) == CLIENT_OK
            ):
                i += 1
                while 0 < (<At>name)[0] < 0x80:  # the NUL at its end stops it
                    name += 1
                if name[0] != 0:
                    return True
        return False

    def nbytes(self):
        """The bytes of all keys, values and headers."""
        cdef Py_ssize_t place, total = 0
        for place in range(self._count):
            total += self._at[place].nbytes
        return total

    def fitting(self, Py_ssize_t most):
        """How many of the first records have at most `most` bytes together."""
        cdef Py_ssize_t place, total = 0
        for place in range(self._count):
            total += self._at[place].nbytes
            if total > most:
                return place
        return self._count

    def longest(self):
        """The most bytes of one record: its key, value and headers."""
        cdef Py_ssize_t place, most = 0
        for place in range(self._count):
            most = max(most, self._at[place].nbytes)
        return most

    def topic_places(self, int32_t[::1] places):
        """Fills in each record's place among the topics, and returns these."""
        cdef Py_ssize_t place
        cdef const char* topic = NULL
        cdef int32_t at = -1
        names = []
        if places.shape[0] != self._count:
            raise ValueError("a place for each record")
        for place in range(self._count):
            if self._at[place].topic != topic:
                topic = self._at[place].topic
                name = topic.decode()
                if name not in names:
                    names.append(name)
                at = names.index(name)
            places[place] = at
        return names

    def goes_back(self, nexts):
        """Whether a record's offset is below the next one of its (topic, partition), or not above the last one here."""
        cdef Py_ssize_t place
        cdef Entry* at
        cdef const char* topic = NULL
        cdef int32_t partition = -1
        cdef int64_t expected = 0
        met = dict(nexts)
        for place in range(self._count):
            at = &self._at[place]
            if at.topic != topic or at.partition != partition:
                if topic != NULL:
                    met[topic.decode(), partition] = expected
                topic, partition = at.topic, at.partition
                expected = met.get((topic.decode(), partition), 0)
            if at.offset < expected:
                return True
            expected = at.offset + 1
        return False

    def last_of_each(self):
        """(topic, partition, offset, leader epoch) of the last record of each partition, the last one first."""
        cdef Py_ssize_t place
        cdef Entry* at
        cdef const char* topic = NULL
        cdef int32_t partition = -1
        met = {}
        for place in range(self._count - 1, -1, -1):
            at = &self._at[place]
            if at.topic == topic and at.partition == partition:
                continue  # a client hands a partition's records over in runs
            topic, partition = at.topic, at.partition
            known = (topic.decode(), partition)
            if known not in met:
                met[known] = (*known, at.offset, at.epoch)
        return list(met.values())


cdef class Intake:
    """The records of one consumer's partitions, by a queue of our own. One thread.

    `token` is that of the consumer's watch. Forward each partition when it is assigned, before the client fetches it;
    close this before the consumer.
    """

    cdef void* _client
    cdef void* _queue
    cdef object _owner  # the client must live longer
    cdef dict _topics

    def __cinit__(self, long token, owner):
        self._owner, self._topics = owner, {}
        self._client = scrub_client(token)
        if self._client == NULL:
            raise LookupError("no client has that token")
        self._queue = rd_kafka_queue_new(self._client)

    def __dealloc__(self):
        self.close()

    cpdef close(self):
        """Take no more. The client's own queue gets what comes then."""
        if self._queue != NULL:
            rd_kafka_queue_destroy(self._queue)
            self._queue = NULL

    def forward(self, str topic, int32_t partition):
        """Send this partition's records here."""
        cdef bytes name = topic.encode()
        cdef void* queue
        if self._queue == NULL:
            raise ValueError("closed")
        queue = rd_kafka_queue_get_partition(self._client, name, partition)
        if queue != NULL:
            rd_kafka_queue_forward(queue, self._queue)
            rd_kafka_queue_destroy(queue)

    def take(self, Py_ssize_t most, int wait_ms):
        """At most so many records, and (code, text) of each error among them. Blocks for `wait_ms` at most."""
        cdef client_message** messages
        cdef Py_ssize_t came = 0, i
        if self._queue == NULL:
            raise ValueError("closed")
        if most < 1:
            raise ValueError("at least one record")
        messages = <client_message**>malloc((most + 1) * sizeof(void*))
        if messages == NULL:
            raise MemoryError
        try:
            with nogil:
                came = rd_kafka_consume_batch_queue(self._queue, wait_ms, messages, most)
            return self._copied(messages, came)
        finally:
            with nogil:
                for i in range(came):  # at most `most`; below 0 after an error
                    rd_kafka_message_destroy(messages[i])
                free(messages)

    cdef _copied(self, client_message** messages, Py_ssize_t came):
        cdef _Fetched fetched = _Fetched()
        cdef Records records = Records()
        cdef client_message* message
        cdef Py_ssize_t i, nbytes = 0, kept = 0
        cdef Entry* at
        cdef uint8_t* to
        cdef void* topic = NULL
        cdef const char* name = NULL
        cdef int kind, code
        errors = []
        for i in range(came):  # the loop below writes exactly these bytes
            if messages[i].err == CLIENT_OK:
                nbytes += messages[i].key_len + messages[i].len + 1
        fetched.topics = self._topics
        fetched.content = to = <uint8_t*>malloc(nbytes + 1)
        fetched.headers = <void**>malloc((came + 1) * sizeof(void*))
        if to == NULL or fetched.headers == NULL:
            raise MemoryError
        records._room(max(0, came))
        for i in range(came):
            message = messages[i]
            if message.err != CLIENT_OK:
                text = b"" if message.payload == NULL else (<At>message.payload)[: message.len]
                errors.append((message.err, text.decode("utf-8", "replace")))
                continue
            if message.rkt != topic:
                topic = message.rkt
                known = <bytes>rd_kafka_topic_name(topic)
                name = PyBytes_AS_STRING(self._topics.setdefault(known, known))
            at = &records._at[kept]
            kept += 1
            at.topic, at.partition, at.offset = name, message.partition, message.offset
            at.timestamp_ms = rd_kafka_message_timestamp(message, &kind)
            at.epoch = rd_kafka_message_leader_epoch(message)
            at.key, at.key_size, at.value, at.value_size, at.headers, at.lost = NULL, 0, NULL, 0, NULL, False
            # Within `content`: by now at most what the sum above counted of this and the earlier messages.
            if message.key != NULL:
                memcpy(to, message.key, message.key_len)
                at.key, at.key_size = to, message.key_len
                to += message.key_len
            if message.payload != NULL:
                memcpy(to, message.payload, message.len)
                to[message.len] = 0
                at.value, at.value_size = to, message.len
                to += message.len + 1
            at.nbytes = at.key_size + at.value_size
            code = rd_kafka_message_detach_headers(message, &at.headers)
            if code == CLIENT_OK:
                fetched.headers[fetched.count] = at.headers  # at most one for each of the `came` messages
                fetched.count += 1
                at.nbytes += _header_bytes(at.headers)
            else:
                # The client reads no more than 100,000 headers of a record.
                at.headers, at.lost = NULL, code != CLIENT_NONE
        records._count = kept
        records._owners.append((fetched, kept))
        return records, errors


cdef Py_ssize_t _header_bytes(void* headers):
    cdef const char* name
    cdef const void* value
    cdef size_t size, i = 0
    cdef Py_ssize_t total = 0
    while rd_kafka_header_get_all(headers, i, &name, &value, &size) == CLIENT_OK:
        total += strlen(name) + size
        i += 1
    return total


cdef const char* _STRUCTURED = "application/cloudevents"


cdef class _Events:
    """The headers that make each record of a batch a CloudEvent, as `kafka/cloud_events.py` makes them for one record."""

    cdef bytes version, source, moment
    cdef list types  # by the place of a record's topic

    def __cinit__(self, bytes source, list types, bytes moment):
        self.version, self.source, self.types, self.moment = b"1.0", source, types, moment

    cdef int add(self, void* headers, Entry* at, int32_t route, bint stamped) except -1:
        """Add a record's event; `route` is below the number of types."""
        cdef char id[320]  # a topic has at most 249 signs, a partition 10, an offset 19
        cdef bytes kind = self.types[route]
        cdef int size = snprintf(
            id, sizeof(id), "%s/%d/%lld", at.topic, <int>at.partition, <long long>at.offset
        )
        if not 0 < size < <int>sizeof(id):
            raise ValueError("a topic's name of more than 249 signs")
        rd_kafka_header_add(headers, "ce_specversion", -1, PyBytes_AS_STRING(self.version), len(self.version))
        rd_kafka_header_add(headers, "ce_source", -1, PyBytes_AS_STRING(self.source), len(self.source))
        rd_kafka_header_add(headers, "ce_type", -1, PyBytes_AS_STRING(kind), len(kind))
        rd_kafka_header_add(headers, "ce_id", -1, id, size)
        rd_kafka_header_add(headers, "ce_time", -1, PyBytes_AS_STRING(self.moment), len(self.moment))
        if stamped:
            rd_kafka_header_add(headers, "content-type", -1, <const char*>"application/json", 16)
        return 0


cdef bint _is_of_event(const char* name, const void* value, size_t length, bint stamped):
    """Whether an event's own header takes the place of this one."""
    cdef size_t size = strlen(_STRUCTURED)
    if strcasecmp(name, "content-type") == 0:
        return stamped or (length >= size and strncasecmp(<const char*>value, _STRUCTURED, size) == 0)
    return (
        strcasecmp(name, "ce_specversion") == 0
        or strcasecmp(name, "ce_source") == 0
        or strcasecmp(name, "ce_type") == 0
        or strcasecmp(name, "ce_id") == 0
        or strcasecmp(name, "ce_time") == 0
    )


cdef void* _kept_headers(void* headers, list stripped, bint is_event, bint stamped) except? NULL:
    """A copy of a record's headers without those that are stripped, in any case of their letters, or that its event's
    replace. NULL if none is left."""
    cdef void* made = NULL
    cdef const char* name
    cdef const void* value
    cdef size_t length, i = 0
    cdef bint drop
    while headers != NULL and rd_kafka_header_get_all(headers, i, &name, &value, &length) == CLIENT_OK:
        i += 1
        drop = is_event and _is_of_event(name, value, length, stamped)
        for each in stripped:
            drop = drop or strcasecmp(name, <const char*><bytes>each) == 0
        if not drop:
            if made == NULL:
                made = rd_kafka_headers_new(4)
            rd_kafka_header_add(made, name, -1, value, length)
    return made


cdef class Outlet:
    """The output topics of one producer, by its watch's token. One thread."""

    cdef void* _client
    cdef dict _topics
    cdef list _stripped
    cdef bytes _stamp_name
    cdef object _owner
    cdef uint8_t* _room
    cdef Py_ssize_t _size

    def __cinit__(self, long token, owner, list stripped, bytes stamp_name):
        self._owner = owner
        self._client = scrub_client(token)
        if self._client == NULL:
            raise LookupError("no client has that token")
        self._topics, self._stripped, self._stamp_name = {}, stripped, stamp_name

    def __dealloc__(self):
        self.close()
        free(self._room)

    cpdef close(self):
        """Let go of the topics, before the producer goes."""
        while self._topics:
            rd_kafka_topic_destroy(<void*><uintptr_t>self._topics.popitem()[1])
        self._client = NULL

    cdef void* _topic(self, str name) except NULL:
        handle = self._topics.get(name)
        if handle is None:
            handle = <uintptr_t>rd_kafka_topic_new(self._client, name.encode(), NULL)
            if handle == 0:
                raise LookupError("the client does not know that topic")
            self._topics[name] = handle
        return <void*><uintptr_t>handle

    cdef uint8_t* _scratch_of(self, Py_ssize_t size) except NULL:
        if size > self._size:
            free(self._room)
            self._size, self._room = 0, <uint8_t*>malloc(2 * size)
            if self._room == NULL:
                raise MemoryError
            self._size = 2 * size
        return self._room

    def emit(
        self,
        Records records,
        Py_ssize_t begin,
        list topics,
        const int32_t[::1] routes,
        const uint64_t[::1] numbers,
        const int32_t[::1] ids,
        list heads,
        list tails,
        bint into_value,
        dict others,
        event,
    ):
        """Produce the records from place `begin` on; returns (place, code) of the first that was not taken, or (count, 0).

        `routes` gives each record's place in `topics`. A record with an id of at least 0 gets head, number and tail of
        that id, `into_value` in place of its value's last byte, else as the header. The others are in `others`, by
        place: (value, stamp or None). `event`: None, or source, type of each topic and moment of the records' events.
        """
        cdef Py_ssize_t place, count = records._count, size, head, tail
        cdef _Ends ends = _Ends(heads, tails)
        cdef int code
        cdef void* headers
        cdef void** handles
        cdef const void* value
        cdef const void* stamp
        cdef Py_ssize_t stamp_size
        cdef uint8_t* to
        cdef char digits[20]
        cdef int first, id
        cdef Entry* at
        cdef _Events events = None
        cdef bint stamped
        if event is not None:
            events = _Events(*event)
            if len(events.types) != len(topics):
                raise ValueError("a type of event for each topic")
        if self._client == NULL:
            raise ValueError("closed")
        if begin < 0:
            raise IndexError("no record at that place")
        if routes.shape[0] != count or numbers.shape[0] != count or ids.shape[0] != count:
            raise ValueError("a route, a number and an id for each record")
        handles = <void**>malloc((len(topics) + 1) * sizeof(void*))
        if handles == NULL:
            raise MemoryError
        try:
            for place in range(len(topics)):
                handles[place] = self._topic(topics[place])
            for place in range(begin, count):
                at = &records._at[place]  # from `begin`, at least 0, to `count`
                if not 0 <= routes[place] < len(topics):
                    raise IndexError("a route without its topic")
                stamp, stamp_size = NULL, 0
                id = ids[place]
                if id >= 0:
                    if id >= len(ends.heads) or at.value == NULL or at.value_size == 0:
                        raise IndexError("an id without its head, or a stamp without a value")
                    first = write_digits(digits, numbers[place])
                    head, tail = ends.head_size[id], ends.tail_size[id]
                    size = at.value_size - 1 if into_value else 0
                    to = self._scratch_of(size + head + tail + 20)  # all that the next four lines may write
                    memcpy(to, at.value, size)
                    memcpy(to + size, ends.head[id], head)
                    memcpy(to + size + head, digits + first, 20 - first)
                    memcpy(to + size + head + 20 - first, ends.tail[id], tail)
                    size += head + 20 - first + tail
                    if into_value:
                        value = to
                    else:
                        stamp, stamp_size = to, size
                        value, size = at.value, at.value_size
                else:
                    other = others[place]
                    own, header = other
                    value, size = NULL, 0
                    if own is not None:  # `others` keeps it; producev copies it
                        value, size = PyBytes_AS_STRING(<bytes?>own), PyBytes_GET_SIZE(own)
                    if header is not None:
                        stamp, stamp_size = PyBytes_AS_STRING(<bytes?>header), PyBytes_GET_SIZE(header)
                stamped = stamp == NULL and value != NULL
                headers = _kept_headers(at.headers, self._stripped, events is not None, stamped)
                if headers == NULL and (events is not None or stamp != NULL):
                    headers = rd_kafka_headers_new(8)
                if events is not None:
                    events.add(headers, at, routes[place], stamped)
                if stamp != NULL:
                    rd_kafka_header_add(headers, self._stamp_name, -1, stamp, stamp_size)
                code = client_produce(
                    self._client, handles[routes[place]], at.partition, value, size, at.key, at.key_size,
                    at.timestamp_ms, headers
                )
                if code != CLIENT_OK:
                    if headers != NULL:
                        rd_kafka_headers_destroy(headers)
                    return place, code
            return count, CLIENT_OK
        finally:
            free(handles)

# Prospects in Avro or Protobuf as the JSON that is judged: what both have in common. Included by stream_scrub_native.pyx.
# This is the only reader of these formats. Its oracles are fastavro and google.protobuf (`tests/property`).
#
# Bounds. A value is read from `at` to `end`, and each read below says why it is before `end`. `plain_bytes` and
# `utf8_end` may look at the byte at `end`, which is a NUL behind a `bytes` object's bytes and behind an Entry's value.

from cpython.mem cimport PyMem_Free
from libc.stdlib cimport realloc

cdef extern from "Python.h":
    char* PyOS_double_to_string(double value, char form, int precision, int flags, int* kind)

cdef enum:
    NESTED_MAX = 64  # as in `scrub/schemas.py`, and the next one
    SPARE_MAX = 131_072
    ASK_EVERY = 100  # records: those of a hostile schema take long

cdef enum Outcome:
    READ = 1
    UNREADABLE = 0
    NO_MEMORY = -1

cdef enum TextKind:
    NO_TEXT = 0
    PLAIN = 1  # JSON writes it as it is
    WITH_ESCAPES = 2  # JSON escapes some of its signs

cdef struct Made:  # the JSON of some values
    uint8_t* content
    Py_ssize_t size
    Py_ssize_t room


cdef inline bint put(Made* made, const void* what, Py_ssize_t size) noexcept nogil:
    """Append so many bytes, read from `what`; False without memory."""
    cdef uint8_t* larger
    if size > made.room - made.size:
        larger = <uint8_t*>realloc(made.content, 2 * (made.size + size) + 256)
        if larger == NULL:
            return False
        made.content, made.room = larger, 2 * (made.size + size) + 256
    memcpy(made.content + made.size, what, size)
    made.size += size
    return True


cdef bint put_integer(Made* made, int64_t number, bint signed) noexcept nogil:
    """Append a number of 64 bits; False without memory."""
    cdef char digits[20]  # of 64 bits, or a sign and 19 of 63
    cdef bint negative = signed and number < 0
    cdef int first = write_digits(digits, 0 - <uint64_t>number if negative else <uint64_t>number)
    if negative:
        first -= 1
        digits[first] = 0x2D
    return put(made, digits + first, 20 - first)


cdef inline At varint_end(At at, At end, int bits, uint64_t* raw) noexcept nogil:
    """Past an unsigned integer of at most so many bits; NULL when it is none."""
    cdef int shift = 0
    raw[0] = 0
    while at < end and shift < bits:  # each byte before `end`
        raw[0] |= <uint64_t>(at[0] & 0x7F) << shift
        at += 1
        if at[-1] < 0x80:
            # The last byte of the longest has bits to spare, which readers differ in dropping.
            return NULL if shift + 7 > bits and at[-1] >> (bits - shift) else at
        shift += 7
    return NULL


cdef inline int64_t unzigzag(uint64_t raw) noexcept nogil:
    return <int64_t>(raw >> 1) ^ -<int64_t>(raw & 1)


cdef TextKind text_kind(At at, At end) noexcept nogil:
    """Whether the bytes from `at` to `end` are UTF-8, and how JSON writes them."""
    cdef int plain
    cdef TextKind kind = PLAIN
    while at < end:
        if end - at >= WIDE:
            plain = plain_bytes(at)  # WIDE bytes, all before `end`
            at += plain
            if plain == WIDE:
                continue
        if at[0] >= 0x80:
            at = utf8_end(at)  # stops at the NUL behind the value
            if at == NULL or at > end:
                return NO_TEXT
        else:
            if at[0] < 0x20 or at[0] == 0x22 or at[0] == 0x5C:
                kind = WITH_ESCAPES
            at += 1
    return kind


cdef bint is_ascii(At at, At end) noexcept nogil:
    while at < end:
        if at[0] >= 0x80:
            return False
        at += 1
    return True


cdef bint put_text(Made* made, At at, At end) noexcept nogil:
    """Append a text as JSON: the UTF-8 from `at` to `end`; False without memory."""
    cdef At begin = at
    cdef uint8_t escape[6]
    cdef bint well = put(made, b'"', 1)
    while at < end and well:
        if at[0] >= 0x20 and at[0] != 0x22 and at[0] != 0x5C:
            at += 1
            continue
        well = put(made, begin, at - begin)
        escape[0], escape[1] = 0x5C, at[0]
        if at[0] >= 0x20:
            well = well and put(made, escape, 2)
        else:
            escape[1], escape[2], escape[3], escape[4] = 0x75, 0x30, 0x30, 0x30 + (at[0] >> 4)
            escape[5] = (0x30 if at[0] & 15 < 10 else 0x57) + (at[0] & 15)
            well = well and put(made, escape, 6)
        at += 1
        begin = at
    return well and put(made, begin, at - begin) and put(made, b'"', 1)


cdef Outcome put_real(Made* made, double number) noexcept nogil:
    """Append a real number; UNREADABLE if it is infinite or NaN, which JSON has not."""
    cdef char* text
    cdef bint well
    if number - number != 0:
        return UNREADABLE
    with gil:
        text = PyOS_double_to_string(number, b"r", 0, 2, NULL)  # 2: with ".0"
        if text == NULL:
            return NO_MEMORY
        well = put(made, text, strlen(text))
        PyMem_Free(text)
    return READ if well else NO_MEMORY


cdef class _Texts:
    """What walks write: so many `bytes`, each known by its place."""

    cdef list _kept
    cdef Py_ssize_t count
    cdef const char** at
    cdef Py_ssize_t* size

    def __cinit__(self, list texts):
        cdef Py_ssize_t i
        self._kept, self.count = list(texts), len(texts)
        self.at = <const char**>malloc((self.count + 1) * sizeof(void*))
        self.size = <Py_ssize_t*>malloc((self.count + 1) * sizeof(Py_ssize_t))
        if self.at == NULL or self.size == NULL:
            raise MemoryError
        for i in range(self.count):
            self.at[i] = PyBytes_AS_STRING(<bytes?>self._kept[i])
            self.size[i] = PyBytes_GET_SIZE(self._kept[i])

    def __dealloc__(self):
        free(self.at)
        free(self.size)


cdef struct Framed:  # a value, as `scrub/schemas.py: framed` has it
    At id  # of its schema
    Py_ssize_t id_size
    At index  # in Protobuf the indexes of its message, which end at `index_end`
    At index_end
    At body
    At end


cdef At indexes_end(At at, At end) noexcept nogil:
    """Past the indexes of a message in Protobuf; NULL if they are none."""
    cdef uint64_t count = 0, index = 0
    at = varint_end(at, end, 64, &count)
    if at == NULL or count & 1:
        return NULL
    for _ in range(count >> 1):  # each has a byte before `end`
        at = varint_end(at, end, 64, &index)
        if at == NULL or index & 1:
            return NULL
    return at


cdef class SchemaPlan:
    """Makes JSON of the records of one schema. One thread."""

    cdef bint _indexed  # whether the indexes of a message are in front of a record, as in Protobuf

    cdef int _read(self, Framed* value, Made* made) except -2:
        """Append the JSON of a value; an Outcome."""
        raise NotImplementedError

    def __call__(self, bytes value not None, Py_ssize_t begin):
        """The JSON of the record that begins there in the value; None if it is unreadable."""
        cdef Made made
        cdef Framed framed
        made.content, made.size, made.room = NULL, 0, 0
        try:
            if not 0 <= begin <= PyBytes_GET_SIZE(value):
                raise IndexError("no such place in the value")
            framed.index = <At>PyBytes_AS_STRING(value) + begin
            framed.end = framed.index + PyBytes_GET_SIZE(value) - begin
            framed.body = framed.index_end = indexes_end(framed.index, framed.end) if self._indexed else framed.index
            if framed.body == NULL or not self._put_json(&framed, &made):
                return None
            return (<char*>made.content)[: made.size]
        finally:
            free(made.content)

    cdef bint _put_json(self, Framed* value, Made* made) except -1:
        """Append the JSON of a value; False, and nothing is appended, if it is unreadable."""
        cdef Py_ssize_t before = made.size
        cdef int found = self._read(value, made)
        if found == READ:
            return True
        made.size = before
        if found == NO_MEMORY:
            raise MemoryError
        return False


cdef class _Owner:
    """The owner of the JSON of some records."""

    cdef Made made

    def __dealloc__(self):
        free(self.made.content)


cdef bint is_framed(Entry* at, bint indexed, Framed* value) noexcept nogil:
    """As `scrub/schemas.py: framed`; False without an id, or with two."""
    cdef const char* name
    cdef const void* header
    cdef At frame = at.value, end
    cdef Py_ssize_t frame_size = at.value_size
    cdef size_t length, i = 0
    cdef bint named = False
    while at.headers != NULL and rd_kafka_header_get_all(at.headers, i, &name, &header, &length) == CLIENT_OK:
        i += 1
        if strcmp(name, "__value_schema_id") == 0:
            length = 0 if header == NULL else length
            if named and (<Py_ssize_t>length != frame_size or (length and memcmp(header, frame, length) != 0)):
                return False
            named, frame, frame_size = True, <At>header, <Py_ssize_t>length
    if frame_size < 1 or frame[0] > 1:  # the byte before an id says how long it is
        return False
    value.id_size = 16 if frame[0] else 4
    if frame_size <= value.id_size:
        return False
    end = frame + frame_size
    value.id = frame + 1
    value.index = value.id + value.id_size  # at most `end`
    value.index_end = indexes_end(value.index, end) if indexed else value.index
    if value.index_end == NULL or (named and value.index_end != end):
        return False
    value.body = at.value if named else value.index_end
    value.end = at.value + at.value_size
    return True


def read_by_schema(Records records, bint indexed, dict plans, find, enough):
    """The records with their JSON as values, None for an unreadable one. `indexed`: they are in Protobuf, else in Avro.
    `plans`: by schema id. `find(id, place)` gives the plan of another one, and whether it took long; None to end before this
    record. `enough()` ends behind a record."""
    cdef Records made = records.part(0, records._count)
    cdef _Owner texts = _Owner()
    cdef Py_ssize_t place, before, last_size = 0, count = records._count
    cdef Entry* at
    cdef Framed value
    cdef At last = NULL
    cdef bint late
    plan = None
    for place in range(records._count):
        at = &made._at[place]  # as many as `records` has
        before, late = texts.made.size, False
        if at.value == NULL or not is_framed(at, indexed, &value):
            at.value, at.value_size = NULL, 0
            continue
        if last == NULL or value.id_size != last_size or memcmp(value.id, last, last_size) != 0:
            known = value.id[: value.id_size]
            plan = plans.get(known)
            if plan is None:
                found = find(known, place)
                if found is None:
                    count = place
                    break
                plan, late = found
            last, last_size = value.id, value.id_size  # in the records, which `records` keeps
        if isinstance(plan, SchemaPlan) and (<SchemaPlan>plan)._put_json(&value, &texts.made):
            # Its place from 1 for now: the JSON may move while it grows.
            at.value, at.value_size = <At><uintptr_t>(before + 1), texts.made.size - before
            if not put(&texts.made, b"\0", 1):
                raise MemoryError
        else:
            at.value, at.value_size = NULL, 0
        if (late or place % ASK_EVERY == ASK_EVERY - 1) and enough():
            count = place + 1
            break
    for place in range(count):
        at = &made._at[place]  # `count` is at most as many as it has
        if at.value != NULL:
            at.value = texts.made.content + (<uintptr_t>at.value - 1)
    made._count = count
    made._owners = [((texts, records), count)]
    return made

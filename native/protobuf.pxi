# Prospects in Protobuf as the JSON that is judged, by the rows of `stream_scrub/scrub/protobuf.py`. Included by
# stream_scrub_native.pyx.
#
# Bounds, apart from those in schemas.pxi. A MessagePlan is made only if each row names others that there are (`_is_sound`).
# Messages in each other are counted up to NESTED_MAX, the items of lists up to ITEMS_MAX.

cdef enum:
    ITEMS_MAX = 16_384  # of all lists in a record
    PLANS_MAX = 64  # of one schema, which may have thousands of messages
    VARINT = 0  # the wire types
    FIXED_64 = 1
    LENGTH = 2
    GROUP = 3  # its end is the next one
    FIXED_32 = 5
    SKIPPED = 0  # what is done with a field, as in `scrub/protobuf.py: Act`
    PASSING = 1
    SINGLE = 2
    MESSAGE = 3
    WRAPPED = 4
    LIST = 5
    STRING = 1  # how a value is read, as in `scrub/protobuf.py: ValueKind`; and how one is written, with the next two
    SIGNED = 2
    UNSIGNED = 3
    ZIGZAG = 4
    BOOL = 5
    OPEN = 6
    CLOSED = 7
    BYTES_KIND = 8
    REAL_KIND = 9
    TEXT = 10  # how one is written: a text of the plan's. False is the first one, and true the next

cdef struct Field:  # the rows of `scrub/protobuf.py: Arrays`
    int32_t number, wire, act, listed, slot, oneof, cost, kept, kind, a, b

cdef struct Table:
    int32_t field, field_end, slot, slot_end, cost, defaults

cdef struct Slot:
    int32_t name, absent, table

cdef struct Symbol:
    int32_t number, text

cdef struct Scalar:
    int32_t form
    int32_t next  # item of its list; 0 for none
    int64_t number  # or the bytes from `at`, or the place of a text of the plan's
    At at

cdef struct Found:  # what a record has in a slot
    Scalar value
    int32_t first, last  # members of a message, by slot, or items of a list; 0 for none
    int32_t next  # member of the same message
    bint some


cdef inline At sized_begin(At at, At end, uint64_t* size) noexcept nogil:
    """To the first of some bytes, and how many there are, all before `end`; NULL when it is no length."""
    at = varint_end(at, end, 31, size)
    return NULL if at == NULL or size[0] > <uint64_t>(end - at) else at


cdef At field_end(At at, At end, uint64_t tag, int depth) noexcept nogil:
    """Past a field that is skipped and whose tag is read; NULL if it does not end."""
    cdef uint64_t raw = 0
    if tag & 7 == LENGTH:
        at = sized_begin(at, end, &raw)
        return NULL if at == NULL else at + raw
    if tag & 7 == VARINT:
        return varint_end(at, end, 64, &raw)
    if tag & 7 == FIXED_64 or tag & 7 == FIXED_32:
        raw = 8 if tag & 7 == FIXED_64 else 4
        return at + raw if <uint64_t>(end - at) >= raw else NULL
    if tag & 7 != GROUP or depth == NESTED_MAX:
        return NULL
    while at != NULL:
        at = varint_end(at, end, 32, &raw)
        if at == NULL or raw == tag + 1:
            return at
        at = field_end(at, end, raw, depth + 1) if raw >> 3 else NULL
    return NULL


cdef class MessagePlan:
    """Makes JSON of the records of one message. The arguments: `scrub/protobuf.py: Arrays`."""

    cdef object _rows
    cdef const Field* _fields
    cdef const Table* _tables
    cdef const Slot* _slots
    cdef const Symbol* _symbols
    cdef _Texts _texts
    cdef Found* _found  # by slot, and behind them by oneof: `next` is the slot of its member
    cdef Py_ssize_t _places
    cdef Scalar* _items  # from 1
    cdef int32_t _used, _item_room
    cdef int64_t _spare

    def __cinit__(self, bytes fields, bytes tables, bytes slots, bytes symbols, list texts, Py_ssize_t oneofs):
        self._rows, self._texts = (fields, tables, slots, symbols), _Texts(texts)
        self._fields, self._tables = <Field*>PyBytes_AS_STRING(fields), <Table*>PyBytes_AS_STRING(tables)
        self._slots, self._symbols = <Slot*>PyBytes_AS_STRING(slots), <Symbol*>PyBytes_AS_STRING(symbols)
        if not self._is_sound(
            len(fields) // sizeof(Field), len(tables) // sizeof(Table), len(slots) // sizeof(Slot),
            len(symbols) // sizeof(Symbol), oneofs
        ):
            raise ValueError("a row that names what there is not")
        self._places = len(slots) // sizeof(Slot) + oneofs
        self._found = <Found*>malloc(self._places * sizeof(Found))
        if self._found == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self._found)
        free(self._items)

    cdef bint _is_sound(self, int64_t fields, int64_t tables, int64_t slots, int64_t symbols, int64_t oneofs):
        """Whether there are the rows and texts that each row names: with a table behind the one that holds it."""
        cdef int64_t i, j, texts = self._texts.count
        cdef const Field* field
        cdef const Table* table
        cdef bint well = tables > 0 and slots > 0 and texts > 1 and oneofs > 0
        for i in range(slots):
            well &= 0 <= self._slots[i].name < texts and 0 <= self._slots[i].absent < texts
            well &= 0 <= self._slots[i].table < tables
        for i in range(symbols):
            well &= 0 <= self._symbols[i].text < texts
        for i in range(tables):
            table = &self._tables[i]
            well &= 0 <= table.field <= table.field_end <= fields and 0 <= table.slot <= table.slot_end <= slots
            for j in range(table.field, table.field_end if well else table.field):
                field = &self._fields[j]
                well &= 0 <= field.slot < slots and 0 <= field.oneof < oneofs
                well = well and self._slots[field.slot].table == (field.a if field.act == MESSAGE else 0)
                if field.act == MESSAGE or field.act == WRAPPED:
                    well &= i < field.a < tables and 0 <= field.b < texts
                elif field.kind == OPEN or field.kind == CLOSED:
                    well &= 0 <= field.a <= field.b <= symbols
        return well

    cdef int read(self, Framed* value, Made* made) noexcept nogil:
        """Append the JSON of a value; an Outcome."""
        memset(self._found, 0, self._places * sizeof(Found))
        self._spare, self._used = SPARE_MAX, 0
        if self._message(0, 0, value.body, value.end, 0, 0) == NULL:
            return UNREADABLE
        return READ if self._put_message(0, 0, made) else NO_MEMORY

    # Each of these goes past what it reads, at most to `end`, or gives NULL: readers differ, or there is no such record.

    cdef At _message(self, int32_t place, int32_t slot, At at, At end, uint64_t closing, int depth) noexcept nogil:
        """Read a message, or a group up to that tag, into the slots."""
        cdef const Table* table = &self._tables[place]
        cdef const Field* field
        cdef int32_t near = table.field
        cdef uint64_t tag = 0
        self._spare -= table.cost
        if self._spare < 0 or depth == NESTED_MAX:
            return NULL
        while at < end:
            at = varint_end(at, end, 32, &tag)
            if at == NULL or tag >> 3 == 0:
                return NULL
            if closing and tag == closing:
                return at
            field = self._field(table, tag >> 3, &near)
            if field == NULL or (field.act == SKIPPED and field.listed and tag & 7 == LENGTH):
                at = field_end(at, end, tag, depth)
            elif tag & 7 == field.wire:
                at = self._take(field, slot, at, end, tag, depth)
            elif field.act == LIST and field.listed and tag & 7 == LENGTH:
                at = self._packed(field, slot, at, end)
            else:
                return NULL
            if at == NULL:
                return NULL
        return NULL if closing else at

    cdef const Field* _field(self, const Table* table, uint64_t number, int32_t* near) noexcept nogil:
        """The field of that number, or NULL. `near`: where it may be; then that of the next one."""
        cdef int32_t low = table.field, high = table.field_end, middle = near[0]
        while low < high:  # `middle` from `low`, before `high`
            if <uint64_t>self._fields[middle].number == number:
                near[0] = middle + 1 if middle + 1 < table.field_end else table.field
                return &self._fields[middle]
            if <uint64_t>self._fields[middle].number < number:
                low = middle + 1
            else:
                high = middle
            middle = (low + high) >> 1
        return NULL

    cdef At _take(self, const Field* field, int32_t slot, At at, At end, uint64_t tag, int depth) noexcept nogil:
        """Read a field of the message in that slot."""
        cdef Found* found = &self._found[field.slot]
        cdef int32_t* member
        cdef Scalar value
        cdef uint64_t size = 0
        if field.oneof:
            member = &self._found[self._places - field.oneof].next
            self._spare -= field.cost
            if self._spare < 0 or (member[0] and member[0] != field.slot):
                return NULL
            if field.act != PASSING:
                member[0] = field.slot
        if field.act <= PASSING:
            return field_end(at, end, tag, depth)
        if field.slot <= slot:  # then a message could hold itself
            return NULL
        if field.act == LIST:
            return self._item(field, slot, at, end)
        if field.act == SINGLE:
            at = self._scalar(field, at, end, &value)
            if at == NULL:
                return NULL
            if value.number == 0 and not field.kept:  # a default counts as missing
                # Java before 3.19.6 and C# keep an earlier value; other readers take the default.
                return NULL if found.some else at
            found.value = value
            self._note(slot, field.slot)
            return at
        # Readers in JavaScript take the second one alone: they would find a default that nobody judged.
        if field.act == MESSAGE and found.some and self._tables[field.a].defaults:
            return NULL
        if field.act == WRAPPED and found.some:  # without a value, readers differ in which one they take
            return NULL
        if field.act == MESSAGE:
            self._note(slot, field.slot)
            slot = field.slot
            if field.wire == GROUP:
                return self._message(field.a, slot, at, end, tag + 1, depth + 1)
        at = sized_begin(at, end, &size)
        if at != NULL:
            at = self._message(field.a, slot, at, at + size, 0, depth + 1)
        if at != NULL and not found.some:  # a wrapper without a value
            found.value.form, found.value.number = TEXT, field.b
            self._note(slot, field.slot)
        return at

    cdef inline void _note(self, int32_t slot, int32_t member) noexcept nogil:
        """That a message has a member, behind those that it has."""
        if self._found[member].some:
            return
        self._found[member].some = True
        if self._found[slot].first == 0:
            self._found[slot].first = member
        else:
            self._found[self._found[slot].last].next = member
        self._found[slot].last = member

    cdef At _item(self, const Field* field, int32_t slot, At at, At end) noexcept nogil:
        """Read one more value of a list."""
        cdef Found* found = &self._found[field.slot]
        cdef Scalar* larger
        if self._used == ITEMS_MAX:
            return NULL
        self._used += 1
        if self._used >= self._item_room:
            larger = <Scalar*>realloc(self._items, 2 * (self._used + 32) * sizeof(Scalar))
            if larger == NULL:
                return NULL
            self._items, self._item_room = larger, 2 * (self._used + 32)
        at = self._scalar(field, at, end, &self._items[self._used])
        self._note(slot, field.slot)
        if found.first == 0:
            found.first = self._used
        else:
            self._items[found.last].next = self._used
        found.last = self._used
        return at

    cdef At _packed(self, const Field* field, int32_t slot, At at, At end) noexcept nogil:
        cdef uint64_t size = 0
        at = sized_begin(at, end, &size)
        end = NULL if at == NULL else at + size
        while at != NULL and at < end:
            at = self._item(field, slot, at, end)
        return at

    cdef At _scalar(self, const Field* field, At at, At end, Scalar* value) noexcept nogil:
        cdef uint64_t raw = 0
        cdef int32_t kind = field.kind
        cdef TextKind text
        cdef float short_real
        cdef double real
        cdef int size = 8 if field.wire == FIXED_64 else 4
        value.next = 0
        if kind == STRING or kind == BYTES_KIND:
            at = sized_begin(at, end, &raw)
            # Bytes are a text in ASCII, as in Avro.
            if at == NULL or (kind == BYTES_KIND and not is_ascii(at, at + raw)):
                return NULL
            text = text_kind(at, at + raw)
            if text == NO_TEXT:
                return NULL
            value.form, value.number, value.at = STRING if text == PLAIN else BYTES_KIND, <int64_t>raw, at
            return at + raw
        if field.wire == VARINT:
            at = varint_end(at, end, 64, &raw)
        else:
            if end - at < size:
                return NULL
            memcpy(&raw, at, size)
            if kind == REAL_KIND:
                memcpy(&short_real, at, 4)
                memcpy(&real, at, size)
                if size == 4:
                    real = short_real
                value.form = REAL_KIND
                memcpy(&value.number, &real, 8)
                return NULL if real - real != 0 else at + size  # JSON has neither infinities nor NaN
            at += size
            if kind == SIGNED and size == 4:
                raw = <uint64_t><int64_t><int32_t>raw
        value.form, value.number = SIGNED, unzigzag(raw) if kind == ZIGZAG else <int64_t>raw
        if kind == BOOL:
            value.form = TEXT
            return at if raw <= 1 else NULL
        if kind == UNSIGNED:
            value.form = UNSIGNED
            return at if field.a == 64 or raw >> 32 == 0 else NULL
        if kind >= OPEN:
            return at if self._symbol(field, value) else NULL
        return at if field.a == 64 or value.number == <int32_t>value.number else NULL

    cdef bint _symbol(self, const Field* field, Scalar* value) noexcept nogil:
        """Put the symbol for a number in its place; False if its enum is closed and has none."""
        cdef int32_t low = field.a, high = field.b, middle
        while low < high:
            middle = (low + high) >> 1
            if self._symbols[middle].number == value.number:
                value.form, value.number = TEXT, self._symbols[middle].text
                self._spare -= self._texts.size[value.number]
                return self._spare >= 0
            if self._symbols[middle].number < value.number:
                low = middle + 1
            else:
                high = middle
        return field.kind == OPEN and value.number == <int32_t>value.number

    # What was found as JSON; False without memory.

    cdef bint _put_text(self, int64_t text, Made* made) noexcept nogil:
        return put(made, self._texts.at[text], self._texts.size[text])

    cdef bint _put_scalar(self, const Scalar* value, Made* made) noexcept nogil:
        cdef double real
        if value.form == STRING:
            return put(made, b'"', 1) and put(made, value.at, value.number) and put(made, b'"', 1)
        if value.form == BYTES_KIND:
            return put_text(made, value.at, value.at + value.number)
        if value.form == REAL_KIND:
            memcpy(&real, &value.number, 8)
            return put_real(made, real) == READ
        if value.form == TEXT:
            return self._put_text(value.number, made)
        return put_integer(made, value.number, value.form == SIGNED)

    cdef bint _put_list(self, int32_t item, Made* made) noexcept nogil:
        cdef bint well = put(made, b"[", 1)
        while item and well:
            well = self._put_scalar(&self._items[item], made)
            item = self._items[item].next
            well = well and put(made, b"," if item else b"]", 1)
        return well

    cdef bint _put_message(self, int32_t place, int32_t slot, Made* made) noexcept nogil:
        """The members in the order in which they came, then the defaults of those that did not."""
        cdef const Table* table = &self._tables[place]
        cdef int32_t member = self._found[slot].first
        cdef bint well = put(made, b"{", 1), some = member != 0
        while member and well:
            well = self._put_text(self._slots[member].name, made)
            if self._slots[member].table:
                well = well and self._put_message(self._slots[member].table, member, made)
            elif self._found[member].first:
                well = well and self._put_list(self._found[member].first, made)
            else:
                well = well and self._put_scalar(&self._found[member].value, made)
            member = self._found[member].next
            well = well and (not member or put(made, b",", 1))
        for member in range(table.slot, table.slot_end if table.defaults else table.slot):
            if self._slots[member].absent and not self._found[member].some:
                well = well and (not some or put(made, b",", 1)) and self._put_text(self._slots[member].name, made)
                well, some = well and self._put_text(self._slots[member].absent, made), True
        return well and put(made, b"}", 1)


cdef class ProtobufPlan(SchemaPlan):
    """Of a schema in Protobuf. `find(indexes)` gives the Arrays of a message; None if its records are unreadable."""

    cdef object _find
    cdef dict _plans
    cdef MessagePlan _last
    cdef bytes _last_index

    def __cinit__(self, find):
        self._find, self._indexed, self._plans, self._last_index = find, True, {}, None

    cdef int _read(self, Framed* value, Made* made) except -2:
        cdef Py_ssize_t size = value.index_end - value.index
        if (
            self._last_index is None or PyBytes_GET_SIZE(self._last_index) != size
            or memcmp(<char*>self._last_index, value.index, size) != 0
        ):
            index = value.index[:size]
            if index not in self._plans:
                arrays = self._find(index)
                if arrays is None:
                    return UNREADABLE
                if len(self._plans) == PLANS_MAX:
                    del self._plans[next(iter(self._plans))]
                self._plans[index] = MessagePlan(*arrays)
            self._last, self._last_index = self._plans[index], index
        return self._last.read(value, made)

# Prospects in Avro as the JSON that is judged: runs the programs of `stream_scrub/scrub/avro.py`. Included by
# stream_scrub_native.pyx.
#
# Bounds, besides those in schemas.pxi. A step is fetched from a place that is checked to be in the program, a text of the
# program by a checked number. A frame's place is below NESTED_MAX, a key's below KEYS_MAX.

cdef enum:
    SPARE_FOR_BYTE = 4  # of a value, apart from SPARE_MAX
    # The steps, as in `scrub/avro.py: Op`.
    END = 0
    INTEGER = 1
    BYTES = 2
    FIXED = 3
    REAL = 4
    BOOLEAN = 5
    ENUM = 6
    UNION = 7
    GOTO = 8
    CALL = 9
    RETURN = 10
    ITEMS = 11
    NEXT = 12
    COMMA = 13
    WRITE = 14
    KEY = 15
    UTF_8 = 1  # how BYTES are written; else as ASCII
    KEYS_MAX = 256  # of a map, with those of the maps around it

cdef struct Step:
    int32_t op
    int32_t a
    int32_t b

cdef struct Frame:  # of a record, or of an array or map
    int32_t pc  # where to go on behind the record, or where each item begins
    int32_t end  # behind the items
    int64_t left  # items of this block
    At until  # where this block should end; NULL where it does not say
    bint some  # whether an item was written
    int first_key  # of this map

cdef struct Key:  # of a map
    At at
    int64_t size

cdef inline At integer_end(At at, At end, int bits, int64_t* number) noexcept nogil:
    """Past an integer of at most so many bits; NULL when it is none."""
    cdef uint64_t raw = 0
    at = varint_end(at, end, bits, &raw)
    number[0] = unzigzag(raw)
    return at


cdef inline At bytes_begin(At at, At end, int64_t* size) noexcept nogil:
    """To the first of some bytes, and how many there are, all before `end`; NULL when it is no length."""
    at = integer_end(at, end, 64, size)
    return NULL if at == NULL or size[0] < 0 or size[0] > end - at else at


cdef class AvroPlan(SchemaPlan):
    """Of a schema in Avro. `code`: (op, a, b) of each step; `texts`: what steps write."""

    cdef Step* _code
    cdef int32_t _steps
    cdef _Texts _texts

    def __cinit__(self, const int32_t[:, ::1] code, list texts):
        cdef Py_ssize_t i
        if code.shape[1] != 3 or code.shape[0] > 1 << 30:
            raise ValueError("an operation and two operands a step")
        self._texts = _Texts(texts)
        self._steps = <int32_t>code.shape[0]
        self._code = <Step*>malloc((self._steps + 1) * sizeof(Step))
        if self._code == NULL:
            raise MemoryError
        for i in range(self._steps):
            self._code[i].op, self._code[i].a, self._code[i].b = code[i, 0], code[i, 1], code[i, 2]

    def __dealloc__(self):
        free(self._code)

    cdef int _read(self, Framed* value, Made* made) except -2:
        return self._walk(value.body, value.end, SPARE_MAX + SPARE_FOR_BYTE * (value.end - value.body), made)

    cdef Outcome _walk(self, At at, At end, int64_t spare, Made* made) noexcept nogil:
        """Run the program over a value from `at` to `end`. As long as `at` is not NULL, it is at most `end`."""
        cdef Frame frames[NESTED_MAX]
        cdef Frame* frame
        cdef Key keys[KEYS_MAX]
        cdef int depth = 0, keys_used = 0, i
        cdef int32_t pc = 0, op
        cdef Step* step
        cdef int64_t number = 0
        cdef At begin
        cdef TextKind kind
        cdef Outcome outcome
        cdef float short_real
        cdef double real
        cdef bint well = True
        while 0 <= pc < self._steps:
            step = &self._code[pc]
            op = step.op  # all branches test it against a constant, so that C gets one switch
            pc += 1
            spare -= 1
            if spare < 0:
                return UNREADABLE
            if op == UNION:
                at = integer_end(at, end, 32, &number)
                if at == NULL or not 0 <= number < step.a:
                    return UNREADABLE
                pc += <int32_t>number
            elif op == GOTO:
                pc = step.a
            elif op == BYTES:
                begin = bytes_begin(at, end, &number)
                if begin == NULL:
                    return UNREADABLE
                at = begin + number
                if step.b:
                    # Readers take other bytes for Latin-1, as in Avro's own JSON, or for UTF-8.
                    if step.b != UTF_8 and not is_ascii(begin, at):
                        return UNREADABLE
                    kind = text_kind(begin, at)
                    if kind == NO_TEXT:
                        return UNREADABLE
                    if kind == PLAIN:
                        well = put(made, b'"', 1) and put(made, begin, number) and put(made, b'"', 1)
                    else:
                        well = put_text(made, begin, at)
            elif op == WRITE:
                well = self._write(step.a, &spare, made)
            elif op == ENUM:
                at = integer_end(at, end, 32, &number)
                if at == NULL or not 0 <= number < step.a:
                    return UNREADABLE
                if step.b:
                    well = self._write(step.b - 1 + number, &spare, made)
            elif op == INTEGER:
                at = integer_end(at, end, 64 if step.a == 64 else 32, &number)
                if step.b and at != NULL:
                    well = put_integer(made, number, True)
            elif op == FIXED:
                if not 0 <= step.a <= end - at:
                    return UNREADABLE
                if step.b:
                    if not is_ascii(at, at + step.a):
                        return UNREADABLE
                    well = put_text(made, at, at + step.a)
                at += step.a
            elif op == REAL:
                if end - at < (4 if step.a == 4 else 8):
                    return UNREADABLE
                if step.a == 4:
                    memcpy(&short_real, at, 4)
                    real = short_real
                    at += 4
                else:
                    memcpy(&real, at, 8)
                    at += 8
                if step.b:
                    outcome = put_real(made, real)
                    if outcome != READ:
                        return outcome
            elif op == BOOLEAN:
                if at >= end or at[0] > 1:
                    return UNREADABLE
                if step.b:
                    well = put(made, b"true", 4) if at[0] == 1 else put(made, b"false", 5)
                at += 1
            elif op == CALL or op == ITEMS:
                if depth == NESTED_MAX:
                    return UNREADABLE
                frame = &frames[depth]
                depth += 1
                frame.pc = pc
                if op == CALL:
                    pc = step.a
                else:
                    frame.end, frame.some, frame.left, frame.until = step.a, False, 0, NULL
                    frame.first_key = keys_used
                    at = self._next_block(at, end, frame, &spare, &depth, &pc)
            elif op == NEXT:
                if depth == 0:
                    return UNREADABLE
                frame = &frames[depth - 1]
                frame.left -= 1
                if frame.left > 0:
                    pc = frame.pc
                else:
                    at = self._next_block(at, end, frame, &spare, &depth, &pc)
                    if pc == frame.end:
                        keys_used = frame.first_key
            elif op == RETURN:
                if depth == 0:
                    return UNREADABLE
                depth -= 1
                pc = frames[depth].pc
            elif op == COMMA:
                if depth == 0:
                    return UNREADABLE
                if frames[depth - 1].some:
                    well = put(made, b",", 1)
                frames[depth - 1].some = True
            elif op == KEY:
                begin = bytes_begin(at, end, &number)
                if begin == NULL or depth == 0:
                    return UNREADABLE
                at = begin + number
                if text_kind(begin, at) == NO_TEXT or keys_used == KEYS_MAX:
                    return UNREADABLE
                for i in range(frames[depth - 1].first_key, keys_used):  # readers differ in which of two they take
                    if keys[i].size == number and memcmp(keys[i].at, begin, number) == 0:
                        return UNREADABLE
                spare -= keys_used - frames[depth - 1].first_key
                keys[keys_used].at, keys[keys_used].size = begin, number
                keys_used += 1
                well = put_text(made, begin, at) and put(made, b":", 1)
            elif op == END:
                return READ if at == end else UNREADABLE
            else:
                return UNREADABLE
            if at == NULL:
                return UNREADABLE
            if not well:
                return NO_MEMORY
        return UNREADABLE

    cdef bint _write(self, int64_t text, int64_t* spare, Made* made) noexcept nogil:
        """Append a text of the program; False without memory. It may cost more than there is: the next step sees that."""
        if not 0 <= text < self._texts.count:
            spare[0] = 0
            return True
        spare[0] -= self._texts.size[text]
        return spare[0] < 0 or put(made, self._texts.at[text], self._texts.size[text])

    cdef At _next_block(
        self, At at, At end, Frame* frame, int64_t* spare, int* depth, int32_t* pc
    ) noexcept nogil:
        """Past the head of a block of items, or behind the last one; NULL if a reader could take it otherwise."""
        cdef int64_t count = 0, size = 0
        if frame.until != NULL and at != frame.until:
            return NULL
        frame.until = NULL
        at = integer_end(at, end, 64, &count)
        if at == NULL:
            return NULL
        if count == 0:
            depth[0] -= 1
            pc[0] = frame.end
            return at
        if count < 0:
            at = integer_end(at, end, 64, &size)
            if at == NULL or not 0 <= size <= end - at or count < -spare[0]:
                return NULL
            frame.until, count = at + size, -count
        if count > spare[0]:
            return NULL
        spare[0] -= count
        frame.left, pc[0] = count, frame.pc
        return at

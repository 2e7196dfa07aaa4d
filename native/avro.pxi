# Prospects in Avro as the JSON that is judged: the walker of `stream_scrub/scrub/avro_walk.py`, compiled. Included by
# stream_scrub_native.pyx. It runs the same programs and gives the same bytes. What few prospects have (a map, a real
# number or bytes that are read, a text with a sign that JSON escapes) it leaves to that walker.
#
# Bounds, besides those in schemas.pxi. A step is fetched from a place that is checked to be in the program, a text of the
# program by a checked number. A frame's place is below NESTED_MAX.

cdef enum:
    SPARE_FOR_BYTE = 4  # as in `scrub/avro_walk.py`
    # The steps, as in `scrub/avro_walk.py: Op`.
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
    UTF_8 = 1  # how BYTES are written

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

    def __cinit__(self, const int32_t[:, ::1] code, list texts, walk):
        cdef Py_ssize_t i
        if code.shape[1] != 3 or code.shape[0] > 1 << 30:
            raise ValueError("an operation and two operands a step")
        self._walk_else, self._texts = walk, _Texts(texts)
        self._steps = <int32_t>code.shape[0]
        self._code = <Step*>malloc((self._steps + 1) * sizeof(Step))
        if self._code == NULL:
            raise MemoryError
        for i in range(self._steps):
            self._code[i].op, self._code[i].a, self._code[i].b = code[i, 0], code[i, 1], code[i, 2]

    def __dealloc__(self):
        free(self._code)

    cdef int _read(self, Framed* value, Made* made) except -3:
        return self._walk(value.body, value.end, SPARE_MAX + SPARE_FOR_BYTE * (value.end - value.body), made)

    cdef Outcome _walk(self, At at, At end, int64_t spare, Made* made) noexcept nogil:
        """Run the program over a value from `at` to `end`. As long as `at` is not NULL, it is at most `end`."""
        cdef Frame frames[NESTED_MAX]
        cdef Frame* frame
        cdef int depth = 0
        cdef int32_t pc = 0, op
        cdef Step* step
        cdef int64_t number = 0
        cdef At begin
        cdef Outcome kind
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
                    kind = text_kind(begin, at) if step.b == UTF_8 else LEFT
                    if kind != READ:
                        return kind
                    well = put(made, b'"', 1) and put(made, begin, number) and put(made, b'"', 1)
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
            elif op == FIXED or op == REAL:
                if not 0 <= step.a <= end - at:
                    return UNREADABLE
                if step.b:
                    return LEFT
                at += step.a
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
            elif op == END:
                return READ if at == end else UNREADABLE
            else:
                return LEFT
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

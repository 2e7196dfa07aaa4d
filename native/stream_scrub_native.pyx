# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The plain prospects' reading, compiled: what `stream_scrub.scrub.backend` does, for a tenth of the time.

It decides nothing. `Reader` walks a prospect's bytes by RFC 8259 and takes it for plain only where no two parsers could
read it differently; looks its number up in the rows of `stream_scrub.numbering`; and says which number and which kind
(line and facts) it found. Everything in doubt is left to the reference: a prospect that is not plain gets kind -1, a
number that the rows do not settle is asked of `normalise`. The same tests hold both.

Memory: a `bytes` object ends with a NUL that is not counted in its length (CPython's C API), and NUL stands nowhere in
plain JSON; so one byte at the end of a value may be looked at, and stops every loop below.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

VERSION = 12
_BEYOND = 10**19  # more than any number of DIGITS_MAX digits
_ASKS = (_BEYOND, 0, bytes([1]), (0, 0), (None, None))  # a row that has no answer

cdef extern from *:
    """
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "stream_scrub_native reads eight bytes at once and needs a little-endian machine: go without it"
    #endif
    /* How many of the next WIDE bytes are plain: no quote, backslash or control character, and ASCII. */
    #ifdef __SSE2__
    #include <emmintrin.h>
    enum { WIDE = 16 };
    static inline int plain_bytes(const uint8_t *at) {
        __m128i word = _mm_loadu_si128((const __m128i *)at);
        __m128i quotes = _mm_cmpeq_epi8(word, _mm_set1_epi8(0x22)), slashes = _mm_cmpeq_epi8(word, _mm_set1_epi8(0x5C));
        __m128i low = _mm_cmplt_epi8(word, _mm_set1_epi8(0x20)); /* signed: bytes that are not ASCII are below 0 */
        return __builtin_ctz(_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quotes, slashes), low)) | 1 << WIDE);
    }
    #else
    enum { WIDE = 8 };
    #define EACH(byte) (0x0101010101010101u * (byte))
    #define ZERO(word) (((word) - EACH(1)) & ~(word)) /* the high bit of the first zero byte; those behind it may be wrong */
    static inline int plain_bytes(const uint8_t *at) {
        uint64_t word, found;
        memcpy(&word, at, WIDE);
        found = ZERO(word ^ EACH(0x22)) | ZERO(word ^ EACH(0x5C)) | ZERO(word & EACH(0xE0)) | word;
        found &= EACH(0x80);
        return found ? __builtin_ctzll(found) >> 3 : WIDE;
    }
    #endif
    """
    enum:
        WIDE
    int plain_bytes(const uint8_t* at) nogil

cdef enum:
    DEPTH_MAX = 30  # deeper ones are left to the reference
    TEXT_MAX = 40  # characters of a plain prospect's number, as in `scrub/backend.py`
    DIGITS_MIN = 4
    DIGITS_MAX = 19  # more would not fit 64 bits
    LEADS = 10_000  # what chooses an international row has at most four digits
    SLOTS_MAX = 512  # more than there are regions
    LINES_MAX = 4096
    CELLS = 256  # what a byte can say
    CACHE = 64
    ASK = 1  # a cell's meaning, as in `numbering.tables`
    NUMBER = 0  # the members, in the order of their names
    REGION = 1
    PURPOSE = 2
    MEMBERS_MIN = 6  # these, contract, campaign and the stamp, which is the last
    MEMBERS_MAX = 16
    PREFIXES = 32  # names at the beginning of a prospect; the others share the last place
    PREFIX_MAX = 40
    SIZES = 64  # a name's size, if it is smaller, has a bit of its own
    ESCAPED = 1
    NOT_ASCII = 2

ctypedef const uint8_t* At

cdef struct Span:
    At start  # the whole token, quotes included; NULL where the member is absent
    Py_ssize_t size
    bint text  # a string of ASCII without escapes

cdef struct Prefix:  # a name with all up to its value, as at this place in the last prospect
    uint8_t text[PREFIX_MAX]
    Py_ssize_t size  # 0 without one
    int member

cdef struct Meaning:  # of a cell
    int32_t line
    int64_t shift  # from what is typed to the number

cdef struct Row:
    uint64_t size
    uint64_t first
    At cells
    uint64_t count
    const Meaning* meanings


cdef inline At space(At at) noexcept nogil:
    while at[0] == 0x20 or at[0] == 0x0A or at[0] == 0x0D or at[0] == 0x09:
        at += 1
    return at


cdef inline int hex_digit(uint8_t sign) noexcept nogil:
    if 0x30 <= sign <= 0x39:
        return sign - 0x30
    sign |= 0x20
    return sign - 0x57 if 0x61 <= sign <= 0x66 else -1


cdef At escape_end(At at) noexcept nogil:
    """Past an escape; NULL when it is none, spells ASCII the long way, or half of a surrogate pair."""
    cdef int code = 0, digit, i
    cdef uint8_t sign = at[1]
    if sign == 0x22 or sign == 0x5C or sign == 0x2F or sign == 0x62 or sign == 0x66 or sign == 0x6E or sign == 0x72 or sign == 0x74:
        return at + 2
    if sign != 0x75:
        return NULL
    for i in range(2, 6):
        digit = hex_digit(at[i])
        if digit < 0:
            return NULL
        code = code * 16 + digit
    return NULL if code < 0x80 or 0xD800 <= code <= 0xDFFF else at + 6


cdef inline bint follows(uint8_t sign) noexcept nogil:
    return (sign & 0xC0) == 0x80


cdef At utf8_end(At at) noexcept nogil:
    """Past one character of two to four bytes (RFC 3629, section 4); NULL when it is none."""
    cdef uint8_t first = at[0], second = at[1]
    if 0xC2 <= first <= 0xDF:
        return at + 2 if follows(second) else NULL
    if not follows(second):
        return NULL
    if 0xE0 <= first <= 0xEF:
        if (first == 0xE0 and second < 0xA0) or (first == 0xED and second > 0x9F):
            return NULL
        return at + 3 if follows(at[2]) else NULL
    if 0xF0 <= first <= 0xF4:
        if (first == 0xF0 and second < 0x90) or (first == 0xF4 and second > 0x8F):
            return NULL
        return at + 4 if follows(at[2]) and follows(at[3]) else NULL
    return NULL


cdef At string_end(At at, At end, int* signs) noexcept nogil:
    """From behind the opening quote to the closing one; NULL when it is no string, or not a plain one."""
    cdef int plain
    while True:
        while end - at >= WIDE:
            plain = plain_bytes(at)
            at += plain
            if plain < WIDE:
                break
        else:
            while at[0] >= 0x20 and at[0] < 0x80 and at[0] != 0x22 and at[0] != 0x5C:
                at += 1
        if at >= end:
            return NULL
        if at[0] == 0x22:
            return at
        if at[0] == 0x5C:
            signs[0] |= ESCAPED
            at = escape_end(at)
        elif at[0] >= 0x80:
            signs[0] |= NOT_ASCII
            at = utf8_end(at)
        else:
            return NULL
        if at == NULL:
            return NULL


cdef inline bint separates(uint8_t sign) noexcept nogil:
    """Whether it stands between the digits of a number: space ( ) - . /"""
    return sign == 0x20 or 0x28 <= sign <= 0x29 or 0x2D <= sign <= 0x2F


cdef bint has_fraction(At text, Py_ssize_t size) noexcept nogil:
    """Whether its last group of digits has zeros only and follows a dot, as of a number that was held as a float."""
    while size > 0 and separates(text[size - 1]):
        size -= 1
    if size == 0 or text[size - 1] != 0x30:
        return False
    while size > 0 and text[size - 1] == 0x30:
        size -= 1
    return size > 0 and text[size - 1] == 0x2E


cdef bint is_parted(At text, Py_ssize_t size) noexcept nogil:
    """Whether another number may begin somewhere: behind several separators, behind one of ( ) / or with a 0."""
    cdef Py_ssize_t i
    for i in range(1, size - 1):
        if separates(text[i]):
            if text[i + 1] == 0x30 or separates(text[i + 1]) or not (text[i] == 0x20 or 0x2D <= text[i] <= 0x2E):
                return True
    return False


cdef inline At digits_end(At at) noexcept nogil:
    """Past at least one digit; NULL when there is none."""
    if not 0x30 <= at[0] <= 0x39:
        return NULL
    while 0x30 <= at[0] <= 0x39:
        at += 1
    return at


cdef At number_end(At at) noexcept nogil:
    if at[0] == 0x2D:
        at += 1
    if at[0] == 0x30:
        at += 1
    else:
        at = digits_end(at)
    if at != NULL and at[0] == 0x2E:
        at = digits_end(at + 1)
    if at != NULL and (at[0] | 0x20) == 0x65:
        at += 1
        if at[0] == 0x2B or at[0] == 0x2D:
            at += 1
        at = digits_end(at)
    return at


cdef At value_end(At at, At end, int depth) noexcept nogil:
    """Past one JSON value; NULL when it is none, or not a plain one."""
    cdef int signs = 0
    cdef uint8_t sign = at[0]
    if sign == 0x22:
        at = string_end(at + 1, end, &signs)
        return NULL if at == NULL else at + 1
    if sign == 0x7B or sign == 0x5B:
        return NULL if depth == 0 else inside_end(at, end, depth)
    if sign == 0x74:
        return at + 4 if end - at > 4 and memcmp(at, b"true", 4) == 0 else NULL
    if sign == 0x66:
        return at + 5 if end - at > 5 and memcmp(at, b"false", 5) == 0 else NULL
    if sign == 0x6E:
        return at + 4 if end - at > 4 and memcmp(at, b"null", 4) == 0 else NULL
    return number_end(at)


cdef At inside_end(At at, At end, int depth) noexcept nogil:
    """Past one object or array."""
    cdef int signs = 0
    cdef bint named = at[0] == 0x7B
    cdef uint8_t close = 0x7D if named else 0x5D
    at = space(at + 1)
    if at[0] == close:
        return at + 1
    while True:
        if named:
            if at[0] != 0x22:
                return NULL
            at = string_end(at + 1, end, &signs)
            if at == NULL:
                return NULL
            at = space(at + 1)
            if at[0] != 0x3A:
                return NULL
            at = space(at + 1)
        at = value_end(at, end, depth - 1)
        if at == NULL:
            return NULL
        at = space(at)
        if at[0] == close:
            return at + 1
        if at[0] != 0x2C:
            return NULL
        at = space(at + 1)


cdef extern from *:
    """
    #include <stdbool.h>
    typedef bool (*roaring_contains)(const void *bitmap, uint64_t number); /* roaring64_bitmap_contains */
    """
    ctypedef bint (*roaring_contains)(const void*, uint64_t) noexcept nogil


def look_up(size_t contains, bitmap, const uint64_t[::1] numbers, uint8_t[::1] held):
    """Fills in whether a BitMap64 holds each number. `contains`: the address of CRoaring's function in pyroaring."""
    cdef roaring_contains ask = <roaring_contains><void*>contains
    cdef const void* whole = <const void*><size_t>bitmap.raw_pointer
    cdef Py_ssize_t place
    if held.shape[0] != numbers.shape[0]:
        raise ValueError("a place for each number")
    for place in range(numbers.shape[0]):
        held[place] = ask(whole, numbers[place])


cdef inline int write_digits(char* digits, uint64_t number) noexcept nogil:
    """Write a number at the end of 20 places, as many as 64 bits may need; the place of its first digit."""
    cdef int first = 20
    while True:
        first -= 1
        digits[first] = <char>(0x30 + number % 10)
        number //= 10
        if number == 0:
            return first


include "records.pxi"
include "schemas.pxi"
include "avro.pxi"
include "protobuf.pxi"


cdef class _Batch:
    """What tokens mean, and what was met, in one batch."""

    cdef dict facts, met
    cdef list pairs
    cdef object no_facts


cdef class Reader:
    """Reads the plain prospects of a batch. One thread.

    `names` are those of the number, the region, and the facts: purpose, contract, campaign and what else there is. All
    differ, are ASCII and not `scrub`, and hold no quotes or backslashes; with `any_case`, in whatever case, and then a
    prospect with one of `lookalikes` in a name is not plain. `region_of(token)` gives the region for the JSON of a
    region member, empty for an unknown one, `facts_of(tokens)` the facts for the JSON of theirs (empty where absent). The tokens after the last
    fact that is there are left out, but never those of the first three. `normalise`, `rows` and `pair_digits` are those of
    `numbering`.
    """

    cdef object _region_of, _facts_of, _normalise, _rows, _pair_digits
    cdef list _names, _kept, _regions, _lines, _lookalikes
    cdef uint8_t _fold[256]
    cdef dict _slots, _line_ids, _places
    cdef At _name[MEMBERS_MAX]
    cdef Py_ssize_t _name_size[MEMBERS_MAX]
    cdef int _members, _stamp
    cdef uint64_t _sizes
    cdef Prefix _prefixes[PREFIXES]
    cdef uint64_t _region_keys[CACHE]
    cdef int _region_slots[CACHE]
    cdef int _pair[SLOTS_MAX]  # the fewest digits that may be two numbers
    cdef int _plus_pair[SLOTS_MAX]
    cdef Row* _main[SLOTS_MAX][DIGITS_MAX + 1]
    cdef Row** _plus[DIGITS_MAX + 1]
    cdef uint64_t _plus_divisor[DIGITS_MAX + 1]
    cdef int32_t _kind_of[LINES_MAX]
    cdef list _made
    cdef object _forgotten

    def __cinit__(
        self, list names, str default_region, region_of, facts_of, normalise, rows, pair_digits, bint any_case,
        list lookalikes
    ):
        cdef int i
        for i in range(256):
            self._fold[i] = i | 0x20 if any_case and 0x41 <= i <= 0x5A else i
        self._names = [bytes([self._fold[sign] for sign in name]) for name in (*names, b"scrub")]
        self._lookalikes = lookalikes
        if not MEMBERS_MIN <= len(self._names) <= MEMBERS_MAX:
            raise ValueError("the number, the region, three facts or more")
        self._members = <int>len(self._names)
        self._stamp = self._members - 1
        self._sizes = 0
        for i in range(self._members):
            self._name[i] = <At>PyBytes_AS_STRING(self._names[i])
            self._name_size[i] = PyBytes_GET_SIZE(self._names[i])
            self._sizes |= <uint64_t>1 << min(self._name_size[i], SIZES - 1)
        self._region_of, self._facts_of, self._normalise, self._rows = region_of, facts_of, normalise, rows
        self._pair_digits = pair_digits
        self._kept, self._regions, self._lines, self._made = [], [], [], []
        self._slots, self._line_ids, self._places = {}, {}, {}
        self._forgotten = rows.forgotten
        self._slot(default_region)  # slot 0

    def __dealloc__(self):
        self._free()

    cdef void _free(self):
        cdef Py_ssize_t i, j
        for i in range(DIGITS_MAX + 1):
            free(self._plus[i])
            self._plus[i] = NULL
            for j in range(SLOTS_MAX):
                self._main[j][i] = NULL
        if self._made is not None:
            for address in self._made:
                free(<void*><size_t>address)

    cdef int _keep_up(self) except -1:
        """Drop all rows once `numbering` has dropped its own: else they would be held for good, here alone."""
        if self._rows.forgotten != self._forgotten:
            self._free()
            self._made, self._kept, self._places = [], [], {}
            self._forgotten = self._rows.forgotten
        return 0

    cdef int _slot(self, str region) except -1:
        slot = self._slots.get(region)
        if slot is None:
            if len(self._regions) >= SLOTS_MAX:
                raise OverflowError("more regions than there are")
            pair, plus_pair = self._pair_digits(region), self._pair_digits(region, plus=True)
            slot = self._slots[region] = len(self._regions)
            self._regions.append(region)
            self._pair[<int>slot], self._plus_pair[<int>slot] = pair, plus_pair
        return slot

    cdef int _line(self, line) except -1:
        known = self._line_ids.get(line)
        if known is None:
            if len(self._lines) >= LINES_MAX:
                raise OverflowError("more lines than there are")
            known = self._line_ids[line] = len(self._lines)
            self._lines.append(line)
            self._kind_of[known] = -1
        return known

    cdef void* _new(self, size_t size) except NULL:
        cdef void* made = calloc(1, size)
        if made == NULL:
            raise MemoryError
        self._made.append(<size_t>made)
        return made

    cdef const Meaning* _meanings(self, tuple shifts, tuple lines) except NULL:
        """What each cell says, for all rows with these."""
        at = self._places.get((id(shifts), id(lines)))
        if at is not None:
            return <const Meaning*><size_t>at
        if not len(lines) == len(shifts) <= CELLS:
            raise OverflowError("a cell is one byte")
        cdef Meaning* made = <Meaning*>self._new(CELLS * sizeof(Meaning))
        for cell, (shift, line) in enumerate(zip(shifts, lines)):
            if line is not None:
                made[<int>cell].line, made[<int>cell].shift = self._line(line), shift
        self._kept.append((shifts, lines))  # so that no other object gets their ids
        self._places[id(shifts), id(lines)] = <size_t>made
        return made

    cdef Row* _row(self, fields) except NULL:
        """A row of `numbering` where C can reach it, one for each; one that always asks for None."""
        at = self._places.get(id(fields))
        if at is not None:
            return <Row*><size_t>at
        self._kept.append(fields)
        known = fields
        if fields is None or max(map(abs, fields[3])) * 2 >= _BEYOND:  # a shift that is no number's fits no 64 bits
            fields = _ASKS
        size, first, cells, shifts, lines = fields
        cdef Row* row = <Row*>self._new(sizeof(Row))
        size = min(size, _BEYOND)  # Python's own integers: a row that always asks has a size beyond 64 bits
        row.size, row.first = size, first
        self._kept.append(cells)
        row.cells, row.count = <At>PyBytes_AS_STRING(cells), len(cells)
        row.meanings = self._meanings(shifts, lines)
        self._places[id(known)] = <size_t>row
        return row

    cdef Row* _learn_plus(self, uint64_t value, int digits) except? NULL:
        """The row for what follows a plus; NULL where there is none."""
        learnt = self._rows.international_row(str(value).zfill(digits))
        self._keep_up()
        if learnt is None:
            return NULL
        divisor, lead, fields = learnt
        if lead >= LEADS:
            return NULL
        if self._plus[digits] == NULL:
            self._plus[digits] = <Row**>calloc(LEADS, sizeof(void*))
            if self._plus[digits] == NULL:
                raise MemoryError
            self._plus_divisor[digits] = divisor
        cdef Row* row = self._row(fields)
        self._plus[digits][<int>lead] = row
        return row

    cdef int _number(self, At text, Py_ssize_t size, int slot, uint64_t* number, int32_t* line) except -2:
        """1 with the number and its line, 0 when it is not valid, -1 when only `normalise` can say."""
        cdef uint64_t value = 0, cell_at, lead
        cdef int digits = 0
        cdef bint plus = False
        cdef Py_ssize_t i
        cdef uint8_t sign, cell
        cdef Row* row
        for i in range(size):
            sign = text[i]
            if 0x30 <= sign <= 0x39:
                digits += 1
                if digits > DIGITS_MAX:
                    return -1
                value = value * 10 + (sign - 0x30)
            elif separates(sign):
                continue
            elif sign == 0x2B and digits == 0 and not plus:
                plus = True
            else:
                return -1
        if digits < DIGITS_MIN:
            return -1
        if digits + plus < size and has_fraction(text, size):
            return -1
        if digits + plus < size and digits >= (self._plus_pair[slot] if plus else self._pair[slot]):
            if is_parted(text, size):
                return -1
        if plus:
            row = NULL
            if self._plus[digits] != NULL:
                lead = value // self._plus_divisor[digits]
                row = self._plus[digits][lead] if lead < LEADS else NULL
            if row == NULL:
                row = self._learn_plus(value, digits)
        else:
            row = self._main[slot][digits]
            if row == NULL:
                fields = self._rows.main_row(self._regions[slot], digits)
                self._keep_up()
                if fields is None and self._rows.is_full:
                    return -1
                row = self._main[slot][digits] = self._row(fields)
        if row == NULL:
            return -1
        cell_at = value // row.size - row.first
        if cell_at >= row.count:
            return -1
        cell = row.cells[cell_at]
        if cell <= ASK:
            return -1 if cell == ASK else 0
        number[0] = value + <uint64_t>row.meanings[cell].shift
        line[0] = row.meanings[cell].line
        return 1

    cdef inline bint _is_named(self, At name, Py_ssize_t size, int member) noexcept:
        """Whether it is that member's name, as names are compared."""
        cdef At wanted = self._name[member]
        cdef Py_ssize_t i
        if size != self._name_size[member]:
            return False
        for i in range(size):
            if self._fold[name[i]] != wanted[i]:
                return False
        return True

    cdef bint _looks_alike(self, At name, Py_ssize_t size):
        """Whether a name that is not ASCII may be taken for one that is."""
        cdef bytes text = name[:size]
        for sign in self._lookalikes:
            if sign in text:
                return True
        return False

    cdef At _value_of(self, At at, At end, int* member):
        """From a name's opening quote to its value, and which member it is, -1 for another; NULL when it is not plain."""
        cdef At name = at + 1
        cdef int signs = 0, i
        at = string_end(name, end, &signs)
        if at == NULL or signs & ESCAPED:
            return NULL
        if signs & NOT_ASCII and self._looks_alike(name, at - name):
            return NULL
        member[0] = -1
        if self._sizes >> min(at - name, SIZES - 1) & 1:
            for i in range(self._members):
                if self._is_named(name, at - name, i):
                    member[0] = i
        at = space(at + 1)
        return space(at + 1) if at[0] == 0x3A else NULL

    cdef bint _walk(self, At at, Py_ssize_t size, Span* spans):
        """Whether it is a plain prospect; its members' tokens then."""
        cdef At end = at + size, token
        cdef int signs, member, count = 0
        cdef Prefix* known
        if size < 2 or at[0] != 0x7B or (end - 1)[0] != 0x7D:
            return False
        at = space(at + 1)
        while at[0] == 0x22:
            known = &self._prefixes[min(count, PREFIXES - 1)]
            count += 1
            if end - at > known.size and memcmp(at, known.text, known.size) == 0 and known.size:
                member, token = known.member, space(at + known.size)
            else:
                token = self._value_of(at, end, &member)
                if token == NULL:
                    return False
                if token - at <= PREFIX_MAX:
                    memcpy(known.text, at, token - at)
                    known.size, known.member = token - at, member
            signs = 0
            if token[0] == 0x22:
                at = string_end(token + 1, end, &signs)
                if at != NULL:
                    at += 1
            else:
                signs = ESCAPED
                at = value_end(token, end, DEPTH_MAX)
            if at == NULL:
                return False
            if member >= 0:
                if member == self._stamp or spans[member].start != NULL:
                    return False
                spans[member].start, spans[member].size, spans[member].text = token, at - token, signs == 0
            at = space(at)
            if at[0] == 0x7D:
                return at + 1 == end
            if at[0] != 0x2C:
                return False
            at = space(at + 1)
        return False

    cdef int _slot_of(self, Span* span) except -2:
        region = self._region_of(span.start[:span.size])
        return self._slot(region) if region else -1

    cdef int _region(self, Span* span) except -2:
        """The slot of the region that a prospect names; -1 for an unknown one."""
        cdef uint64_t key = 0
        cdef int entry
        if span.start == NULL:
            return 0
        if span.size > 7:
            return self._slot_of(span)
        memcpy(&key, span.start, span.size)
        key |= <uint64_t>span.size << 56
        entry = <int>((key * <uint64_t>0x9E3779B97F4A7C15) >> 58)
        if self._region_keys[entry] != key:
            self._region_slots[entry] = self._slot_of(span)
            self._region_keys[entry] = key
        return self._region_slots[entry]

    cdef int _told(self, Span* spans, int32_t line, dict facts, dict kinds, list pairs) except -1:
        """The kind of a prospect with facts. `facts` remembers what tokens mean, `kinds` what was met in this batch."""
        cdef int i, end = self._stamp
        while end > MEMBERS_MIN - 1 and spans[end - 1].start == NULL:
            end -= 1
        tokens = tuple([
            spans[i].start[:spans[i].size] if spans[i].start != NULL else b"" for i in range(PURPOSE, end)
        ])
        told = facts.get(tokens)
        if told is None:
            told = facts[tokens] = self._facts_of(tokens)
        pair = (self._lines[line], told)
        kind = kinds.get(pair)
        if kind is None:
            kind = kinds[pair] = len(pairs)
            pairs.append(pair)
        return kind

    cdef int _one(self, At value, Py_ssize_t size, _Batch batch, uint64_t* number) except -2:
        """The kind of a value, and its number; -1 and 0 when it is not plain."""
        cdef Span spans[MEMBERS_MAX]
        cdef int32_t line = 0
        cdef int found, slot, i
        number[0] = 0
        for i in range(self._members):
            spans[i].start = NULL
        if not self._walk(value, size, spans):
            return -1
        if spans[NUMBER].start == NULL or not spans[NUMBER].text or spans[NUMBER].size - 2 > TEXT_MAX:
            return -1
        slot = self._region(&spans[REGION])
        if slot < 0:
            return -1
        found = self._number(spans[NUMBER].start + 1, spans[NUMBER].size - 2, slot, number, &line)
        if found < 0:
            asked = self._normalise(
                spans[NUMBER].start[1 : spans[NUMBER].size - 1].decode("ascii"), self._regions[slot]
            )
            if asked is None:
                return -1
            number[0], line = asked[0], self._line(asked[1])
        elif found == 0:
            return -1
        for i in range(PURPOSE, self._stamp):
            if spans[i].start != NULL:
                return self._told(spans, line, batch.facts, batch.met, batch.pairs)
        if self._kind_of[line] < 0:
            pair = (self._lines[line], batch.no_facts)
            if pair not in batch.met:
                batch.met[pair] = len(batch.pairs)
                batch.pairs.append(pair)
            self._kind_of[line] = batch.met[pair]
        return self._kind_of[line]

    cdef _Batch _begin(self, Py_ssize_t count, uint64_t[::1] numbers, int32_t[::1] kinds, no_facts):
        cdef int i
        if numbers.shape[0] != count or kinds.shape[0] != count:
            raise ValueError("numbers and kinds must be as long as values")
        self._keep_up()
        for i in range(<int>len(self._lines)):
            self._kind_of[i] = -1
        cdef _Batch batch = _Batch()
        batch.facts, batch.met, batch.pairs, batch.no_facts = {}, {}, [], no_facts
        return batch

    def read(self, list values, uint64_t[::1] numbers, int32_t[::1] kinds, no_facts):
        """Fills `numbers` and `kinds`, by place, 0 and -1 where a value is not plain; returns what each kind is."""
        cdef Py_ssize_t place
        cdef _Batch batch = self._begin(len(values), numbers, kinds, no_facts)
        for place in range(len(values)):
            numbers[place], kinds[place] = 0, -1
            value = values[place]
            if PyBytes_CheckExact(value):
                kinds[place] = self._one(
                    <At>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), batch, &numbers[place]
                )
        return batch.pairs

    def read_records(self, Records records, uint64_t[::1] numbers, int32_t[::1] kinds, no_facts):
        """The same for the values of records."""
        cdef Py_ssize_t place
        cdef Entry* at
        cdef _Batch batch = self._begin(records._count, numbers, kinds, no_facts)
        for place in range(records._count):
            at = &records._at[place]
            numbers[place], kinds[place] = 0, -1
            if at.value != NULL:
                kinds[place] = self._one(at.value, at.value_size, batch, &numbers[place])
        return batch.pairs


cdef class _Ends:
    """Templates where C can reach them: what goes before a number and what goes behind it."""

    cdef list heads, tails
    cdef const char** head
    cdef const char** tail
    cdef Py_ssize_t* head_size
    cdef Py_ssize_t* tail_size

    def __cinit__(self, list heads, list tails):
        cdef Py_ssize_t i, count = len(heads)
        if len(tails) != count:
            raise ValueError("as many heads as tails")
        for end in (*heads, *tails):
            if not PyBytes_CheckExact(end):
                raise TypeError("heads and tails must be bytes")
        # Lists of our own: the caller's may change while these are read.
        self.heads, self.tails = list(heads), list(tails)
        self.head, self.tail = <const char**>calloc(count + 1, sizeof(void*)), <const char**>calloc(count + 1, sizeof(void*))
        self.head_size = <Py_ssize_t*>calloc(count + 1, sizeof(Py_ssize_t))
        self.tail_size = <Py_ssize_t*>calloc(count + 1, sizeof(Py_ssize_t))
        if self.head == NULL or self.tail == NULL or self.head_size == NULL or self.tail_size == NULL:
            raise MemoryError
        for i in range(count):
            self.head[i], self.head_size[i] = PyBytes_AS_STRING(self.heads[i]), PyBytes_GET_SIZE(self.heads[i])
            self.tail[i], self.tail_size[i] = PyBytes_AS_STRING(self.tails[i]), PyBytes_GET_SIZE(self.tails[i])

    def __dealloc__(self):
        free(self.head)
        free(self.tail)
        free(self.head_size)
        free(self.tail_size)

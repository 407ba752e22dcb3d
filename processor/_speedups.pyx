# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The hottest loops in C: decode raw events, encode changes, hash keys. Optional; the pure code is the reference.

Only the ordinary case is done here. Whatever is unusual, malformed bytes above all, is handed to the pure functions,
so that errors and odd values are the same with and without this module by construction; tests hold the rest equal.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_SET_ITEM
from cpython.unicode cimport PyUnicode_DecodeASCII, PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef extern from *:
    """
    static PyObject* new_tuple_of(PyObject* type, Py_ssize_t items) {
        return ((PyTypeObject*)type)->tp_alloc((PyTypeObject*)type, items);
    }
    """
    object new_tuple_of(object type, Py_ssize_t items)

cdef enum:
    FIELDS = 17


# Decoding. A cursor function returns 0 where the bytes are not of the ordinary kind.

cdef inline int read_long(const unsigned char** at, const unsigned char* end, int64_t* value) noexcept nogil:
    cdef uint64_t z = 0
    cdef int shift = 0
    cdef unsigned char byte
    while at[0] < end and shift < 63:
        byte = at[0][0]
        at[0] += 1
        z |= (<uint64_t>(byte & 127)) << shift
        if byte < 128:
            if byte == 0 and shift > 0:  # Longer than it needs to be.
                return 0
            value[0] = <int64_t>(z >> 1) ^ -<int64_t>(z & 1)
            return 1
        shift += 7
    return 0


cdef inline object read_string(const unsigned char** at, const unsigned char* end):
    """Return a str, or None where there is none of the ordinary kind."""
    cdef int64_t size
    cdef const unsigned char* start
    if not read_long(at, end, &size) or size < 0 or size > end - at[0]:
        return None
    start = at[0]
    at[0] += size
    return PyUnicode_DecodeUTF8(<const char*>start, size, NULL)


cdef list WORDS = [None] * 256
"""Words met lately, by a cheap hash: a word that comes again is the same object, so it is hashed only once."""


cdef inline object read_word(const unsigned char** at, const unsigned char* end):
    """As `read_string`, for a field with few different values."""
    cdef int64_t size
    cdef Py_ssize_t known_size
    cdef const unsigned char* start
    cdef const char* known
    cdef object word
    cdef int slot
    if not read_long(at, end, &size) or size < 0 or size > end - at[0]:
        return None
    start = at[0]
    at[0] += size
    if size == 0 or size > 40:
        return PyUnicode_DecodeUTF8(<const char*>start, size, NULL)
    slot = (size * 31 + start[0] * 7 + start[size // 2] * 13 + start[size - 1]) & 255
    word = WORDS[slot]
    if word is not None:
        known = PyUnicode_AsUTF8AndSize(word, &known_size)
        if known_size == size and memcmp(known, start, size) == 0:
            return word
    word = PyUnicode_DecodeUTF8(<const char*>start, size, NULL)
    WORDS[slot] = word
    return word


cdef inline int put(object record, Py_ssize_t index, object value) except -1:
    Py_INCREF(value)
    PyTuple_SET_ITEM(record, index, value)
    return 0


cdef inline int put_string(
    object record, Py_ssize_t index, const unsigned char** at, const unsigned char* end
) except -1:
    cdef object text = read_string(at, end)
    put(record, index, text)
    return text is not None


cdef inline int put_word(
    object record, Py_ssize_t index, const unsigned char** at, const unsigned char* end
) except -1:
    cdef object word = read_word(at, end)
    put(record, index, word)
    return word is not None


cdef inline int put_optional_string(
    object record, Py_ssize_t index, const unsigned char** at, const unsigned char* end, bint word
) except -1:
    if at[0] >= end:
        put(record, index, None)
        return 0
    if at[0][0] == 0:
        at[0] += 1
        put(record, index, None)
        return 1
    if at[0][0] != 2:
        put(record, index, None)
        return 0
    at[0] += 1
    return put_word(record, index, at, end) if word else put_string(record, index, at, end)


cdef inline int put_optional_long(
    object record, Py_ssize_t index, const unsigned char** at, const unsigned char* end, int64_t limit
) except -1:
    cdef int64_t value
    if at[0] < end and at[0][0] == 0:
        at[0] += 1
        put(record, index, None)
        return 1
    if at[0] < end and at[0][0] == 2:
        at[0] += 1
        if read_long(at, end, &value) and (limit == 0 or -limit <= value < limit):
            put(record, index, value)
            return 1
    put(record, index, None)
    return 0


cdef object read_raw_event(const unsigned char* at, const unsigned char* end, object record_type):
    """Return a RawStatusEvent, or None where the pure decoder must look."""
    cdef object record = new_tuple_of(record_type, FIELDS)
    cdef Py_ssize_t index
    cdef int64_t received
    cdef int good = 1
    # A tuple must never hold NULL, whatever happens next.
    for index in range(FIELDS):
        put(record, index, None)
    good = (
        put_optional_string(record, 0, &at, end, False)
        and put_optional_string(record, 1, &at, end, False)
        and put_word(record, 2, &at, end)
        and put_optional_string(record, 3, &at, end, True)
        and put_string(record, 4, &at, end)
        and put_word(record, 5, &at, end)
        and put_optional_string(record, 6, &at, end, True)
        and put_optional_string(record, 7, &at, end, False)
        and put_optional_string(record, 8, &at, end, False)
        and put_optional_string(record, 9, &at, end, True)
        and put_optional_long(record, 10, &at, end, 0)
    )
    if not good or not read_long(&at, end, &received):
        return None
    put(record, 11, received)
    good = (
        put_optional_long(record, 12, &at, end, 1 << 31)
        and put_optional_long(record, 13, &at, end, 1 << 31)
        and put_optional_string(record, 14, &at, end, False)
    )
    # An action, or attributes, are rare: the pure decoder reads them.
    if not good or end - at != 2 or at[0] != 0 or at[1] != 0:
        return None
    put(record, 16, {})
    return record


def decode_raw_events(list values, bytes prefix, Py_ssize_t max_bytes, object record_type, object otherwise):
    """Return one item for each value; `otherwise` decodes what is no plain raw event behind `prefix`."""
    cdef list items = []
    cdef object value, item
    cdef const unsigned char* data
    cdef Py_ssize_t size
    cdef Py_ssize_t prefix_size = PyBytes_GET_SIZE(prefix)
    cdef const char* wanted = PyBytes_AS_STRING(prefix)
    for value in values:
        item = None
        if type(value) is bytes:
            size = PyBytes_GET_SIZE(value)
            data = <const unsigned char*>PyBytes_AS_STRING(value)
            if prefix_size <= size <= max_bytes and memcmp(data, wanted, prefix_size) == 0:
                try:
                    item = read_raw_event(data + prefix_size, data + size, record_type)
                except UnicodeDecodeError:
                    item = None
        items.append(otherwise(value) if item is None else item)
    return items


# Encoding.

cdef class Buffer:
    """Bytes under construction; the memory is kept from one value to the next."""

    cdef unsigned char* data
    cdef Py_ssize_t size
    cdef Py_ssize_t room

    def __dealloc__(self):
        free(self.data)

    cdef int reserve(self, Py_ssize_t more) except -1:
        cdef Py_ssize_t wanted = self.size + more
        cdef unsigned char* grown
        if wanted > self.room:
            grown = <unsigned char*>realloc(self.data, 2 * wanted)
            if grown == NULL:
                raise MemoryError
            self.data = grown
            self.room = 2 * wanted
        return 0

    cdef int add_bytes(self, const void* source, Py_ssize_t count) except -1:
        self.reserve(count)
        memcpy(self.data + self.size, source, count)
        self.size += count
        return 0

    cdef int add_byte(self, unsigned char byte) except -1:
        self.reserve(1)
        self.data[self.size] = byte
        self.size += 1
        return 0

    cdef int add_long(self, int64_t value) except -1:
        cdef uint64_t z = (<uint64_t>value << 1) ^ <uint64_t>(value >> 63)
        self.reserve(10)
        while z > 127:
            self.data[self.size] = <unsigned char>(z & 127 | 128)
            self.size += 1
            z >>= 7
        self.data[self.size] = <unsigned char>z
        self.size += 1
        return 0

    cdef int add_string(self, object text) except -1:
        cdef Py_ssize_t count
        cdef const char* source = PyUnicode_AsUTF8AndSize(text, &count)
        self.add_long(count)
        return self.add_bytes(source, count)

    cdef int add_optional_string(self, object text) except -1:
        if text is None:
            return self.add_byte(0)
        self.add_byte(2)
        return self.add_string(text)

    cdef int add_symbol(self, dict symbols, object member) except -1:
        cdef PyObject* index = PyDict_GetItem(symbols, member)
        if index == NULL:
            raise KeyError(member)
        return self.add_long(<object>index)


cdef int add_change(Buffer out, object named, dict channels, dict statuses) except -1:
    # Named tuples are tuples of another type: the casts are not checked.
    cdef tuple change = <tuple>named
    cdef tuple source = <tuple>change[19]
    cdef object previous = change[7]
    cdef object occurred = change[16]
    out.add_string(change[0])
    out.add_string(change[1])
    out.add_optional_string(change[2])
    out.add_string(change[3])
    out.add_optional_string(change[4])
    out.add_symbol(channels, change[5])
    out.add_symbol(statuses, change[6])
    if previous is None:
        out.add_byte(0)
    else:
        out.add_byte(2)
        out.add_symbol(statuses, previous)
    out.add_byte(1 if change[8] else 0)
    out.add_string(change[9])
    out.add_string(change[10])
    out.add_optional_string(change[11])
    out.add_optional_string(change[12])
    out.add_optional_string(change[13])
    out.add_byte(0)
    out.add_byte(0)
    if occurred is None:
        out.add_byte(0)
    else:
        out.add_byte(2)
        out.add_long(occurred)
    out.add_long(change[17])
    out.add_long(change[18])
    out.add_string(source[0])
    out.add_long(source[1])
    out.add_long(source[2])
    return out.add_long(source[3])


def encode_changes(list changes, bytes frame, dict channels, dict statuses, object otherwise):
    """Return the bytes of each change; `otherwise` encodes one with parts or an action, without its frame."""
    cdef Buffer out = Buffer()
    cdef list encoded = []
    cdef object named
    cdef tuple change
    cdef Py_ssize_t size = PyBytes_GET_SIZE(frame)
    for named in changes:
        change = <tuple>named
        if change[14] is not None or change[15] is not None:
            encoded.append(frame + otherwise(named))
            continue
        out.size = 0
        out.add_bytes(PyBytes_AS_STRING(frame), size)
        add_change(out, named, channels, statuses)
        encoded.append(PyBytes_FromStringAndSize(<const char*>out.data, out.size))
    return encoded


# Hashing.

cdef uint32_t hash_key(const unsigned char* data, Py_ssize_t size) noexcept nogil:
    cdef uint32_t m = 0x5BD1E995U
    cdef uint32_t h = <uint32_t>0x9747B28CU ^ <uint32_t>size
    cdef uint32_t k
    cdef Py_ssize_t words = size // 4
    cdef Py_ssize_t at
    for at in range(words):
        k = (
            <uint32_t>data[4 * at]
            | <uint32_t>data[4 * at + 1] << 8
            | <uint32_t>data[4 * at + 2] << 16
            | <uint32_t>data[4 * at + 3] << 24
        )
        k *= m
        k ^= k >> 24
        k *= m
        h *= m
        h ^= k
    data += 4 * words
    size &= 3
    if size == 3:
        h ^= <uint32_t>data[2] << 16
    if size >= 2:
        h ^= <uint32_t>data[1] << 8
    if size >= 1:
        h ^= <uint32_t>data[0]
        h *= m
    h ^= h >> 13
    h *= m
    h ^= h >> 15
    return h


def murmur2(bytes data):
    """Return Kafka's murmur2 of the bytes, as an unsigned number of 32 bits."""
    return hash_key(<const unsigned char*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


def owner_of(str message_id, uint32_t partitions):
    """Return the partition that Kafka's default partitioner gives a key."""
    cdef Py_ssize_t size
    cdef const char* data = PyUnicode_AsUTF8AndSize(message_id, &size)
    return (hash_key(<const unsigned char*>data, size) & 0x7FFFFFFF) % partitions


# Changes.

cdef inline uint32_t rotate(uint32_t word, int bits) noexcept nogil:
    return word << bits | word >> (32 - bits)


cdef void sha1_block(uint32_t* h, const unsigned char* block) noexcept nogil:
    """Mix one block of 64 bytes into the hash (FIPS 180-4, section 6.1)."""
    cdef uint32_t w[80]
    cdef uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4]
    cdef uint32_t f, k, mixed
    cdef int t
    for t in range(16):
        w[t] = (
            <uint32_t>block[4 * t] << 24
            | <uint32_t>block[4 * t + 1] << 16
            | <uint32_t>block[4 * t + 2] << 8
            | <uint32_t>block[4 * t + 3]
        )
    for t in range(16, 80):
        w[t] = rotate(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1)
    for t in range(80):
        if t < 20:
            f = (b & c) | (~b & d)
            k = 0x5A827999U
        elif t < 40:
            f = b ^ c ^ d
            k = 0x6ED9EBA1U
        elif t < 60:
            f = (b & c) | (b & d) | (c & d)
            k = 0x8F1BBCDCU
        else:
            f = b ^ c ^ d
            k = 0xCA62C1D6U
        mixed = rotate(a, 5) + f + e + k + w[t]
        e = d
        d = c
        c = rotate(b, 30)
        b = a
        a = mixed
    h[0] += a
    h[1] += b
    h[2] += c
    h[3] += d
    h[4] += e


cdef int add_decimal(Buffer out, int64_t number) except -1:
    cdef char digits[20]
    cdef int at = 20
    cdef uint64_t left = <uint64_t>number if number >= 0 else <uint64_t>0 - <uint64_t>number
    while True:
        at -= 1
        digits[at] = <char>(48 + left % 10)
        left //= 10
        if left == 0:
            break
    if number < 0:
        at -= 1
        digits[at] = 45
    return out.add_bytes(digits + at, 20 - at)


cdef class ChangeNamer:
    """Makes change ids: UUIDv5s of a message's identity, the sequence and the source (RFC 9562, section 5.5)."""

    cdef Buffer name
    cdef bytes namespace

    def __init__(self, bytes namespace):
        self.name = Buffer()
        self.namespace = namespace

    def change_id(self, str identity, object sequence, object source):
        """Return the id, as text."""
        cdef Buffer name = self.name
        cdef Py_ssize_t count, size, at
        cdef const char* text = PyUnicode_AsUTF8AndSize(identity, &count)
        cdef tuple place = <tuple>source
        cdef uint32_t h[5]
        cdef unsigned char digest[20]
        cdef char out[36]
        name.size = 0
        name.add_bytes(PyBytes_AS_STRING(self.namespace), PyBytes_GET_SIZE(self.namespace))
        name.add_bytes(text, count)
        name.add_byte(0)
        add_decimal(name, sequence)
        name.add_byte(0)
        text = PyUnicode_AsUTF8AndSize(place[0], &count)
        name.add_bytes(text, count)
        for at in range(1, 4):
            name.add_byte(0)
            add_decimal(name, place[at])
        size = name.size
        name.add_byte(0x80)
        while name.size % 64 != 56:
            name.add_byte(0)
        for at in range(8):
            name.add_byte(<unsigned char>((<uint64_t>size * 8) >> (56 - 8 * at)))
        h[0] = 0x67452301U
        h[1] = 0xEFCDAB89U
        h[2] = 0x98BADCFEU
        h[3] = 0x10325476U
        h[4] = 0xC3D2E1F0U
        for at in range(0, name.size, 64):
            sha1_block(h, name.data + at)
        for at in range(16):
            digest[at] = <unsigned char>(h[at // 4] >> (24 - 8 * (at % 4)))
        digest[6] = digest[6] & 0x0F | 0x50
        digest[8] = digest[8] & 0x3F | 0x80
        write_uuid(digest, out)
        return PyUnicode_DecodeASCII(out, 36, NULL)


cdef void write_uuid(const unsigned char* digest, char* out) noexcept nogil:
    cdef const char* hexadecimal = b"0123456789abcdef"
    cdef int at, place = 0
    for at in range(16):
        if at == 4 or at == 6 or at == 8 or at == 10:
            out[place] = b"-"
            place += 1
        out[place] = hexadecimal[digest[at] >> 4]
        out[place + 1] = hexadecimal[digest[at] & 15]
        place += 2


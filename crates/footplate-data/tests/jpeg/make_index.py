"""Makes NAME.index of some of this folder's files, after docs/jpeg-index.md and by no code of footplate's."""

import struct
import zlib


def segments(data):
    at = 2
    while True:
        marker, length = data[at + 1], struct.unpack(">H", data[at + 2 : at + 4])[0]
        yield marker, data[at + 4 : at + 2 + length], at + 2 + length
        at += 2 + length


def code(counts, symbols):
    table, value, place = {}, 0, 0
    for length, count in enumerate(counts, 1):
        for _ in range(count):
            table[length, value] = symbols[place]
            value, place = value + 1, place + 1
        value <<= 1
    return table


class Bits:
    def __init__(self, data, at):
        self.data, self.at, self.used = data, at, 0

    def bit(self):
        bit = self.data[self.at] >> (7 - self.used) & 1
        self.used += 1
        if self.used == 8:
            self.at += 2 if self.data[self.at : self.at + 2] == b"\xff\0" else 1
            self.used = 0
        return bit

    def number(self, count):
        value = 0
        for _ in range(count):
            value = value << 1 | self.bit()
        return value

    def symbol(self, table):
        value = 0
        for length in range(1, 17):
            value = value << 1 | self.bit()
            if (length, value) in table:
                return table[length, value]
        raise ValueError("no code")

    def signed(self, size):
        value = self.number(size)
        return value if size == 0 or value >> (size - 1) else value - (1 << size) + 1


def number(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def index(data):
    tables, restart = {}, 0
    for marker, body, end in segments(data):
        if marker == 0xC0:
            height, width, count = struct.unpack(">HHB", body[1:6])
            parts = {body[i]: (body[i + 1] >> 4, body[i + 1] & 15) for i in range(6, len(body), 3)}
        elif marker == 0xDD:
            (restart,) = struct.unpack(">H", body)
        elif marker == 0xC4:
            while body:
                total = sum(body[1:17])
                tables[body[0]] = code(body[1:17], body[17 : 17 + total])
                body = body[17 + total :]
        elif marker == 0xDA:
            scan = [(body[i], body[i + 1]) for i in range(1, 1 + 2 * body[0], 2)]
            break
    if count == 1:
        parts = {name: (1, 1) for name in parts}
    h, v = max(p[0] for p in parts.values()), max(p[1] for p in parts.values())
    out = b"FPJ\x01" + struct.pack("<II", len(data), zlib.crc32(data[:end]))
    bits, predictions, done = Bits(data, end), [0] * count, 0
    last_at, last_predictions = end, [0] * count
    for _ in range(-(-height // (8 * v))):
        for column in range(-(-width // (8 * h))):
            if restart and done and done % restart == 0:
                if bits.used:
                    bits.at += 2 if data[bits.at : bits.at + 2] == b"\xff\0" else 1
                assert data[bits.at] == 0xFF and data[bits.at + 1] & 0xF8 == 0xD0
                bits, predictions = Bits(data, bits.at + 2), [0] * count
            if column == 0:
                out += number(8 * (bits.at - last_at) + bits.used)
                for now, before in zip(predictions, last_predictions):
                    out += number(2 * (now - before) if now >= before else 2 * (before - now) - 1)
                last_at, last_predictions = bits.at, predictions.copy()
            done += 1
            for i, (name, which) in enumerate(scan):
                for _ in range(parts[name][0] * parts[name][1]):
                    predictions[i] += bits.signed(bits.symbol(tables[which >> 4]))
                    k = 1
                    while k < 64:
                        symbol = bits.symbol(tables[0x10 | which & 15])
                        if symbol & 15 == 0 and symbol != 0xF0:
                            break
                        k += (symbol >> 4) + 1
                        bits.number(symbol & 15)
    return out + struct.pack("<I", zlib.crc32(out))


for name in ["420", "restart", "gray"]:
    made = index(open(f"{name}.jpg", "rb").read())
    open(f"{name}.index", "wb").write(made)
    print(name, len(made))

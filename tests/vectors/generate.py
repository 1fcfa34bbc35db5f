"""Writes keys.json: API keys worked out by an implementation that shares nothing with the Rust one.

The vectors pin the format. Keys in the hands of customers must go on working, so a vector never changes: a new
format gets new vectors. Run by hand, from anywhere: python3 tests/vectors/generate.py
"""

import hashlib
import hmac
import json
import pathlib
import zlib

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
COUNTING = bytes(range(20))


def base62(number: int, width: int) -> str:
    digits = ""
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits = ALPHABET[digit] + digits
    assert number == 0
    return digits


def pepper(label: str, length: int) -> bytes:
    """A pepper that looks random and that anyone can work out again."""
    return hashlib.sha512(f"keygate test pepper {label}".encode()).digest()[:length]


def vector(name, pepper_id, key, brand, environment, slot, number, secret):
    prefix = f"{brand}_{environment}_"
    header = bytes([0x10 | pepper_id, slot])
    signed = header + number.to_bytes(4, "big") + secret
    full = hmac.new(key, prefix.encode() + signed, hashlib.sha256).digest()
    mac, digest = full[:8], full[8:]
    covered = prefix + base62(int.from_bytes(signed + mac, "big"), 46)
    crc = zlib.crc32(covered.encode())
    return {
        "name": name,
        "pepper": f"{pepper_id}:{key.hex()}",
        "pepper_id": pepper_id,
        "brand": brand,
        "environment": environment,
        "slot": slot,
        "number": number,
        "account": f"acct_{slot:02x}{number:08x}",
        "secret": secret.hex(),
        "mac": mac.hex(),
        "digest": digest.hex(),
        "crc": f"{crc:08x}",
        "text": covered + base62(crc, 6),
    }


# Found by searching: the first secret whose checksum needs leading zeros in base62.
def small_checksum(**parts):
    for tried in range(1_000_000):
        found = vector(secret=tried.to_bytes(20, "big"), **parts)
        if found["text"][-6:-4] == "00":
            return found
    raise ValueError("none found")


VECTORS = [
    vector("plain", 0, pepper("a", 32), "kg", "live", 0, 1, COUNTING),
    vector("test environment", 1, pepper("b", 32), "kg", "test", 1, 0x12345678, COUNTING),
    vector("admin, longest text", 15, pepper("c", 64), "acme2024", "admin", 255, 0xFFFFFFFF, b"\xff" * 20),
    vector("all zero", 0, pepper("a", 32), "kg", "live", 0, 0, b"\x00" * 20),
    vector("all ones", 15, pepper("c", 64), "kg", "live", 255, 0xFFFFFFFF, b"\xff" * 20),
    vector("account number below a byte boundary", 1, pepper("d", 33), "a1", "live", 128, 0x00FFFFFF, bytes(range(235, 255))),
    vector("secret of leading zeros", 7, pepper("e", 48), "zz", "test", 16, 0x80000000, b"\x00" * 19 + b"\x01"),
    vector("brand that is reserved for new accounts", 0, pepper("a", 32), "ghp", "live", 0, 42, COUNTING),
    small_checksum(
        name="checksum of leading zeros", pepper_id=8, key=pepper("f", 32), brand="kg", environment="live", slot=0, number=7
    ),
]

if __name__ == "__main__":
    path = pathlib.Path(__file__).with_name("keys.json")
    path.write_text(json.dumps(VECTORS, indent=2) + "\n")

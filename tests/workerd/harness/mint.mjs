// Key texts and signed copies made from the formats as they are published, independently of Keygate's own code.

import { createHmac, randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";
import { secrets } from "./secrets.mjs";

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const FORMAT = 1;

/** `value` in base 62, left-padded with zeros. */
function base62(value, width) {
  let digits = "";
  for (let rest = BigInt(value); rest > 0n; rest /= 62n) digits = DIGITS[Number(rest % 62n)] + digits;
  return digits.padStart(width, "0");
}

/** The text with the six digits of its CRC-32 behind it. */
export function withChecksum(text) {
  return text + base62(crc32(text), 6);
}

/** `{id, key}` of a secret `id:hex`. */
function keyMaterial(secret) {
  const [id, hex] = secret.split(":");
  return { id: Number(id), key: Buffer.from(hex, "hex") };
}

/** `{slot, number}` of an account id. */
function accountParts(account) {
  const [, slot, number] = /^acct_([0-9a-f]{2})([0-9a-f]{8})$/.exec(account);
  return { slot: parseInt(slot, 16), number: parseInt(number, 16) };
}

/**
 * A key with a right checksum: `{text, digest}`. With the pepper its MAC is genuine, though nobody issued it; `mac`
 * (8 bytes) puts another in its place. `format` and `pepperId` change the header.
 */
export function mintKey({
  account = "acct_0000000001",
  brand = "kg",
  environment = "live",
  pepper = secrets.KEYGATE_PEPPER,
  secret = randomBytes(20),
  mac,
  format = FORMAT,
  pepperId = keyMaterial(pepper).id,
} = {}) {
  const { slot, number } = accountParts(account);
  const signed = Buffer.alloc(26);
  signed.writeUInt8((format << 4) | pepperId, 0);
  signed.writeUInt8(slot, 1);
  signed.writeUInt32BE(number, 2);
  secret.copy(signed, 6);
  const hash = createHmac("sha256", keyMaterial(pepper).key).update(`${brand}_${environment}_`).update(signed).digest();
  const bytes = Buffer.concat([signed, mac ?? hash.subarray(0, 8)]);
  const text = withChecksum(`${brand}_${environment}_${base62(`0x${bytes.toString("hex")}`, 46)}`);
  return { text, digest: hash.subarray(8).toString("hex") };
}

/** A well-formed key whose MAC is a guess. */
export function forgedKey(options) {
  return mintKey({ ...options, mac: randomBytes(8) }).text;
}

/** The 48 hex digits that a key's record is stored under. */
export function digestOf(key, pepper = secrets.KEYGATE_PEPPER) {
  const [, brand, environment, digits] = /^([a-z0-9]+)_([a-z]+)_(.{46}).{6}$/.exec(key);
  const value = [...digits].reduce((sum, digit) => sum * 62n + BigInt(DIGITS.indexOf(digit)), 0n);
  const signed = Buffer.from(value.toString(16).padStart(68, "0"), "hex").subarray(0, 26);
  return createHmac("sha256", keyMaterial(pepper).key)
    .update(`${brand}_${environment}_`)
    .update(signed)
    .digest()
    .subarray(8)
    .toString("hex");
}

/** The name of a key's record in the mirror. */
export function grantRecord(key, pepper = secrets.KEYGATE_PEPPER) {
  return `grant:${digestOf(key, pepper)}`;
}

/** The name of an account's record in the mirror. */
export function accountRecord(account) {
  const { slot, number } = accountParts(account);
  return `account:${slot}.${number}`;
}

/** `{version, signingKeyId, mac, json}` of a signed copy. */
export function copyParts(copy) {
  const [, version, signingKeyId, mac, json] = /^([^.]*)\.([^.]*)\.([^.]*)\.(.*)$/s.exec(copy);
  return { version, signingKeyId, mac, json };
}

/** The signed copy with this JSON for the place `record`. */
export function signCopy(record, json, signingKey = secrets.KEYGATE_SIGNING_KEY, version = "v1") {
  const { id, key } = keyMaterial(signingKey);
  const mac = createHmac("sha256", key).update(`${version}\n${record}\n${json}`);
  return `${version}.${id}.${mac.digest("hex")}.${json}`;
}

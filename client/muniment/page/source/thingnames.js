// Ids of any script as the ASCII names that edges hold, and back: muniment.records.thingnames.
import { decode, hex, sha256, utf8 } from './bytes.js';

const ENCODED = "UTF-8''";
const HASHED = "SHA-256''";

// The name under which edges have the thing of an id, and back.
export function thingName(id) {
  if (/^[!-~]{1,2048}$/.test(id) && !id.startsWith(ENCODED) && !id.startsWith(HASHED)) return id;
  const data = utf8(id);
  const encoded = [...data].map((byte) => byte > 0x20 && byte < 0x7f && byte !== 0x25
    ? String.fromCharCode(byte) : `%${hex([byte]).toUpperCase()}`);
  const name = ENCODED + encoded.join('');
  return name.length <= 2048 ? name : HASHED + hex(sha256(data));
}

export function thingId(name) {
  if (!name.startsWith(ENCODED)) return name;
  const bytes = name.slice(ENCODED.length).replace(/%([0-9a-fA-F]{2})/g, (_, digits) =>
    String.fromCharCode(parseInt(digits, 16)));
  const id = decode(Uint8Array.from(bytes, (char) => char.charCodeAt(0)), () => '\ufffd');
  return thingName(id) === name ? id : name;
}

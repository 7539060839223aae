// Base64 for platforms whose file APIs take nothing else. Standard alphabet, padded.
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

export function toBase64(bytes: Uint8Array): string {
  const out: string[] = [];
  for (let i = 0; i < bytes.length; i += 3) {
    const b = bytes[i + 1], c = bytes[i + 2];
    out.push(
      ALPHABET[bytes[i] >> 2] + ALPHABET[((bytes[i] & 3) << 4) | ((b ?? 0) >> 4)] +
        (b === undefined ? "=" : ALPHABET[((b & 15) << 2) | ((c ?? 0) >> 6)]) + (c === undefined ? "=" : ALPHABET[c & 63]),
    );
  }
  return out.join("");
}

export function fromBase64(text: string): Uint8Array {
  const clean = text.replace(/[\s=]/g, "");
  const out = new Uint8Array(Math.floor((clean.length * 3) / 4));
  for (let i = 0, at = 0, bits = 0, held = 0; i < clean.length; i++) {
    const v = ALPHABET.indexOf(clean[i]);
    if (v < 0) throw new Error(`no base64: ${JSON.stringify(clean[i])}`);
    held = ((held << 6) | v) & 0xffff;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out[at++] = (held >> bits) & 255;
    }
  }
  return out;
}

// CRC-32 (IEEE).

const table = new Int32Array(256);
for (let i = 0; i < 256; i++) {
  let v = i;
  for (let k = 0; k < 8; k++) v = (v & 1) === 0 ? v >>> 1 : (v >>> 1) ^ 0xedb88320;
  table[i] = v;
}

/** Goes on with the sum of what came before, 0 at first. */
export function crc32(sum: number, b: Uint8Array): number {
  let v = ~sum;
  for (let i = 0; i < b.length; i++) v = table[(v ^ b[i]) & 255] ^ (v >>> 8);
  return ~v;
}

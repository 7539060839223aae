// CRC-32 (IEEE), four bytes at a time: an interpreter takes two thirds of the time that it takes byte by byte.

const table = new Int32Array(1024); // what a byte becomes when none, one, two or three follow it
for (let i = 0; i < 256; i++) {
  let v = i;
  for (let k = 0; k < 8; k++) v = (v & 1) === 0 ? v >>> 1 : (v >>> 1) ^ 0xedb88320;
  table[i] = v;
}
for (let i = 256; i < 1024; i++) table[i] = (table[i - 256] >>> 8) ^ table[table[i - 256] & 255];

/** Goes on with the sum of what came before, 0 at first. */
export function crc32(sum: number, b: Uint8Array): number {
  let v = ~sum, i = 0;
  for (const end = b.length - 3; i < end; i += 4) {
    v ^= b[i] | (b[i + 1] << 8) | (b[i + 2] << 16) | (b[i + 3] << 24);
    v = table[768 | (v & 255)] ^ table[512 | ((v >>> 8) & 255)] ^ table[256 | ((v >>> 16) & 255)] ^ table[v >>> 24];
  }
  for (; i < b.length; i++) v = table[(v ^ b[i]) & 255] ^ (v >>> 8);
  return ~v;
}

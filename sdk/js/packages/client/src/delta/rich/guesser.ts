// Finds what a changed byte probably becomes, so that one decision is enough to tell it.

const guesses = 5;

export class Guesser {
  private readonly valid = new Uint8Array(guesses);
  private readonly byte = new Uint8Array(guesses);
  private readonly state = new Uint8Array(guesses);
  private readonly trust = new Uint16Array(guesses * 256).fill(36000); // how often a source was right, by the state it was in
  private readonly byOld = new Uint8Array(4 * 256); // by place in the word and old byte: what it became last
  private readonly seen = new Uint8Array(4 * 256);

  /** What a source says in the state that it is in. */
  say(i: number, byte: number, old: number, state: number, usable: boolean): void {
    this.byte[i] = byte;
    this.state[i] = state;
    this.valid[i] = usable && this.byte[i] !== old ? 1 : 0;
  }

  /** What the byte became last at such a place. */
  sayByOld(i: number, old: number, word: number): void {
    const k = (word << 8) | old;
    this.say(i, this.byOld[k], old, Math.min(this.seen[k], 15), this.seen[k] > 0);
  }

  /** The source to be trusted most, -1 when there is none. */
  best(): number {
    let best = -1, trust = 20000;
    for (let i = 0; i < guesses; i++) {
      const t = this.trust[(i << 8) | this.state[i]];
      if (this.valid[i] !== 0 && t > trust) {
        best = i;
        trust = t;
      }
    }
    return best;
  }

  byteOf(i: number): number { return this.byte[i]; }
  stateOf(i: number): number { return this.state[i]; }
  trustOf(i: number): number { return this.trust[(i << 8) | this.state[i]]; }

  /** Which sources there are, and which of them say the same as the best. */
  alike(best: number): number {
    let v = best;
    for (let i = 0; i < guesses; i++) v = (v << 2) | (this.valid[i] === 0 ? 0 : this.byte[i] === this.byte[best] ? 3 : 1);
    return v;
  }

  /** Learns how good the guesses were: old became b. */
  learn(old: number, word: number, b: number): void {
    for (let i = 0; i < guesses; i++) {
      if (this.valid[i] === 0) continue;
      const at = (i << 8) | this.state[i], t = this.trust[at];
      this.trust[at] = this.byte[i] === b ? t + ((65535 - t) >> 4) : t - (t >> 4);
    }
    const k = (word << 8) | old;
    if (this.byOld[k] === b) {
      if (this.seen[k] < 128) this.seen[k]++;
    } else {
      this.byOld[k] = b;
      this.seen[k] = 1;
    }
  }
}
